"""Rounds of kill -9 under people who write, and the account of every edit."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from dataclasses import dataclass, field
from typing import Any

from tests.faults.told import Told
from tests.faults.writers import Book, NodeWriter, Writer, complete, fingerprint, spread, stop
from tests.support.node import VERSIONS, Node
from tests.support.proxy import Proxy
from tests.support.raw import Peer
from tests.support.waiting import until

PAUSE = 0.02
"""Seconds between two edits of one writer, on average."""
COMPACT_OFTEN = {"COLLAB_STORE__CHECKPOINT_ROWS": "60", "COLLAB_LOG__LEVEL": "warning"}


@dataclass
class Tally:
    """What the rounds added up to. Every edit is counted once, when the server it was sent to died."""

    rounds: int = 0
    interrupted: int = 0
    sent: int = 0
    reported: int = 0
    lost: int = 0
    present: int = 0
    owed: int = 0
    recovered: int = 0
    served: list[float] = field(default_factory=list)
    """Seconds from the start of the new process until fresh clients have read every room."""

    def __str__(self) -> str:
        return (
            f"{self.rounds} x kill -9, {self.interrupted} of them in the middle of a commit; {self.sent} edits sent: "
            f"{self.reported} reported committed, of these {self.lost} lost; {self.present} not reported and there "
            f"all the same; {self.owed} not there, of these {self.recovered} recovered by resend; doubled 0; "
            f"from start to all rooms read: {spread(self.served)}"
        )


class KillLoop:
    """Rounds of: write, kill -9 at a random instant, restart, audit by fresh clients, let the writers come back.

    Args:
        server: running.
        seed: makes the dice.
        writers: how many in Python. Beside them there is one real client per room, if `node` is given, which reaches
            the server through `network` so that it can be kept away until the audit is over.
    """

    ROOMS = 4
    GENERATION = 20
    """Rounds after which everybody moves to new rooms, so that documents stay small."""

    def __init__(self, server: Told, seed: int, *, writers: int, node: Node | None, network: Proxy) -> None:
        self.server = server
        self.seed = seed
        self.total = writers
        self.node = node
        self.network = network
        self.random = random.Random(seed)
        self.tally = Tally()
        self.generation = 0
        self.books: list[Book] = []
        self.writers: list[Writer] = []
        self.real: list[NodeWriter] = []
        self.counts: dict[str, int] = {}
        self.counted: set[str] = set()
        self.owed: set[str] = set()
        self.present: set[str] = set()
        """What the last audit found, in all rooms."""

    async def run(self, rounds: int) -> Tally:
        """So many rounds, and then everybody goes home."""
        try:
            for number in range(rounds):
                if number % self.GENERATION == 0:
                    await self._move()
                await self._round()
                if number % 4 != 3:  # else the next kill may come while they are still sending again
                    await self._settle()
                if (number + 1) % 50 == 0:
                    print(self.tally, flush=True)
            await self._clear()
        finally:
            for writer in self.writers:
                await writer.leave()
        return self.tally

    async def _move(self) -> None:
        await self._clear()
        self.generation += 1
        self.books = [Book(f"generation {self.generation} room {number}") for number in range(self.ROOMS)]
        for number in range(self.total):
            name, book = f"w{number:02d}", self.books[number % self.ROOMS]
            first = self.counts.get(name, 0)
            self.writers.append(Writer(name, self.server.url, book, self.seed, first=first))
        if self.node is not None:
            for number, book in enumerate(self.books):
                version = VERSIONS[number % len(VERSIONS)]
                editor = await self.node.client(
                    self.network.url, book.room, version=version, maxBackoffTime=150, quiet=True
                )
                name = f"n{number:02d}"
                self.real.append(NodeWriter(name, editor, book, first=self.counts.get(name, 0)))
            await self.node.all_synced([one.editor for one in self.real])

    async def _clear(self) -> None:
        """Everybody goes home, once all documents were found to be the same."""
        if not self.writers:
            return
        await self._settle()
        for book in self.books:
            docs = [writer.peer.doc for writer in self.writers if writer.book is book]
            await _equal(docs, book.room)
        self.counts |= {writer.name: writer.count for writer in self.writers}
        self.counts |= {writer.name: writer.count for writer in self.real}
        for writer in self.writers:
            await writer.leave()
        if self.node is not None:
            await self.node.each([one.editor for one in self.real], "destroy")
        self.writers, self.real = [], []

    async def _round(self) -> None:
        await self.aim()
        tasks = [asyncio.create_task(self._write(writer)) for writer in self.writers]
        tasks += [asyncio.create_task(one.write_on(PAUSE)) for one in self.real]
        await self.kill()
        self.network.refuse = True
        await stop(tasks)
        for writer in self.writers:
            writer.up = False
        started = time.monotonic()
        await self.server.up()
        self.present.clear()
        for book in self.books:
            await self._audit(book)
        self.network.refuse = False
        self.tally.served.append(time.monotonic() - started)
        self.tally.rounds += 1
        self.tally.interrupted += self.server.reports.interrupted

    async def aim(self) -> None:
        """Before anybody writes."""

    async def kill(self) -> None:
        """At a random instant."""
        await asyncio.sleep(0.5 * self.random.random())
        await self.server.down()

    async def _write(self, writer: Writer) -> None:
        with contextlib.suppress(OSError):
            await writer.come_back()
            await writer.write_on(PAUSE)

    async def _audit(self, book: Book) -> None:
        """Read a room by a fresh client, before any old one is back."""
        reported = book.made & self.server.reports.committed
        async with await Peer.open(self.server.url, book.room) as reader:
            await reader.until(reader.synced.is_set, "sync step 2", 20)
            present = book.audit(reader.doc)
        self.present |= present
        self.tally.lost += len(reported - present)
        new = book.made - self.counted
        self.counted |= new
        self.tally.sent += len(new)
        self.tally.reported += len(new & reported)
        self.tally.present += len((new & present) - reported)
        owed = (new - present) - reported
        self.tally.owed += len(owed)
        self.owed |= owed

    async def _settle(self) -> None:
        """The writers come back, and then the server has every edit that was ever made, and so has everybody."""
        for writer in self.writers:
            await writer.come_back()
        for book in self.books:
            async with await Peer.open(self.server.url, book.room) as reader:
                await complete(reader, book)
            self.tally.recovered += len(self.owed & book.made)
            self.owed -= book.made


async def _equal(docs: list[Any], room: str) -> None:
    first, *others = docs
    await until(lambda: all(fingerprint(first) == fingerprint(doc) for doc in others), f"equal documents in {room}", 20)


class AtStep(KillLoop):
    """The server kills itself at a step of its store, the how-many-th time is left to chance.

    Attributes:
        cut: how many edits were in the appends that were cut short, and how many of these were there afterwards.
    """

    step = "append.before_commit"
    most = 30
    cut = (0, 0)

    async def aim(self) -> None:
        await self.server.ask(kill_at=self.step, kill_after=self.random.randint(1, self.most))

    async def kill(self) -> None:
        await self.server.died()
        assert self.server.reports.steps[-1] == self.step

    async def _round(self) -> None:
        await super()._round()
        reports = self.server.reports
        if reports.interrupted:
            batch = reports.begun[-1] - reports.committed
            self.cut = (self.cut[0] + len(batch), self.cut[1] + len(batch & self.present))
