"""The store fails: nothing is reported saved that is not, edits stay live, memory stays bounded, all recovers alone."""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
from pycrdt import Text

from collab.store.sqlite import SQLiteStore
from tests.faults.bystander import Bystander
from tests.faults.images import found_in, picture
from tests.faults.told import Told
from tests.faults.writers import Book, Writer, complete, percentile, spread
from tests.support.raw import EMPTY_VECTOR, Peer, Raw, sync1
from tests.support.waiting import until

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(1800)]

QUIET = {"COLLAB_LOG__LEVEL": "error"}


@asynccontextmanager
async def pair(server: Told, room: str = "room", seed: int = 8) -> AsyncIterator[tuple[Book, Writer, Peer]]:
    """One who writes, and one who looks on."""
    book = Book(room)
    writer = Writer("w00", server.url, book, seed)
    await writer.come_back()
    async with await Peer.open(server.url, room) as reader:
        await reader.until(reader.synced.is_set, "sync step 2", 20)
        yield book, writer, reader
        await writer.leave()


def ready(server: Told) -> tuple[int, int]:
    """The answers of /ready and /live."""
    return server.get("/ready")[0], server.get("/live")[0]


async def until_ready(server: Told, status: int, within: float = 30.0) -> float:
    """Wait until /ready answers so; returns the seconds that took."""
    began = time.monotonic()
    await until(lambda: ready(server) == (status, 200), f"/ready to say {status} and /live 200", within)
    return time.monotonic() - began


async def test_d08_the_nth_store_operation_fails(told, tmp_path, full, figure):
    """Whichever it is: what was reported is on the disk at that instant, and the next commit comes without restart."""
    numbers = range(1, 201) if full else (1, 2, 3, 5, 8, 13, 21, 34)
    errors = ("EIO", "ENOSPC", "BUSY")
    recovered: list[float] = []
    steps: dict[str, int] = {}
    env = QUIET | {"COLLAB_STORE__CHECKPOINT_ROWS": "20", "COLLAB_ROOMS__IDLE_COUNT": "0"}
    async with told(env=env) as server:
        pid = server.pid
        side = Book("side")
        visitor = Writer("v00", server.url, side, 8)
        await visitor.come_back()
        await visitor.write(1)
        await server.all_committed(side.made)
        await visitor.leave()
        async with pair(server) as (book, writer, reader):
            for number in numbers:
                fired = len(server.reports.steps)
                await server.ask(fail_nth=number, fail_times=1, error=errors[number % 3])
                while len(server.reports.steps) == fired:
                    await writer.write(1)
                    if writer.count % 5 == 0:  # a room that is read from the store
                        async with await Raw.open(server.url, room="side"):
                            pass
                    await asyncio.sleep(0.002)
                failed = time.monotonic()
                step = server.reports.steps[-1]
                steps[step] = steps.get(step, 0) + 1
                file, reported = await asyncio.to_thread(picture, server, tmp_path / str(number))
                assert reported <= await found_in(file, [book, side]), "reported, and not on the disk"
                await writer.write(1)
                await server.all_committed(book.made, 20)
                recovered.append(time.monotonic() - failed)
                await reader.until(lambda: book.audit(reader.doc) == book.made, "every edit")
            assert server.pid == pid and server.running
            await server.down()
            assert await found_in(server.file, [book]) == book.made
    figure(
        f"D08: {len(recovered)} store operations failed at {steps}, {server.reports.failed} appends with them; 0 false "
        f"reports; to the next commit: {spread(recovered)}, without a restart"
    )
    assert server.reports.failed > 0


async def test_a_store_that_is_down(told, full, figure):
    """Every operation fails for a while. Edits stay live, memory bounded, /ready says 503, and then all is well."""
    seconds, limit = 30.0 if full else 3.0, 64 << 10
    env = QUIET | {"COLLAB_STORE__JOURNAL_BYTES": str(limit)}
    async with told(env=env) as server, pair(server) as (book, writer, reader):
        await writer.write(20)
        await server.all_committed(book.made)
        process = psutil.Process(server.pid)
        before = process.memory_info().rss
        saved = set(server.reports.committed)
        await server.ask(fail_nth=1, fail_times=1 << 60)
        await writer.write(1)
        to_503 = await until_ready(server, 503)
        churn = writer.peer.doc.get("churn", type=Text)
        ends, written, peak, live = time.monotonic() + seconds, 0, 0.0, list[float]()
        while time.monotonic() < ends:  # typed and deleted again: the document stays small
            await writer.peer.edit(lambda _doc: churn.insert(0, os.urandom(4096).hex()))
            await writer.peer.edit(lambda _doc: churn.clear())
            written += 8192
            await writer.write(1)
            typed = time.monotonic()
            await reader.until(lambda: book.audit(reader.doc) == book.made, "a live edit")
            live.append(time.monotonic() - typed)
            metrics = server.metrics()
            peak = max(peak, metrics.get("collab_journal_lag_bytes"))
            assert metrics.get("collab_store_up") == 0
            assert server.reports.committed == saved, "reported, while nothing can be committed"
        assert server.metrics().get("collab_journals_behind") == 1
        grown = process.memory_info().rss - before
        await server.ask(fail_nth=0)
        back = await until_ready(server, 200)
        await server.all_committed(book.made, 30)
        await server.down()
        assert await found_in(server.file, [book]) == book.made
    figure(
        f"store down for {seconds:g} s: /ready 503 after {to_503:.2f} s, {written >> 10} KiB typed meanwhile, at most "
        f"{int(peak) >> 10} KiB waiting (limit {limit >> 10}), process +{grown >> 10} KiB, edits live p99 "
        f"{1000 * percentile(live, 0.99):.0f} ms, 0 reported; /ready 200 after {back:.2f} s, 0 lost"
    )
    assert written > 2 * limit
    assert peak <= 1.5 * limit


async def test_a_room_that_opens_slowly(told, full, figure):
    """Whoever waited for it longer than a silent or a stalled client is borne with is served all the same."""
    env = QUIET | {
        "COLLAB_LIMITS__STALLED_SECONDS": "1",
        "COLLAB_LIVENESS__PROBE_SECONDS": "1",
        "COLLAB_LIVENESS__SILENT_SECONDS": "4",
    }
    async with told(env=env, faults={"slow_load": 5.0}) as server, Bystander(server.url) as bystander:
        book = Book("room")
        people = [Writer(f"w{number:02d}", server.url, book, 8) for number in range(5)]
        began = time.monotonic()
        for writer in people:
            await writer.come_back()
            await writer.write(1)
        for writer in people:
            await complete(writer.peer, book)
        seconds = time.monotonic() - began
        cut = sum(writer.peer.ended is not None for writer in people)
        async with await Raw.open(server.url, room="another") as quiet:  # says nothing of its own accord
            await quiet.send(sync1(EMPTY_VECTOR))
            await quiet.expect("sync2", within=20)
            await quiet.silence(1.5)
            cut += quiet.ended is not None
        await server.all_committed(book.made)
        for writer in people:
            await writer.leave()
    figure(f"opened after 5 s: {len(people) + 1} clients served after {seconds:.1f} s, {cut} cut; {bystander}")
    assert cut == 0 and bystander.errors == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(folder)], capture_output=True)
    if made.returncode:
        pytest.skip("may not mount a small file system here; the limit on file sizes is tried instead")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


async def full_disk(server: Told, fill, free, seconds: float) -> str:
    """Write on through a full disk; what happened, as a line."""
    async with pair(server) as (book, writer, reader):
        await writer.write(50)
        await server.all_committed(book.made)
        text = writer.peer.doc.get("churn", type=Text)
        process = psutil.Process(server.pid)
        before, peak = process.memory_info().rss, 0.0
        fill()
        began, ends = time.monotonic(), time.monotonic() + seconds
        first: float | None = None
        while time.monotonic() < ends or first is None:
            await writer.peer.edit(lambda _doc: text.insert(0, os.urandom(4096).hex()))
            await writer.peer.edit(lambda _doc: text.clear())
            await writer.write(1)
            await reader.until(lambda: book.audit(reader.doc) == book.made, "a live edit")
            answer = ready(server)
            assert answer[1] == 200
            if answer[0] == 503 and first is None:
                first = time.monotonic() - began
            peak = max(peak, server.metrics().get("collab_journal_lag_bytes"))
            assert time.monotonic() < ends + 60, "the disk is full and nobody noticed"
        assert ready(server)[0] == 503 and server.metrics().get("collab_store_up") == 0
        open_edits = len(book.made - server.reports.committed)
        grown = process.memory_info().rss - before
        failed = server.reports.failed
        free()
        began = time.monotonic()
        await server.all_committed(book.made, 30)
        back = time.monotonic() - began
        await until_ready(server, 200)
        await server.down()
        found = await found_in(server.file, [book])
        assert found == book.made
    assert failed > 0 and open_edits > 0
    return (
        f"full for {seconds:g} s: /ready 503 after {first:.1f} s, {failed} appends failed, {open_edits} edits waited, "
        f"at most {int(peak) >> 10} KiB, process +{grown >> 10} KiB; freed: all saved after {back:.2f} s, without a "
        f"restart; {len(found)} edits found after kill -9, 0 lost, 0 rejected"
    )


async def test_d10_the_disk_is_full(small_disk, told, full, figure):
    env = QUIET | {"COLLAB_STORE__JOURNAL_BYTES": "256KiB"}
    filler = small_disk / "filler"

    def fill() -> None:
        with filler.open("wb", buffering=0) as file:
            try:
                while file.write(b"x" * 4096):
                    pass
            except OSError:
                pass

    async with told(env=env, file=small_disk / "rooms.sqlite3") as server:
        figure(f"D10 {await full_disk(server, fill, filler.unlink, 30.0 if full else 4.0)}")


async def test_d10_the_file_may_not_grow(told, full, figure):
    """The same without being root: the kernel refuses to let the server's files grow."""
    env = QUIET | {"COLLAB_STORE__JOURNAL_BYTES": "256KiB"}
    async with told(env=env) as server:
        log = server.file.with_name(server.file.name + "-wal")
        _, hard = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)

        def limit(size: int) -> None:
            resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (size, hard))

        def fill() -> None:
            limit(max(server.file.stat().st_size, log.stat().st_size) + 8192)

        line = await full_disk(server, fill, lambda: limit(hard), 15.0 if full else 3.0)
        figure(f"D10, by a limit on file sizes: {line}")


HOLDER = """
import sqlite3, sys, time
file, tries_for, hold = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
ends, tries = time.monotonic() + tries_for, 0
while time.monotonic() < ends:
    connection = sqlite3.connect(file, timeout=0, isolation_level=None)
    tries += 1
    try:
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        connection.close()
        time.sleep(0.005)
        continue
    print("held", tries, flush=True)
    time.sleep(hold)
    connection.execute("ROLLBACK")
    connection.close()
    print("released", flush=True)
    break
else:
    print("never", tries, flush=True)
"""


async def holder(server: Told, tries_for: float, hold: float) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, str(server.file), str(tries_for), str(hold), stdout=asyncio.subprocess.PIPE
    )


async def test_d11_nobody_else_gets_in(told, full, figure):
    """While the server runs, another process cannot take the file, however often it tries."""
    seconds = 30.0 if full else 2.0
    async with told(env=QUIET) as server, pair(server) as (book, writer, _):
        await writer.write(1)
        other = await holder(server, seconds, 0)
        task = asyncio.create_task(writer.write_on(0.005))
        out, _ = await other.communicate()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        word, tries = out.decode().split()
        assert word == "never"
        await server.all_committed(book.made)
        await server.down()
        assert await found_in(server.file, [book]) == book.made
    figure(
        f"D11: {tries} tries to take the file in {seconds:g} s, 0 succeeded; {len(book.made)} edits meanwhile, 0 lost"
    )
    assert server.reports.failed == 0


async def test_d11_another_process_holds_the_file(told, full, figure):
    """It gets in while the server has lost its connection, and holds the file: nothing is reported saved meanwhile."""
    seconds = 30.0 if full else 3.0
    async with told(env=QUIET) as server, pair(server) as (book, writer, reader):
        await writer.write(20)
        await server.all_committed(book.made)
        other = await holder(server, 60, seconds)
        assert other.stdout is not None
        await server.ask(fail_nth=1, fail_steps=["append.before_commit"])
        deadline = time.monotonic() + 30
        held = asyncio.create_task(other.stdout.readline())
        while not held.done():  # the server may be faster; then it fails again
            assert time.monotonic() < deadline
            await writer.write(1)
            await server.ask(fail_nth=1, fail_steps=["append.before_commit"])
            await asyncio.sleep(0.05)
        assert held.result().startswith(b"held")
        await server.ask(fail_nth=0)
        saved = set(server.reports.committed)
        await until_ready(server, 503)
        ends = time.monotonic() + seconds / 2
        while time.monotonic() < ends:
            await writer.write(1)
            await reader.until(lambda: book.audit(reader.doc) == book.made, "a live edit")
            assert server.reports.committed == saved, "reported, while another process holds the file"
        waiting = len(book.made - saved)
        assert (await other.stdout.readline()) == b"released\n"
        await other.wait()
        began = time.monotonic()
        await server.all_committed(book.made, 30)
        back = time.monotonic() - began
        await until_ready(server, 200)
        await server.down()
        assert await found_in(server.file, [book]) == book.made
    figure(
        f"D11: another process held the file for {seconds:g} s: 0 false reports, {waiting} edits waited, all saved "
        f"{back:.2f} s after it let go, 0 lost"
    )


async def test_d14_the_clock_steps(told, figure):
    """Order comes from sequence numbers: whatever the clock shows, every update is loaded, and in order."""
    async with told(env=QUIET) as server, pair(server) as (book, writer, _):
        steps = [{"clock_offset": seconds} for seconds in (0, -3600, 3600, -86400 * 365 * 60, 1e10)]
        steps += [{"clock_offset": 0, "clock_frozen": 1.76e9}, {"clock_frozen": 1e-9}]
        for step in steps:
            await server.ask(**step)
            for _ in range(5):
                await writer.write(1)
                await server.all_committed(book.made)
        await server.down()
        found = await found_in(server.file, [book])
        async with SQLiteStore(server.file) as store:
            stored = await store.load("room")
        order = [id_ for row in stored.rows for id_ in sorted(book.made) if id_.encode() in row.update]
        times = [row.time for row in stored.rows]
    figure(f"D14: {len(book.made)} edits under {len(steps)} clocks, {len(book.made - found)} not loaded, order kept")
    assert found == book.made
    assert order == sorted(book.made)
    assert times != sorted(times) and len(set(times)) < len(times), "the clock never stepped"


async def test_o14_readiness_in_an_outage_and_in_a_drain(told, figure):
    env = QUIET | {"COLLAB_SERVER__DRAIN_SECONDS": "2"}
    async with told(env=env) as server, pair(server) as (book, writer, _):
        pid = server.pid
        assert ready(server) == (200, 200)
        await server.ask(fail_nth=1, fail_times=1 << 60)  # nobody writes: the server must find out by itself
        down = await until_ready(server, 503, 10)
        status, body = server.health()
        assert status == 503 and body["store"] == "down" and not body["draining"]
        await server.ask(fail_nth=0)
        up = await until_ready(server, 200, 10)
        assert server.health()[1]["store"] == "up" and server.pid == pid
        raws = [await Raw.open(server.url, room="crowd") for _ in range(20)]
        seen: set[tuple[int, int]] = set()
        server.terminate()
        began = time.monotonic()
        while server.running and time.monotonic() < began + 10:
            try:
                seen.add(ready(server))
            except OSError:
                break
            await asyncio.sleep(0.02)
        status_line = f"O14: store out: /ready 503 after {down:.2f} s, back: 200 after {up:.2f} s; drain: {seen}"
        for raw in raws:
            raw.fin()
        ended = await server.exited()
    figure(status_line + f", exit {ended.code} after {ended.seconds:.1f} s; /live 200 throughout, 0 restarts")
    assert (503, 200) in seen and seen <= {(503, 200), (200, 200)}
    assert ended.code == 0
