"""How fast the SQLite store commits and loads: idle, and beside an event loop that never lets go of the GIL.

The busy loop burns pure Python in pieces of 20 ms, one per turn, so a caller learns of its commit up to 20 ms late:
`commit` is the time on the store's thread, `answer` what the caller saw (two turns: one for the answer, one for the
task that awaits it). Rows are 30 bytes, as for one keystroke.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from collab.store import Entry, writer
from collab.store.sqlite import SQLiteStore

SECONDS = 0.7
"""How long each figure is measured."""

BURN_SECONDS = 0.02
SWITCH_INTERVALS = (0.0005, 0.005)
ROOMS = 250
LOADED_ROWS = 10_000


class Stopwatch:
    """A failpoint that measures what lies between the two ends of a commit."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self._began = 0.0

    def __call__(self, step: str) -> None:
        if step == "append.before_commit":
            self._began = time.perf_counter()
        elif step == "append.after_commit":
            self.times.append(time.perf_counter() - self._began)


@asynccontextmanager
async def busy() -> AsyncIterator[None]:
    """Every turn of the event loop takes 20 ms of Python."""
    loop = asyncio.get_running_loop()
    going = True

    def burn() -> None:
        until = time.perf_counter() + BURN_SECONDS
        while time.perf_counter() < until:
            pass
        if going:
            loop.call_soon(burn)

    loop.call_soon(burn)
    try:
        yield
    finally:
        going = False


@asynccontextmanager
async def idle() -> AsyncIterator[None]:
    yield


async def write(store: SQLiteStore, batch: int, until: float, answers: list[float]) -> None:
    count = 0
    while time.perf_counter() < until:
        entries = [Entry(f"room {(count + i) % ROOMS}", b"x" * 30, time.time(), "ana") for i in range(batch)]
        count += batch
        started = time.perf_counter()
        await store.append(entries)
        answers.append(time.perf_counter() - started)


async def measure(folder: Path, label: str, load: str, writers: int, batch: int, group: bool = True) -> None:
    stopwatch = Stopwatch()
    usual, writer.GROUP_ROWS = writer.GROUP_ROWS, writer.GROUP_ROWS if group else 1
    async with SQLiteStore(folder / f"{time.monotonic_ns()}.db", failpoint=stopwatch) as store:
        await store.append([Entry(f"room {i}", b"", time.time()) for i in range(ROOMS)])
        stopwatch.times.clear()
        answers: list[float] = []
        async with busy() if load == "busy" else idle():
            started = time.perf_counter()
            async with asyncio.TaskGroup() as tasks:
                for _ in range(writers):
                    tasks.create_task(write(store, batch, started + SECONDS, answers))
            seconds = time.perf_counter() - started
    writer.GROUP_ROWS = usual
    rows, commits = len(answers) * batch, len(stopwatch.times)
    print(
        f"{label:38} {load} {sys.getswitchinterval() * 1000:3.1f} ms"
        f" {commits / seconds:9,.0f} {rows / seconds:9,.0f}"
        f" {middle(stopwatch.times):10.2f} {tail(stopwatch.times):8.2f} {middle(answers):10.2f} {tail(answers):8.2f}",
        flush=True,
    )


async def measure_load(folder: Path, load: str) -> None:
    async with SQLiteStore(folder / f"{time.monotonic_ns()}.db") as store:
        await store.append([Entry("room", b"x" * 30, time.time(), "ana") for _ in range(LOADED_ROWS)])
        times = []
        async with busy() if load == "busy" else idle():
            for _ in range(3):
                started = time.perf_counter()
                await store.load("room")
                times.append(time.perf_counter() - started)
    print(
        f"load of {LOADED_ROWS:,} rows {'':18} {load} {sys.getswitchinterval() * 1000:3.1f} ms {'':39}"
        f"{min(times) * 1000:10.2f} {max(times) * 1000:8.2f}",
        flush=True,
    )


def middle(times: list[float]) -> float:
    return sorted(times)[len(times) // 2] * 1000


def tail(times: list[float]) -> float:
    return sorted(times)[int(len(times) * 0.99)] * 1000


def main() -> None:
    """Print the table; about 15 s."""
    print(f"SQLite store in {tempfile.gettempdir()}, {ROOMS} rooms, times in ms")
    print(f"{'':38} loop switch commits/s    rows/s commit p50      p99 answer p50      p99")
    usual = sys.getswitchinterval()
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for load, interval in (("idle", usual), *(("busy", interval) for interval in SWITCH_INTERVALS)):
                sys.setswitchinterval(interval)
                asyncio.run(measure(folder, "one by one, each waits for its answer", load, 1, 1))
                asyncio.run(measure(folder, "one by one, 200 waiting, no grouping", load, 200, 1, group=False))
                asyncio.run(measure(folder, "by 100, 50 waiting, no grouping", load, 50, 100, group=False))
                asyncio.run(measure(folder, "one by one, 200 waiting", load, 200, 1))
                asyncio.run(measure(folder, "by 100, 50 waiting", load, 50, 100))
                asyncio.run(measure_load(folder, load))
    finally:
        sys.setswitchinterval(usual)
