"""Every client gets its turn: how much of one connection is worked through before the others have theirs.

hypercorn reads 64 KiB at a time, and works through all frames in it, and in what has come meanwhile, without a pause.
Frames that are no message (pings, pongs, empty parts) are counted by no limit of ours, since it does not show them:
10,000 of them fit into one read, and one client that sends nothing else held up all others for ten seconds. So a turn
is short here (the smallest frames of one cost some 20 ms), and whoever takes too much of the processor for too long is
read more slowly, and then cut off.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Generator
from functools import partial
from ssl import SSLError
from typing import Any, ClassVar

import hypercorn.asyncio.run
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.events import Closed, RawData

from ..limits import Bucket
from ..log import get_logger
from ..metrics import Metrics
from ..transport.turns import PATIENCE_SECONDS, TURN_BYTES

log = get_logger(__name__)

SHARE = 0.2
"""Which part of the processor one connection may use for reading its frames; editors use a thousandth."""
BURST_SECONDS = 0.25
"""How much of it at once."""


class Timed:
    """Awaits a call, and knows how long it ran; the time in which it waited for something does not count."""

    def __init__(self, call: Coroutine[Any, None, None]) -> None:
        self.seconds = 0.0
        self._call = call

    def __await__(self) -> Generator[Any, None, None]:
        steps = self._call.__await__()
        step = partial(steps.send, None)
        while True:
            began = time.perf_counter()
            try:
                waits_for = step()
            except StopIteration:
                return
            finally:
                self.seconds += time.perf_counter() - began
            try:
                yield waits_for
            except BaseException as error:
                step = partial(steps.throw, error)
            else:
                step = partial(steps.send, None)


class Patient(TCPServer):
    """A connection of hypercorn's that lets the others have their turn."""

    metrics: ClassVar[Metrics | None] = None

    async def _read_data(self) -> None:
        spent = Bucket(SHARE, BURST_SECONDS, time.monotonic())
        slowed_since: float | None = None
        while not self.reader.at_eof():
            try:
                part = await self.reader.read(TURN_BYTES)
            except (OSError, SSLError):
                break
            work = Timed(self.protocol.handle(RawData(part)))
            await work
            now = time.monotonic()
            wait = spent.take(work.seconds, now)
            if not wait:
                slowed_since = None
            elif slowed_since is None:
                slowed_since = now
            elif now - slowed_since > PATIENCE_SECONDS:
                self._cut()
                break
            await asyncio.sleep(wait)
        await self.protocol.handle(Closed())

    def _cut(self) -> None:
        if self.metrics is not None:
            self.metrics.limited["processor"].inc()
        peer: Any = self.writer.get_extra_info("peername")
        log.warning("connection cut", client=peer[0] if peer else None, reason="it sends nothing but work")
        self.writer.transport.abort()


def take_turns(metrics: Metrics) -> None:
    """From now on every connection of this process is read like that; `metrics` count who was cut off."""
    Patient.metrics = metrics
    hypercorn.asyncio.run.TCPServer = Patient  # type: ignore[attr-defined]
