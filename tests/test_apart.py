"""Work in a process of its own: what it gives, and that its death is nobody else's."""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from collab import apart
from collab.apart import Apart
from collab.errors import BadUpdate, CollabError, Crashed, Forgotten, TooDeep, Unconfirmed
from collab.fence import Panic
from collab.wire import vet
from tests.support.waiting import until

pytestmark = pytest.mark.anyio


async def awaited(number: int) -> int:
    await anyio.lowlevel.checkpoint()
    return number + 1


AWAITED: Any = partial(awaited, 1)


def prints() -> int:
    print("this is no answer")
    return os.getpid()


def dies() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def hungry() -> int:
    return len(b"x" * (2 * apart.MEMORY_BYTES))


def raises(error: CollabError) -> None:
    raise error


def stays(note: Path) -> None:
    note.write_text(str(os.getpid()))
    time.sleep(600)


def looked_at() -> tuple[int, str]:
    return os.nice(0), Path("/proc/self/oom_score_adj").read_text().strip()


async def test_it_is_another_process():
    assert await Apart().run(prints) != os.getpid()
    assert await Apart().run(AWAITED) == 2
    large = os.urandom(3_000_000)
    assert await Apart().run(partial(vet.as_it_is, large, b"")) == large


async def test_it_stands_back():
    niceness, score = await Apart().run(looked_at)
    assert niceness == min(19, os.nice(0) + apart.NICENESS) and score == "1000"


@pytest.mark.parametrize(
    "error",
    [BadUpdate("no"), TooDeep("nodes", 3), Forgotten("a", 1, 2), Unconfirmed("it", 1.0), Panic(ValueError("secret"))],
    ids=lambda error: type(error).__name__,
)
async def test_errors_come_out_as_they_are(error):
    with pytest.raises(type(error)) as caught:
        await Apart().run(partial(raises, error))
    assert str(caught.value) == str(error) and caught.value.args == error.args


async def test_a_crash_is_an_error_of_that_call():
    work = Apart()
    with pytest.raises(Crashed) as caught:
        await work.run(dies)
    assert caught.value.how == f"signal {signal.SIGSEGV:d}"
    assert await work.run(AWAITED) == 2


async def test_memory_is_bounded():
    with pytest.raises(Crashed, match="out of memory"):
        await Apart().run(hungry)


async def test_it_ends_when_it_is_cancelled(tmp_path):
    note, work = tmp_path / "pid", Apart()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work.run, partial(stays, note))
        await until(lambda: note.exists() and note.read_text(), "it works")
        tasks.cancel_scope.cancel()
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text()), 0)
    assert await work.run(AWAITED) == 2


async def test_what_cannot_be_sent_is_refused():
    with pytest.raises((pickle.PicklingError, AttributeError, TypeError)):
        await Apart().run(threading.Event().wait)
