"""The beat: everybody has one, and nobody is held up by all of them together."""

from __future__ import annotations

import asyncio
import time

import pytest

from collab.beats import TURN_SECONDS, in_turns
from collab.hub import Hub
from collab.settings import Settings
from tests.support.waiting import until

pytestmark = pytest.mark.anyio


async def test_others_have_their_turn_between_two_beats():
    turns = 0
    seen: list[int] = []

    def other() -> None:
        nonlocal turns
        turns += 1
        asyncio.get_running_loop().call_soon(other)

    def beat(now: float) -> None:
        seen.append(turns)
        while time.monotonic() - now <= TURN_SECONDS:
            pass

    other()
    await in_turns([beat] * 5)
    assert len(set(seen)) == 5


async def test_short_beats_share_a_turn():
    """As many as fit: a turn for each of 10,000 clients would take the processor longer than their beats do."""
    turns = 0

    def other() -> None:
        nonlocal turns
        turns += 1
        asyncio.get_running_loop().call_soon(other)

    other()
    heard: list[float] = []
    await in_turns([heard.append] * 10_000)
    assert len(heard) == 10_000 and turns < 1_000


async def test_beside_others_who_take_long_a_turn_is_longer():
    turns = 0

    def other() -> None:
        nonlocal turns
        turns += 1
        time.sleep(0.1)  # of which a beat may have 5 ms: ten times the usual turn
        asyncio.get_running_loop().call_soon(other)

    def beat(now: float) -> None:
        while time.monotonic() - now <= TURN_SECONDS:
            pass

    asyncio.get_running_loop().call_soon(other)
    await in_turns([beat] * 30)
    assert 3 <= turns <= 8


async def test_who_has_gone_by_then_has_none(monkeypatch):
    """One beat may end another's client."""
    monkeypatch.setattr("collab.beats.BEAT_SECONDS", 0.01)
    heard: list[str] = []
    async with Hub(Settings(store={"url": "memory:"})) as hub:

        def ana(now: float) -> None:
            heard.append("ana")
            hub.beats -= {ana, ben}

        def ben(now: float) -> None:
            heard.append("ben")
            hub.beats -= {ana, ben}

        hub.beats |= {ana, ben}
        await until(lambda: heard, "beating")
        later: list[float] = []
        hub.beats.add(later.append)
        await until(lambda: len(later) > 2, "beating on")
    assert len(heard) == 1
