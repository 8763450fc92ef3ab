"""Who wrote what stands in a document, and who wrote and who deleted what stood there."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ..store import Row
from ..wire.structs import ANY, DELETED, GC, STRING, TYPE
from .contents import FORMAT, Reader, shared_type, single
from .credits import Credits, author_of
from .items import Item, Items, Layer, Parent
from .timeline import State


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
        now: The document after the last of `rows`.

    Raises:
        BadMessage: A state is no well-formed update.
    """
    return _Walk(Credits(start, rows, now.poison), Layer.of(now.whole)).result()


class _Walk:
    def __init__(self, credits: Credits, now: Layer) -> None:
        self._credits = credits
        self._items: Items = credits.items(now)
        self._lives = now.lives()
        self._reader = Reader()
        self._runs: list[Run] = []
        self._deleted: list[Deleted] = []
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
        return Attribution(tuple(self._runs), tuple(self._deleted))

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
        run = Run(self._root, kind, shown, self._at, author_of(row), time, time)
        if lives:
            self._at += len(shown) if kind == "text" else 0
            self._runs[-1:] = _joined(self._runs[-1:], run)
        else:
            gone = Deleted(run, author_of(ended), None if ended is None else ended.time)
            self._deleted[-1:] = _joined_deleted(self._deleted[-1:], gone)
        return ended

    def _shown(self, item: Item) -> tuple[str, str]:
        if item.kind == STRING:
            return "text", self._reader.text(item)
        if item.kind == TYPE:
            kind, name = shared_type(item)
            return "node", name or kind
        if item.kind == ANY:
            return "value", ", ".join(json.dumps(value, ensure_ascii=False) for value in self._reader.values(item))
        return "embed", json.dumps(single(item), ensure_ascii=False)


def _joined(last: list[Run], run: Run) -> list[Run]:
    """A text that goes on under the same author is one run."""
    if last and (last[0].root, last[0].kind, last[0].author) == (run.root, "text", run.author) and run.kind == "text":
        if last[0].at + len(last[0].shown) == run.at or last[0].at == run.at:
            times = [time for time in (last[0].first, last[0].last, run.first) if time is not None]
            earliest = None if last[0].first is None or run.first is None else min(times)
            return [replace(last[0], shown=last[0].shown + run.shown, first=earliest, last=max(times, default=None))]
    return [*last, run]


def _joined_deleted(last: list[Deleted], gone: Deleted) -> list[Deleted]:
    if last and last[0].by == gone.by and last[0].run.at == gone.run.at:
        runs = _joined([last[0].run], gone.run)
        if len(runs) == 1:
            times = [time for time in (last[0].time, gone.time) if time is not None]
            return [Deleted(runs[0], gone.by, max(times, default=None))]
    return [*last, gone]
