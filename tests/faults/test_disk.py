"""What reaches the disk, and when: fdatasync before every report, failing fsyncs, a kill at every system call."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from pycrdt import Doc

from collab import recovery
from collab.store.sqlite import SQLiteStore
from tests.faults.strace import prove, strace
from tests.faults.writers import Book, Writer, fingerprint
from tests.support.raw import Peer

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(3600)]

QUIET = {"COLLAB_LOG__LEVEL": "error", "COLLAB_STORE__RETRY_SECONDS": "0.02", "COLLAB_STORE__CHECKPOINT_ROWS": "150"}


async def write_all(server, book: Book, *, writers: int, edits: int, pause: float = 0.002) -> None:
    """Some writers write so many edits each, and wait until all are reported committed."""
    people = [Writer(f"w{number:02d}", server.url, book, 5) for number in range(writers)]
    await asyncio.gather(*(writer.come_back() for writer in people))
    await asyncio.gather(*(writer.write(edits, pause) for writer in people))
    await server.all_committed(book.made, 60)
    for writer in people:
        await writer.leave()


async def stop_inside(server) -> None:
    """kill -9 for a server that runs under strace; strace then ends by itself."""
    server.kill_inner()
    await server.died()


async def test_every_report_comes_after_an_fdatasync(told, tmp_path, full, figure):
    record = tmp_path / "record"
    server = told(env=QUIET, prefix=strace(record))
    async with server:
        book = Book("room")
        await write_all(server, book, writers=4, edits=500 if full else 60)
        await stop_inside(server)
    proof = prove(record, server.file, server.reports.path)
    figure(str(proof))
    assert proof.reported == book.made
    assert not proof.unproved
    assert proof.syncs > 10


async def test_a_report_before_the_fdatasync_is_noticed(told, tmp_path, figure):
    """The test of the test."""
    record = tmp_path / "record"
    server = told(env=QUIET, prefix=strace(record), faults={"lie": True})
    async with server:
        book = Book("room")
        await write_all(server, book, writers=1, edits=10)
        await asyncio.sleep(0.5)
        await stop_inside(server)
    proof = prove(record, server.file, server.reports.path)
    figure(f"with a store that lies: {proof}")
    assert len(proof.unproved) == 10


async def test_d09_an_fsync_that_fails_is_not_trusted_later(told, tmp_path, full, figure):
    """Every so often an fdatasync says EIO, once. What was written before does not count until it is written anew."""
    record = tmp_path / "record"
    server = told(env=QUIET)
    async with server:  # the file is made in peace
        await server.down()
        server.prefix = strace(record, "-e", "inject=fdatasync,fsync:error=EIO:when=8+7")
        await server.up()
        book = Book("room")
        await write_all(server, book, writers=2, edits=500 if full else 80, pause=0.01)
        status, _ = server.get("/live")
        assert status == 200
        await stop_inside(server)
        server.prefix = []
        await server.up()
        async with await Peer.open(server.url, "room") as reader:
            await reader.until(reader.synced.is_set, "sync step 2", 20)
            assert book.audit(reader.doc) == book.made
    proof = prove(record, server.file, server.reports.path)
    figure(f"D09: {proof}; appends that failed: {server.reports.failed}; without a restart")
    assert proof.reported == book.made
    assert not proof.unproved
    assert proof.failed_syncs >= 3 and server.reports.failed >= 1


# -- a kill at every system call

PLAN = Path(__file__).with_name("store_plan.py")


async def test_kill_at_every_system_call_of_the_store(tmp_path, full, figure):
    """Appends and compactions, on a new store and on one that is opened again, cut short at every call that changes a
    file: what is loaded is a prefix of what was appended, with everything that was reported."""
    book = Book("room")
    writer = Writer("w00", "", book, 6)
    updates = [writer.make() for _ in range(40)]
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps([update.hex() for update in updates]))

    def play(folder: Path, begin: int, *inject: str) -> tuple[int, list[int]]:
        prefix = strace(folder / "record", *inject, calls="pwrite64,fdatasync,fsync,ftruncate,unlink")
        command = [*prefix, sys.executable, str(PLAN), str(plan), str(folder / "db"), str(begin), str(begin + 20)]
        run = subprocess.run(command, capture_output=True)
        return run.returncode, [int(line) for line in run.stdout.split()]

    total, tried, deaths, prefixes = 0, 0, 0, set()
    before = tmp_path / "nothing"
    before.mkdir()
    for begin in (0, 20):
        whole = tmp_path / f"whole-{begin}"
        shutil.copytree(before, whole)
        code, reported = await asyncio.to_thread(play, whole, begin)
        assert code == 0 and reported == list(range(begin + 1, begin + 21))
        lines = (whole / "record").read_text(errors="replace").splitlines()
        made = Counter(match[1] for line in lines if (match := re.match(r"\d+ +(\w+)\(", line)))
        points = [(call, number) for call, times in made.items() for number in range(1, times + 1)]
        total += len(points)
        for call, number in points if full else points[begin // 20 :: len(points) // 6]:
            folder = tmp_path / f"from-{begin}-at-{call}-{number}"
            shutil.copytree(before, folder)
            inject = f"inject={call}:signal=KILL:when={number}"
            code, reported = await asyncio.to_thread(play, folder, begin, "-e", inject)
            tried += 1
            deaths += code != 0
            if not (folder / "db").exists():
                assert not reported
                continue
            async with SQLiteStore(folder / "db") as store:
                loaded = await recovery.build("room", await store.load("room"))
                strangers = [info async for info in store.rooms() if info.name != "room"]
            found = book.audit(loaded.doc)
            count = len(found)
            assert found == {f"w00-{number:06d}" for number in range(count)}, "what is there is not a prefix"
            assert begin + len(reported) <= count <= begin + len(reported) + 1
            assert not strangers and not loaded.poison
            expected: Doc = Doc()
            for update in updates[:count]:
                expected.apply_update(update)
            assert fingerprint(loaded.doc) == fingerprint(expected)
            prefixes.add(count)
            shutil.rmtree(folder)
        before = whole
    figure(f"kill at {tried} of {total} system calls: {deaths} deaths, 0 edits lost, {len(prefixes)} prefixes loaded")
    assert deaths == tried
