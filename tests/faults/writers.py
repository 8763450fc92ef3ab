"""Writers whose every edit bears an id, and the audit that finds each id again: in a document, once.

An edit is one transaction: something is inserted into a text, or put under a key, or an earlier insertion of the same
writer is deleted, and last of all the edit's id is pushed on an array. So a document in which the id stands must show
the effect too, and nothing of it twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from pycrdt import Array, Doc, Map, Snapshot, Text

from tests.support.node import Editor
from tests.support.raw import Peer, read_var
from tests.support.waiting import until

TOKEN = re.compile(r"<([a-z]\d\d\.\d{6})>")


@dataclass
class Book:
    """What was written into one room, and by which edit.

    Args:
        inserted: edit id -> the token that it inserted into the text.
        put: edit id -> the key that it set.
        deleted: edit id -> the id of the edit whose token it deleted.
    """

    room: str
    made: set[str] = field(default_factory=set)
    inserted: dict[str, str] = field(default_factory=dict)
    put: dict[str, str] = field(default_factory=dict)
    deleted: dict[str, str] = field(default_factory=dict)

    def audit(self, doc: Doc[Any]) -> set[str]:
        """The ids of the edits that `doc` holds, each shown to be there in full and once.

        Raises:
            AssertionError: something is there twice, or lacks a part, or was never written.
        """
        log = Counter(doc.get("log", type=Array).to_py() or [])
        doubled = [one for one, times in log.items() if times > 1]
        assert not doubled, f"{len(doubled)} edits are in {self.room} more than once: {doubled[:5]}"
        present = set(log)
        assert present <= self.made, f"never written: {sorted(present - self.made)[:5]}"
        # An edit that builds on one which the dead server had not committed may be taken in in part, without its id,
        # until its writer is back. One whose id is there, is there in full: the id was pushed last.
        found = Counter(TOKEN.findall(str(doc.get("text", type=Text))))
        twice = [token for token, times in found.items() if times > 1]
        assert not twice, f"{self.room}: {len(twice)} insertions are there more than once: {twice[:5]}"
        tokens = {self.inserted[one] for one in present if one in self.inserted}
        gone = {self.inserted[target] for one, target in self.deleted.items() if one in present}
        perhaps = {self.inserted[target] for one, target in self.deleted.items() if one not in present}
        absent = tokens - gone - perhaps - set(found)
        assert not absent, f"{self.room}: {len(absent)} insertions lack their effect: {sorted(absent)[:5]}"
        back = gone & set(found)
        assert not back, f"{self.room}: {len(back)} deletions lack their effect: {sorted(back)[:5]}"
        keys = {self.put[one] for one in present if one in self.put}
        assert keys <= set(doc.get("map", type=Map)), f"{self.room}: the map lacks what was put"
        return present


class Writer:
    """An editor in Python that writes as fast as it is told, and comes back with all that it has."""

    def __init__(self, name: str, url: str, book: Book, seed: int, *, first: int = 0) -> None:
        self.name = name
        self.book = book
        self.count = first
        self.peer = Peer(url, book.room)
        self.random = random.Random(f"{seed} {name} {book.room}")
        doc = self.peer.doc
        self.text: Text = doc.get("text", type=Text)
        self.map: Map[Any] = doc.get("map", type=Map)
        self.log: Array[Any] = doc.get("log", type=Array)
        self.standing: list[str] = []
        self.up = False
        """Connected, as far as the harness knows: it must say so itself when it kills the server."""

    @property
    def next_id(self) -> str:
        """The id of the next edit."""
        return f"{self.name}-{self.count:06d}"

    def make(self) -> bytes:
        """One edit, made here and noted; returns its update."""
        id_ = self.next_id
        token = id_.replace("-", ".")
        self.count += 1
        book, dice = self.book, self.random.random()

        def edit(_doc: Doc[Any]) -> None:
            if dice < 0.15 and self.standing:
                target = self.standing.pop(self.random.randrange(len(self.standing)))
                at = str(self.text).index(f"<{book.inserted[target]}>")
                del self.text[at : at + len(token) + 2]
                book.deleted[id_] = target
            elif dice < 0.3:
                self.map[token] = self.count
                book.put[id_] = token
            else:
                self.text.insert(0 if dice < 0.5 else len(self.text), f"<{token}>")
                book.inserted[id_] = token
                self.standing.append(id_)
            self.log.append(id_)

        book.made.add(id_)
        return self.peer.change(edit)

    async def write(self, count: int, pause: float = 0.0) -> None:
        """So many edits.

        Raises:
            OSError: the connection is gone.
        """
        for _ in range(count):
            await self.peer.send_update(self.make())
            await asyncio.sleep(pause)

    async def write_on(self, pause: float) -> None:
        """Write until the connection is gone; the last edits may not have been sent."""
        try:
            while self.peer.ended is None:
                await self.peer.send_update(self.make())
                await asyncio.sleep(pause * 2 * self.random.random())
        except OSError:
            self.up = False

    async def come_back(self) -> None:
        """Connect (again), as y-websocket does: say what we have, answer what is asked.

        Raises:
            OSError: there is nobody.
        """
        if not self.up:
            await self.leave()
            await self.peer.reconnect()
            self.up = True

    async def leave(self) -> None:
        self.up = False
        with contextlib.suppress(OSError):  # the server was killed while it was being answered
            await self.peer.leave()


class NodeWriter:
    """A real y-websocket client that writes; it comes back by itself."""

    def __init__(self, name: str, editor: Editor, book: Book, *, first: int = 0) -> None:
        self.name = name
        self.editor = editor
        self.book = book
        self.count = first

    async def write_on(self, pause: float) -> None:
        """Write until cancelled."""
        while True:
            id_ = f"{self.name}-{self.count:06d}"
            token = id_.replace("-", ".")
            self.count += 1
            self.book.made.add(id_)
            self.book.inserted[id_] = token
            edits = ["text.insert", "text", 0, f"<{token}>"], ["array.push", "log", [id_]]
            await asyncio.shield(self.editor.edit(*edits, together=True))
            await asyncio.sleep(2 * pause * random.random())


async def complete(peer: Peer, book: Book, within: float = 20.0) -> None:
    """Wait until `peer` shows every edit of its room."""
    await until(
        lambda: book.audit(peer.doc) == book.made, lambda: f"{len(book.made - book.audit(peer.doc))} edits", within
    )


async def stop(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """End tasks; what they raised is raised here."""
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, BaseException) and not isinstance(outcome, asyncio.CancelledError):
            raise outcome


def fingerprint(doc: Doc[Any]) -> tuple[object, ...]:
    """Equal for documents that hold the same: state vector, deletions, content."""
    text, keys, log = doc.get("text", type=Text), doc.get("map", type=Map), doc.get("log", type=Array)
    return *_clocks(doc), str(text), keys.to_py(), log.to_py()


def _clocks(doc: Doc[Any]) -> tuple[dict[int, int], dict[int, list[tuple[int, int]]]]:
    """State vector and deleted ranges. Read from bytes: yrs writes them in no particular order."""
    snapshot = Snapshot.from_doc(doc).encode()
    deleted: dict[int, list[tuple[int, int]]] = {}
    clients, at = read_var(snapshot)
    for _ in range(clients):
        client, at = read_var(snapshot, at)
        ranges, at = read_var(snapshot, at)
        deleted[client] = []
        for _ in range(ranges):
            start, at = read_var(snapshot, at)
            length, at = read_var(snapshot, at)
            deleted[client].append((start, length))
    state: dict[int, int] = {}
    clients, at = read_var(snapshot, at)
    for _ in range(clients):
        client, at = read_var(snapshot, at)
        state[client], at = read_var(snapshot, at)
    assert at == len(snapshot)
    return state, deleted


def percentile(values: Iterable[float], share: float) -> float:
    """The value that `share` (0 to 1) of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def spread(values: Iterable[float]) -> str:
    """Seconds, told in milliseconds: the median, the 99th percentile and the longest."""
    ordered = sorted(values)
    told = (percentile(ordered, 0.5), percentile(ordered, 0.99), ordered[-1])
    return "p50 {:.1f} ms, p99 {:.1f} ms, max {:.1f} ms".format(*(1000 * value for value in told))
