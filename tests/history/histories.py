"""Random histories of a room: what several people did to one document, as the rows that the store keeps of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from pycrdt import Array, Doc, Map, Text, XmlElement, XmlFragment, XmlText

from collab.store import Kind, Row
from tests.support.histories import VALUES, WORDS, Editors, everything

PEOPLE = ("ana", "ben", "eva")
SHORT, LONG = 30, 1_000
"""How many histories a test goes through, in its short form and in its long one."""


class Crowd(Editors):
    """Editors who edit what is nested, too; and now and then somebody offers again all that he knows.

    Attributes:
        rows: What the server kept, in order; a row a second.
        did: How often each operation was done.
    """

    def __init__(self, seed: int, steps: int = 60) -> None:
        self.rows: list[Row] = []
        self.did: Counter[str] = Counter()
        super().__init__(seed, steps)

    def _made(self, author: int, update: bytes) -> None:
        before = len(self.edits)
        super()._made(author, update)
        if len(self.edits) > before:
            self._keep(author, update)

    def _keep(self, author: int, update: bytes) -> None:
        number = len(self.rows) + 1
        self.rows.append(Row(number, update, float(number), PEOPLE[author], Kind.RAW))

    def step(self) -> None:
        """Somebody does something."""
        doc = self.random.choice(self.docs)
        act = self.random.choice(
            (self._type, self._type, self._type, self._erase, self._erase, self._format, self._embed, self._map)
            + (self._unmap, self._array, self._array, self._shorten, self._xml, self._xml, self._xml_erase, self._many)
            + (self._write_in, self._write_in, self._write_in, self._write_in, self._attribute, self._nest)
            + (self._set_in, self._list_in, self._element_in, self._hear, self._hear, self._hear, self._offer)
        )
        count = len(self.rows)
        act(doc)
        if len(self.rows) > count or act == self._hear:
            self.did[act.__name__.strip("_")] += 1

    def _offer(self, doc: Doc[Any]) -> None:
        """Sync step 2: the others' content, under the name of who sends it."""
        update = doc.get_update()
        if len(update) > 2:
            self._keep(self.docs.index(doc), update)

    def _nodes(self, doc: Doc[Any]) -> Iterator[Any]:
        """Every type that stands in another."""
        waiting = list(doc.get("xml", type=XmlFragment).children)
        waiting += [value for _, value in sorted(doc.get("map", type=Map).items())]
        waiting += list(doc.get("array", type=Array))
        return nested(waiting)

    def _any(self, doc: Doc[Any], *kinds: type) -> Any:
        found = [node for node in self._nodes(doc) if isinstance(node, kinds)]
        return self.random.choice(found) if found else None

    def _write_in(self, doc: Doc[Any]) -> None:
        text = self._any(doc, XmlText, Text)
        if text is None:
            return
        written = "".join(value for value, _ in text.diff() if isinstance(value, str))
        places = [len(written[:nth].encode()) for nth in range(len(written) + 1)]
        start, end = sorted(self.random.choices(places, k=2))
        match self.random.randrange(4):
            case 0 if start < end:
                del text[start:end]
            case 1 if start < end:
                text.format(start, end, {self.random.choice(("bold", "code")): self.random.choice((True, None))})
            case _:
                text.insert(start, self.random.choice(WORDS), self.random.choice((None, {"italic": True})))

    def _attribute(self, doc: Doc[Any]) -> None:
        element = self._any(doc, XmlElement)
        if element is not None:
            key = self.random.choice("xy")
            if key in dict(element.attributes) and self.random.random() < 0.4:
                del element.attributes[key]
            else:
                element.attributes[key] = self.random.choice(("1", "é", "long" * 9))

    def _nest(self, doc: Doc[Any]) -> None:
        """A list item in a list in a quote."""
        inner = XmlElement("item", {"n": "1"}, [XmlText("deep"), XmlElement("br")])
        doc.get("xml", type=XmlFragment).children.append(XmlElement("quote", None, [XmlElement("list", None, [inner])]))

    def _element_in(self, doc: Doc[Any]) -> None:
        element = self._any(doc, XmlElement)
        if element is not None:
            if len(element.children) and self.random.random() < 0.4:
                del element.children[self.random.randrange(len(element.children))]
            else:
                node = self.random.choice((XmlText("new"), XmlElement("b", {"k": "v"}, [XmlText("bé")])))
                element.children.insert(self.random.randint(0, len(element.children)), node)

    def _set_in(self, doc: Doc[Any]) -> None:
        shared = self._any(doc, Map)
        if shared is not None:
            shared[self.random.choice(("in", "map", "x"))] = self.random.choice(VALUES)()

    def _list_in(self, doc: Doc[Any]) -> None:
        shared = self._any(doc, Array)
        if shared is not None:
            if len(shared) and self.random.random() < 0.4:
                del shared[self.random.randrange(len(shared))]
            else:
                shared.insert(self.random.randint(0, len(shared)), self.random.choice(VALUES)())


def nested(waiting: list[Any]) -> Iterator[Any]:
    """The types among `waiting`, which is used up, and every type that stands in one of them."""
    while waiting:
        node = waiting.pop()
        if isinstance(node, XmlElement):
            waiting += list(node.children)
        elif isinstance(node, Map):
            waiting += [value for _, value in sorted(node.items())]
        elif isinstance(node, Array):
            waiting += list(node)
        if isinstance(node, XmlElement | XmlText | Text | Map | Array):
            yield node


def crowds(full: bool, steps: int = 60) -> Iterator[Crowd]:
    """As many histories as are wanted."""
    for seed in range(LONG if full else SHORT):
        yield Crowd(seed, steps)


def covered(did: Iterable[Counter[str]]) -> str:
    """What was done, as a line."""
    total = sum(did, Counter[str]())
    return ", ".join(f"{name} {count}" for name, count in sorted(total.items()))


def seen(doc: Doc[Any]) -> dict[str, Any]:
    """All that can be read in a document, by the library's own word, formatting included."""
    found = everything(doc)
    texts = []
    waiting: list[Any] = [
        *doc.get("xml", type=XmlFragment).children,
        doc.get("map", type=Map),
        doc.get("array", type=Array),
    ]
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, XmlText | Text):
            texts.append(joined(node.diff()))
        elif isinstance(node, XmlElement):
            waiting += list(node.children)
        elif isinstance(node, Map):
            waiting += [value for _, value in sorted(node.items())]
        elif isinstance(node, Array):
            waiting += list(node)
    return {
        "text": joined(found["text"]),
        "map": found["map"],
        "array": found["array"],
        "xml": [_markup(child) for child in doc.get("xml", type=XmlFragment).children],
        "texts": texts,
    }


def held(doc: Doc[Any]) -> dict[str, Any]:
    """All that two documents must agree on that have heard the same."""
    found = everything(doc)
    return {"clocks": found["clocks"], "deleted": found["deleted"], **seen(doc)}


def joined(parts: Iterable[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """What a text says; where the library keeps two pieces with the same formatting is no difference."""
    found: list[tuple[Any, Any]] = []
    for value, marks in parts:
        marks = marks or None
        if found and isinstance(value, str) and isinstance(found[-1][0], str) and found[-1][1] == marks:
            found[-1] = (found[-1][0] + value, marks)
        else:
            found.append((value, marks))
    return found


def _markup(node: Any) -> Any:
    if isinstance(node, XmlText):
        return joined(node.diff())
    attributes: Any = node.attributes
    return (node.tag, sorted(attributes), [_markup(child) for child in node.children])
