"""Random histories: three editors on pycrdt who type, format, nest, delete, and hear of each other now and then."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from pycrdt import Array, Doc, Map, Text, XmlElement, XmlFragment, XmlText

from collab.wire import vet

WORDS = ("a", "hello", "é", "€uro", "😀", "👩‍👧 x", "z" * 30)
VALUES: tuple[Callable[[], Any], ...] = (
    lambda: 1,
    lambda: -2.5,
    lambda: 2**40,
    lambda: None,
    lambda: True,
    lambda: "é😀",
    lambda: b"\x00\xff",
    lambda: [1, [2, {"three": [3.5]}]],
    lambda: {"a": {"b": [None, "c"]}},
    lambda: Map({"in": 1, "map": Map({"deep": "é"})}),
    lambda: Array([1, Text("in a list")]),
    lambda: Text("nested 😀"),
)


@dataclass(frozen=True)
class Edit:
    """One update, and which of the editors (0, 1, 2) made it."""

    author: int
    update: bytes


class Editors:
    """Three documents and every edit that was made in them, in the order in which they were made."""

    def __init__(self, seed: int, steps: int = 50) -> None:
        self.random = random.Random(seed)
        self.docs: list[Doc[Any]] = [Doc(client_id=number) for number in self.random.sample(range(1, 2**32), 3)]
        self.edits: list[Edit] = []
        self._syncing = False
        for author, doc in enumerate(self.docs):
            doc.observe(lambda event, author=author: self._made(author, event.update))
        for _ in range(steps):
            self.step()

    def _made(self, author: int, update: bytes) -> None:
        if not self._syncing and update != vet.EMPTY:
            self.edits.append(Edit(author, update))

    @property
    def updates(self) -> list[bytes]:
        """What was made, without who made it."""
        return [edit.update for edit in self.edits]

    def sync(self, to: Doc[Any], origin: Doc[Any]) -> None:
        """`to` hears all that `origin` knows."""
        self._syncing = True
        to.apply_update(origin.get_update(to.get_state()))
        self._syncing = False

    def step(self) -> None:
        """Somebody does something."""
        doc = self.random.choice(self.docs)
        act = self.random.choice(
            (self._type, self._type, self._type, self._erase, self._format, self._embed, self._map, self._unmap)
            + (self._array, self._array, self._shorten, self._xml, self._xml_erase, self._many, self._hear, self._hear)
        )
        act(doc)

    # Text is indexed in bytes; an index within a character makes yrs write structs of length zero, so none is used.

    def _places(self, doc: Doc[Any]) -> tuple[Text, list[int]]:
        text = doc.get("text", type=Text)
        pieces: list[int] = []
        for value, _ in text.diff():
            pieces += [len(char.encode()) for char in value] if isinstance(value, str) else [1]
        return text, list(accumulate(pieces, initial=0))

    def _type(self, doc: Doc[Any]) -> None:
        text, places = self._places(doc)
        text.insert(self.random.choice((places[-1], self.random.choice(places))), self.random.choice(WORDS))

    def _erase(self, doc: Doc[Any]) -> None:
        text, places = self._places(doc)
        start, end = sorted(self.random.choices(places, k=2))
        if start < end:
            del text[start : min(end, places[min(places.index(start) + 3, len(places) - 1)])]

    def _format(self, doc: Doc[Any]) -> None:
        text, places = self._places(doc)
        start, end = sorted(self.random.choices(places, k=2))
        if start < end:
            text.format(
                start, end, {self.random.choice(("bold", "link")): self.random.choice((True, None, {"é": [1]}))}
            )

    def _embed(self, doc: Doc[Any]) -> None:
        text, places = self._places(doc)
        text.insert_embed(self.random.choice(places), {"image": "é.png"})

    def _map(self, doc: Doc[Any]) -> None:
        doc.get("map", type=Map)[self.random.choice("abcé")] = self.random.choice(VALUES)()

    def _unmap(self, doc: Doc[Any]) -> None:
        shared = doc.get("map", type=Map)
        if keys := sorted(shared.keys()):
            del shared[self.random.choice(keys)]

    def _array(self, doc: Doc[Any]) -> None:
        shared = doc.get("array", type=Array)
        shared.insert(self.random.randint(0, len(shared)), self.random.choice(VALUES)())

    def _shorten(self, doc: Doc[Any]) -> None:
        shared = doc.get("array", type=Array)
        if len(shared):
            del shared[self.random.randrange(len(shared))]

    def _xml(self, doc: Doc[Any]) -> None:
        children = doc.get("xml", type=XmlFragment).children
        node = self.random.choice((XmlText("wörds"), XmlElement("p", {"class": "é"}, [XmlText("inside")])))
        children.insert(self.random.randint(0, len(children)), node)

    def _xml_erase(self, doc: Doc[Any]) -> None:
        children = doc.get("xml", type=XmlFragment).children
        if len(children):
            del children[self.random.randrange(len(children))]

    def _many(self, doc: Doc[Any]) -> None:
        with doc.transaction():
            for act in (self._type, self._map, self._erase, self._array, self._type):
                act(doc)

    def _hear(self, doc: Doc[Any]) -> None:
        self.sync(doc, self.random.choice(self.docs))


def applied(updates: Iterable[bytes]) -> Doc[Any]:
    """A new document of `updates`."""
    doc: Doc[Any] = Doc()
    for update in updates:
        doc.apply_update(update)
    return doc


def clocks(doc: Doc[Any]) -> dict[int, int]:
    """What a document has."""
    return vet.parse_state_vector(doc.get_state())


def ranges(found: Iterable[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """The same ranges, sorted, and joined where they touch."""
    joined: list[tuple[int, int, int]] = []
    for client, start, end in sorted(found):
        if joined and joined[-1][0] == client and joined[-1][2] >= start:
            joined[-1] = (client, joined[-1][1], max(end, joined[-1][2]))
        else:
            joined.append((client, start, end))
    return joined


def everything(doc: Doc[Any]) -> dict[str, Any]:
    """All that two documents must agree on: what they have, what is deleted, what can be read."""
    return {
        "clocks": clocks(doc),
        "deleted": ranges(vet.parse(doc.get_update()).deletes),
        "text": doc.get("text", type=Text).diff(),
        "map": doc.get("map", type=Map).to_py(),
        "array": doc.get("array", type=Array).to_py(),
        "xml": str(doc.get("xml", type=XmlFragment)),
    }
