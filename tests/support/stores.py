"""A store that fails, hangs and takes its time as it is told, and remembers what it was asked."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from pycrdt import Doc

from collab.errors import Unavailable
from collab.store import Entry, Stored
from collab.store.memory import MemoryStore

Verdict = Callable[[Sequence[Entry]], Exception | None]


class Obedient(MemoryStore):
    """What it keeps it keeps as a `MemoryStore` does.

    Attributes:
        down: Raised by everything, as long as it is set.
        verdict: Called with the entries of each `append`; what it returns is raised. Nothing is kept then.
        writes, reads: While clear, `append` (or `load`) hangs.
        seconds: How long each `append` and each `load` takes.
        commits: What each `append` that succeeded was given.
        failed: How many did not.
        loads: How often each room was read.
    """

    def __init__(self) -> None:
        super().__init__()
        self.down: Exception | None = None
        self.verdict: Verdict = lambda entries: None
        self.writes, self.reads = asyncio.Event(), asyncio.Event()
        self.writes.set()
        self.reads.set()
        self.seconds = 0.0
        self.commits: list[list[Entry]] = []
        self.failed = 0
        self.loads: Counter[str] = Counter()

    def break_down(self) -> None:
        self.down = Unavailable("the store")

    async def append(self, entries: Sequence[Entry]) -> list[int]:
        await self.writes.wait()
        if self.seconds:
            await asyncio.sleep(self.seconds)
        error = self.down or self.verdict(entries)
        if error is not None:
            self.failed += 1
            raise error
        numbers = await super().append(entries)
        self.commits.append(list(entries))
        return numbers

    async def load(self, room: str) -> Stored:
        self.loads[room] += 1
        await self.reads.wait()
        if self.seconds:
            await asyncio.sleep(self.seconds)
        if self.down is not None:
            raise self.down
        return await super().load(room)

    async def check(self) -> None:
        if self.down is not None:
            raise self.down
        await super().check()

    def document(self, room: str) -> Doc[Any]:
        """What `room` adds up to right now, applied without any of the checks that loading makes."""
        kept = self._rooms.get(room)
        doc: Doc[Any] = Doc()
        if kept is not None:
            for update in (*filter(None, [kept.state]), *(row.update for row in kept.rows)):
                doc.apply_update(update)
        return doc
