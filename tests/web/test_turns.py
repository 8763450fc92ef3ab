"""No connection holds up the others with what it sends; and what waits is not taken for work."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from types import SimpleNamespace
from typing import Any

import pytest

from collab.metrics import Metrics
from collab.transport.turns import TURN_BYTES
from collab.web import turns
from collab.web.turns import Patient, Timed

pytestmark = pytest.mark.anyio


def spin(seconds: float) -> None:
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass


async def test_only_work_is_counted():
    async def call() -> None:
        spin(0.01)
        await asyncio.sleep(0.1)
        spin(0.01)

    work = Timed(call())
    await work
    assert 0.02 <= work.seconds < 0.06


async def test_cancelled_and_failed_like_the_call_itself():
    heard = []

    async def call() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            heard.append("cancelled")
            raise

    async def wait(work: Timed) -> None:
        await work

    task = asyncio.create_task(wait(Timed(call())))
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled() and heard == ["cancelled"]

    async def fail() -> None:
        await asyncio.sleep(0)
        raise ValueError("as it was")

    with pytest.raises(ValueError, match="as it was"):
        await Timed(fail())


class Transport:
    aborted = False

    def abort(self) -> None:
        self.aborted = True


def reading(handle: Any, parts: int) -> tuple[Patient, Transport]:
    """A connection to which so many parts have come, and whose protocol does `handle` with each."""
    reader = asyncio.StreamReader()
    reader.feed_data(bytes(parts * TURN_BYTES))
    reader.feed_eof()
    transport = Transport()
    one = Patient.__new__(Patient)
    one.reader = reader
    one.writer = SimpleNamespace(transport=transport, get_extra_info=lambda name: ("192.0.2.1", 1))  # type: ignore[assignment]
    one.protocol = SimpleNamespace(handle=handle)  # type: ignore[assignment]
    return one, transport


async def test_the_others_have_their_turn_and_who_goes_on_is_cut_off(monkeypatch):
    monkeypatch.setattr(turns, "PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr(Patient, "metrics", Metrics())
    handled = 0

    def handle(event: object) -> Coroutine[Any, Any, None]:
        async def work() -> None:
            nonlocal handled
            handled += 1
            spin(0.02)

        return work()

    one, transport = reading(handle, 500)
    began, longest = time.monotonic(), 0.0
    task = asyncio.create_task(one._read_data())
    while not task.done():
        at = time.monotonic()
        await asyncio.sleep(0)
        longest = max(longest, time.monotonic() - at)
        await asyncio.sleep(0.001)
    assert transport.aborted and 0.4 < time.monotonic() - began < 5
    assert handled < 60 and longest < 0.2
    assert Patient.metrics is not None and Patient.metrics.limited["processor"]._value.get() == 1


async def test_whoever_works_little_or_waits_long_is_not_slowed():
    handled = 0

    def handle(event: object) -> Coroutine[Any, Any, None]:
        async def work() -> None:
            nonlocal handled
            handled += 1
            if handled == 3:
                await asyncio.sleep(0.5)  # the application reads no further

        return work()

    one, transport = reading(handle, 100)
    began = time.monotonic()
    await one._read_data()
    assert handled == 101 and not transport.aborted and time.monotonic() - began < 1
