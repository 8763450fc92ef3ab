"""The beat: everybody has one, and nobody is held up by all of them together."""

from __future__ import annotations

import asyncio
import time
from typing import Self

import pytest

from collab.beats import TURN_SECONDS, in_turns
from collab.hub import Hub
from collab.settings import Settings
from tests.support.waiting import until

pytestmark = pytest.mark.anyio


class Others:
    """What else the event loop has to do, in each of its turns, while one looks (`with`): it takes so many seconds.

    Attributes:
        turns: How many there were.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        self.turns = 0
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._next: asyncio.Handle | None = None

    def __enter__(self) -> Self:
        self._next = self._loop.call_soon(self._turn)
        return self

    def __exit__(self, *exc: object) -> None:
        assert self._next is not None
        self._next.cancel()  # other tests have the same loop

    def _turn(self) -> None:
        self.turns += 1
        time.sleep(self._seconds)
        self._next = self._loop.call_soon(self._turn)


def long_beat(now: float) -> None:
    """As long as a turn."""
    while time.monotonic() - now <= TURN_SECONDS:
        pass


async def test_others_have_their_turn_between_two_beats():
    seen: list[int] = []
    with Others() as others:

        def beat(now: float) -> None:
            seen.append(others.turns)
            long_beat(now)

        await in_turns([beat] * 5)
    assert len(set(seen)) == 5


async def test_short_beats_share_a_turn():
    """As many as fit: a turn for each of 10,000 clients would take the processor longer than their beats do."""
    heard: list[float] = []
    with Others() as others:
        await in_turns([heard.append] * 10_000)
    assert len(heard) == 10_000 and others.turns < 1_000


async def test_beside_others_who_take_long_a_turn_is_longer():
    with Others(0.1) as others:  # of which a beat may have 5 ms: ten times the usual turn
        await in_turns([long_beat] * 30)
    assert 3 <= others.turns <= 8


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
