"""The trial at the start: it finds the fast path where it is, and says what is wrong where it is not."""

from __future__ import annotations

import asyncio

import pytest

from collab.transport import insides, trial
from collab.transport.carriers import Carriers
from collab.transport.takeover import TakeoverSocket
from tests.support.waiting import until

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request):
    return "asyncio", {"use_uvloop": request.param}


async def test_it_works_here():
    before = asyncio.all_tasks()
    assert await trial.trouble(Carriers(message_bytes=1000)) is None
    await until(lambda: not asyncio.all_tasks() - before, "nothing is left of it")


async def test_other_insides(monkeypatch):
    """hypercorn was rebuilt: what is looked for is not there."""
    monkeypatch.setattr(insides, "line", lambda send: None)
    assert await trial.trouble(Carriers(message_bytes=1000)) == "a connection was not taken over"


async def test_a_connection_that_dies(monkeypatch):
    """They are there, and mean something else: hypercorn still thinks that the connection is its own."""
    monkeypatch.setattr(insides.Line, "take", lambda line, protocol: line.transport.abort())
    found = await trial.trouble(Carriers(message_bytes=1000))
    assert found is not None and found.startswith("a connection was not accepted")


async def test_frames_that_are_lost(monkeypatch):
    monkeypatch.setattr(trial, "TRIAL_SECONDS", 0.3)
    monkeypatch.setattr(TakeoverSocket, "data_received", lambda socket, frames: None)
    assert await trial.trouble(Carriers(message_bytes=1000)) == "a frame did not come back (TimeoutError)"
