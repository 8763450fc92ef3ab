"""Who wrote what stands in a document, and who wrote and who deleted what stood there."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..store import Row, State
from ..wire.structs import ANY, DELETED, GC, STRING, TYPE
from .contents import FORMAT, Reader, shared_type, single
from .credits import Credits, author_of
from .items import Item, Items, Layer, Parent


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbouring parts of one author.

    Args:
        root: The root that it stands in, at whatever depth.
        kind: "text", "value" (of a list), "embed", "node" (a shared type) or "key".
        shown: The text; of an element its name, of another type what it is; of values and embeds their JSON.
        at: How many characters of text stand before it in this root.
        author: Who wrote it; None when nobody is known, or it was there before the log began.
        first: When the first of it was written, in seconds since the epoch; None when it was there before.
        last: When the last of it was written.
    """

    root: str
    kind: str
    shown: str
    at: int
    author: str | None
    first: float | None
    last: float | None


@dataclass(frozen=True, slots=True)
class Deleted:
    """A run that is gone.

    Args:
        run: What it was; it stood where `run.at` says.
        by: Who deleted it; None when nobody is known.
        time: When the last of it was deleted, in seconds since the epoch; None when nobody knows.
    """

    run: Run
    by: str | None
    time: float | None


@dataclass(frozen=True, slots=True)
class Attribution:
    """What lives, in the order in which it stands, and what is gone, as far as the log still has it."""

    runs: tuple[Run, ...]
    deleted: tuple[Deleted, ...]


def attribution(start: State, rows: Sequence[Row], now: State) -> Attribution:
    """Who wrote and who deleted which part.

    Args:
        start: The oldest state that the store keeps.
        rows: The log after it.
        now: The document; rows from after it are passed over.

    Raises:
        BadMessage: A state is no well-formed update.
    """
    return _Walk(Credits(start, rows, now), Layer.of(now.whole)).result()


class _Walk:
    def __init__(self, credits: Credits, now: Layer) -> None:
        self._credits = credits
        self._items: Items = credits.items(now)
        self._lives = now.lives()
        self._reader = Reader()
        self._runs: list[_Growing] = []
        self._deleted: list[_Growing] = []
        self._root = ""
        self._at = 0

    def result(self) -> Attribution:
        for name in self._items.roots:
            self._root, self._at = name, 0
            waiting: list[tuple[Iterator[tuple[Item, str | None]], Row | None]] = [(self._inside(name), None)]
            while waiting:
                parts, end = waiting[-1]
                for item, key in parts:
                    ended = self._say(item, key, end)
                    if item.kind == TYPE:
                        waiting.append((self._inside(item.id), ended))
                        break
                else:
                    waiting.pop()
        deleted = (Deleted(one.run(), one.by, one.ended) for one in self._deleted)
        return Attribution(tuple(one.run() for one in self._runs), tuple(deleted))

    def _inside(self, parent: Parent) -> Iterator[tuple[Item, str | None]]:
        for key, last in self._items.values(parent):
            item: Item | None = last
            while item is not None:
                yield item, key
                item = item.left
        for item in self._items.sequence(parent):
            yield item, None

    def _say(self, item: Item, key: str | None, end: Row | None) -> Row | None:
        """Note one part; `end` is the row that deleted what it stands in. Returns the row that deleted it."""
        lives = item.id in self._lives
        ended = None if lives else self._credits.deleter(item.id)
        if not lives and ended is None:  # nobody says so: it went with the type around it, or a newer value came
            ended = end or (self._credits.writer(item.right.id) if key is not None and item.right else None)
        if item.kind in (GC, DELETED, FORMAT):
            return ended
        row = self._credits.writer(item.id)
        time = None if row is None else row.time
        kind, shown = self._shown(item)
        if key is not None:
            kind, shown = "key", f"{key}: {shown}"
        if lives:
            self._add(self._runs, _Growing(self._root, kind, [shown], self._at, author_of(row), time, time))
            self._at += len(shown) if kind == "text" else 0
        else:
            gone = _Growing(self._root, kind, [shown], self._at, author_of(row), time, time)
            gone.by, gone.ended = author_of(ended), None if ended is None else ended.time
            self._add(self._deleted, gone)
        return ended

    def _add(self, runs: list[_Growing], part: _Growing) -> None:
        last = runs[-1] if runs else None
        if last is None or (runs is self._deleted and last.at != part.at) or not last.takes(part):
            runs.append(part)

    def _shown(self, item: Item) -> tuple[str, str]:
        if item.kind == STRING:
            return "text", self._reader.text(item)
        if item.kind == TYPE:
            kind, name = shared_type(item)
            return "node", name or kind
        if item.kind == ANY:
            return "value", ", ".join(json.dumps(value, ensure_ascii=False) for value in self._reader.values(item))
        return "embed", json.dumps(single(item), ensure_ascii=False)


@dataclass(slots=True)
class _Growing:
    """A run to which parts are added."""

    root: str
    kind: str
    pieces: list[str]
    at: int
    author: str | None
    first: float | None
    last: float | None
    by: str | None = None
    ended: float | None = None

    def takes(self, other: _Growing) -> bool:
        """Whether `other`, which follows, belongs to the same run, and has joined it."""
        if not self.kind == other.kind == "text":
            return False
        if (self.root, self.author, self.by) != (other.root, other.author, other.by):
            return False
        self.pieces += other.pieces
        if self.first is not None and other.first is not None:
            self.first = min(self.first, other.first)
        else:
            self.first = None
        self.last = _latest(self.last, other.last)
        self.ended = _latest(self.ended, other.ended)
        return True

    def run(self) -> Run:
        """It is complete."""
        return Run(self.root, self.kind, "".join(self.pieces), self.at, self.author, self.first, self.last)


def _latest(one: float | None, other: float | None) -> float | None:
    return one if other is None else other if one is None else max(one, other)
