"""What is there already, under other ids."""

from __future__ import annotations

from typing import Any

from pycrdt import Array, Doc, Map, XmlElement, XmlFragment, XmlText

from collab.history.items import Item, Items, Layer
from collab.history.reuse import Reuse


def two_of(make: Any, change: Any = None) -> tuple[Reuse, list[Item], list[Item]]:
    """What a document says, and what another says that was made in the same way and then changed."""
    docs: list[Doc[Any]] = [Doc(client_id=number) for number in (1, 2)]
    for doc in docs:
        make(doc)
    if change is not None:
        change(docs[1])
    layers = [Layer.of(doc.get_update()) for doc in docs]
    items = Items(layers)
    lives = [layer.lives() for layer in layers]
    reuse = Reuse(items, lambda item: item.id in lives[0], lambda item: item.id in lives[1])
    parts = [item for name in items.roots for item in items.sequence(name)]
    parts += [value for name in items.roots for _, value in items.values(name)]
    return reuse, [item for item in parts if item.client == 1], [item for item in parts if item.client == 2]


def shared(pair: tuple[Reuse, list[Item], list[Item]]) -> int:
    """How many of the parts that are to go are found."""
    reuse, going, coming = pair
    return sum(len(block.old) for block in reuse.aligned(going, coming) if block.same)


def page(doc: Doc[Any]) -> None:
    root = doc.get("xml", type=XmlFragment).children
    for nth in range(3):
        root.append(
            XmlElement("p", {"n": str(nth)}, [XmlText(f"text {nth}"), XmlElement("b", None, [XmlText("deep")])])
        )


def nodes(doc: Doc[Any]) -> Any:
    return doc.get("xml", type=XmlFragment).children


def test_nodes_that_look_the_same():
    assert shared(two_of(page)) == 3
    assert shared(two_of(page, lambda doc: nodes(doc)[1].attributes.__setitem__("n", "x"))) == 2
    assert shared(two_of(page, lambda doc: nodes(doc)[1].children[1].children[0].insert(0, "x"))) == 2
    assert shared(two_of(page, lambda doc: nodes(doc)[1].children[0].format(0, 2, {"bold": True}))) == 2
    assert shared(two_of(page, lambda doc: nodes(doc).__delitem__(0))) == 2


def test_values_that_look_the_same_and_are_not():
    reuse, (mine, *_), (theirs, *_) = two_of(lambda doc: doc.get("array", type=Array).append(1))
    assert reuse.is_same(mine, theirs)
    reuse, (mine,), (_, theirs) = two_of(
        lambda doc: doc.get("array", type=Array).append(Map({"in": 1})),
        lambda doc: doc.get("array", type=Array).append(Map({"in": True})),
    )
    assert not reuse.is_same(mine, theirs)


def test_lists_count_as_one():
    def write(doc: Doc[Any]) -> None:
        for value in (1, "x", [2]):
            doc.get("array", type=Array).append(value)

    assert shared(two_of(write)) == 1
    assert shared(two_of(write, lambda doc: doc.get("array", type=Array).append(4))) == 0
