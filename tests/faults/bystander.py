"""Two people in a room of their own, who must not notice what is done to others."""

from __future__ import annotations

import asyncio
import time
from types import TracebackType

from pycrdt import Map

from tests.faults.writers import percentile, spread
from tests.support.raw import Peer, room_target
from tests.support.waiting import until


class Bystander:
    """One edits every `pause` seconds, the other notes after how long it has that. Use as `async with`."""

    def __init__(self, url: str, *, room: str = "bystander", pause: float = 0.01, token: str | None = None) -> None:
        target = None if token is None else f"{room_target(room)}?token={token}"
        self.anna = Peer(url, room, target=target)
        self.ben = Peer(url, room, target=target)
        self.latencies: list[float] = []
        self.before: list[float] = []
        self.edits = 0
        self._pause = pause
        self._stop = False
        self._sent: dict[int, float] = {}
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Bystander:
        for peer in (self.anna, self.ben):
            await peer.reconnect()
            await peer.until(peer.synced.is_set, "sync step 2", 20)
        self._heard: Map[float] = self.ben.doc.get("beats", type=Map)
        self._heard.observe(self._note)
        self._task = asyncio.create_task(self._write())
        return self

    def _note(self, event: object) -> None:
        number, now = int(self._heard["last"]), time.monotonic()
        while self._sent and (oldest := next(iter(self._sent))) <= number:  # a later one may have taken its place
            self.latencies.append(now - self._sent.pop(oldest))

    async def _write(self) -> None:
        while not self._stop:
            self._sent[self.edits] = time.monotonic()
            await self.anna.put("last", self.edits, name="beats")
            self.edits += 1
            await asyncio.sleep(self._pause)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._stop = True
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
        if error is None:
            await until(lambda: self._heard.get("last") == self.edits - 1, self._story, 20)
        for peer in (self.anna, self.ben):
            await peer.leave()

    def _story(self) -> str:
        return f"the bystander's edit {self.edits - 1}; ends: {self.anna.ended}, {self.ben.ended}; {self._task}"

    async def idle(self, seconds: float = 1.0) -> None:
        """Measure what it is like while nothing happens: the figure that all later ones stand beside."""
        await asyncio.sleep(seconds)
        self.before, self.latencies = self.latencies, []

    @property
    def slower(self) -> float:
        """How many times its idle 99th percentile the later one is."""
        return percentile(self.latencies, 0.99) / max(percentile(self.before, 0.99), 0.001)

    @property
    def errors(self) -> int:
        """Connections that broke."""
        return sum(peer.ended is not None for peer in (self.anna, self.ben))

    def __str__(self) -> str:
        idle = f" (idle: {1000 * percentile(self.before, 0.99):.1f} ms)" if self.before else ""
        return f"bystander: {len(self.latencies)} edits, {spread(self.latencies)}{idle}, {self.errors} errors"
