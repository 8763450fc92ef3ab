"""Long looks are made on another thread, one at a time, and come to the same."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from pycrdt import Doc, Text

from collab import vetting
from collab.errors import BadUpdate
from collab.vetting import LONG
from collab.wire import vet

pytestmark = pytest.mark.anyio


def update(size: int) -> bytes:
    doc: Doc[Any] = Doc({"t": Text("x" * size)})
    return doc.get_update()


@pytest.mark.parametrize("size", [1, LONG])
async def test_what_an_update_covers(size):
    one = update(size)
    assert await vetting.extent(one) == vet.parse(one) and vet.parse(one).structs


@pytest.mark.parametrize("size", [0, 2 * LONG])
async def test_what_is_no_update(size):
    with pytest.raises(BadUpdate):
        await vetting.extent(b"\x07" + bytes(size))


@pytest.mark.parametrize(("size", "here"), [(LONG - 1, True), (LONG, False)])
async def test_long_looks_leave_the_event_loop(size, here):
    assert (await vetting.aside(size, threading.current_thread) is threading.current_thread()) == here


async def test_one_at_a_time():
    busy: list[int] = []
    most = 0

    def look(number: int) -> None:
        nonlocal most
        busy.append(number)
        most = max(most, len(busy))
        time.sleep(0.01)
        busy.remove(number)

    async with anyio.create_task_group() as tasks:
        for number in range(5):
            tasks.start_soon(vetting.aside, LONG, look, number)
    assert most == 1


async def test_the_loop_goes_on_meanwhile():
    """A look that holds the interpreter for all it can."""
    turns = 0
    over = threading.Event()

    def look() -> None:
        until = time.perf_counter() + 0.3
        while time.perf_counter() < until:
            pass
        over.set()

    async def count() -> None:
        nonlocal turns
        while not over.is_set():
            turns += 1
            await anyio.sleep(0.001)

    call: Callable[[], None] = look
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(count)
        await vetting.aside(LONG, call)
    assert turns > 10
