"""Files that are damaged, locked, too new or very long; rows that nobody can read."""

from __future__ import annotations

import asyncio
import random
import shutil
import sqlite3
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from pycrdt import Doc, Text

from collab import recovery
from collab.store import Entry
from collab.store.sqlite import SQLiteStore
from tests.faults.images import copy, integrity
from tests.faults.writers import Book, Writer, spread
from tests.support.raw import EMPTY_VECTOR, Peer, Raw, sync1, var, var_string
from tests.support.server import Server

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(1800)]

QUIET = {"COLLAB_LOG__LEVEL": "warning", "COLLAB_LOG__FORMAT": "json"}


# -- D12: a damaged write-ahead log


def frames(log: Path) -> Iterator[tuple[int, bool]]:
    """Where each frame of a write-ahead log ends, and whether it ends a commit (sqlite.org/fileformat2.html, 4.1)."""
    content = log.read_bytes()
    page = struct.unpack_from(">I", content, 8)[0]
    salts = content[16:24]
    at = 32
    while at + 24 + page <= len(content) and content[at + 8 : at + 16] == salts:
        yield at + 24 + page, struct.unpack_from(">I", content, at + 4)[0] != 0
        at += 24 + page


@pytest.fixture
async def after_a_crash(told, tmp_path: Path) -> tuple[Path, Book, list[int]]:
    """A store as kill -9 left it: each edit was a commit of its own. Also where in the log each of them ends."""
    book, ends = Book("room"), list[int]()
    async with told(env=QUIET) as server:
        log = server.file.with_name(server.file.name + "-wal")
        writer = Writer("w00", server.url, book, 12)
        await writer.come_back()
        for _ in range(60):
            await writer.write(1)
            await server.all_committed(book.made)
            ends.append([end for end, commit in frames(log) if commit][-1])
        await writer.leave()
        await server.down()
        assert server.reports.committed == book.made
    return copy(server.file, tmp_path / "crashed"), book, ends


async def loaded(file: Path, book: Book) -> int:
    """How many of the edits a damaged store still has: they must be the first ones, and SQLite content."""
    async with SQLiteStore(file) as store:
        room = await recovery.build("room", await store.load("room"))
    found = book.audit(room.doc)
    assert found == set(sorted(book.made)[: len(found)]), "what is there is not a prefix"
    assert integrity(file) == "ok"
    return len(found)


async def test_d12_a_torn_log(after_a_crash, tmp_path, full, figure):
    """Cut off the last k bytes, flip a byte, repeat the tail: all commits before the damage are left, no less."""
    file, book, ends = after_a_crash
    log = file.with_name(file.name + "-wal")
    size, whole = ends[-1], log.read_bytes()
    assert whole[: size + 24] and ends == sorted(ends)
    dice = random.Random(12)
    cuts = sorted({1, 24, 25, 4096, 4119, 4120, 4121, *range(1, size - ends[-8], 97 if full else 2003)})
    cuts += (
        [size - end for end in ends[:-1:7]] if not full else [size - end + off for end in ends[:-1] for off in (0, 1)]
    )
    lost: dict[str, list[int]] = {"cut": [], "flip": [], "tail": []}

    async def try_it(kind: str, content: bytes, damage_at: int) -> None:
        folder = tmp_path / "try"
        shutil.copytree(file.parent, folder)
        (folder / log.name).write_bytes(content)
        expected = sum(end <= damage_at for end in ends)
        found = await loaded(folder / file.name, book)
        assert found == expected, f"{kind} at {damage_at}: {found} edits, not {expected}"
        lost[kind].append(len(ends) - found)
        shutil.rmtree(folder)

    for k in cuts:
        await try_it("cut", whole[: size - k], size - k)
    for _ in range(200 if full else 15):
        at = dice.randrange(ends[0], size)
        await try_it("flip", whole[:at] + bytes([whole[at] ^ 1 << dice.randrange(8)]) + whole[at + 1 :], at)
    for k in (1, 24, 4120, 8240, size - 32):  # what a file system may leave behind the end
        await try_it("tail", whole[:size] + whole[size - k : size], size)
        await try_it("tail", whole[:size] + bytes(k), size)
    for kind, counts in lost.items():
        figure(
            f"D12 {kind}: {len(counts)} cases, lost commits min {min(counts)}, max {max(counts)} of {len(ends)}: just "
            "those from the damage on; integrity_check ok"
        )
    assert max(lost["tail"]) == 0


# -- D15 and O11: who may open the file


async def test_d15_a_second_process(told, figure):
    """The second server on a file ends with code 3 and says why; the first one does not notice."""
    async with told(env=QUIET) as server:
        book = Book("room")
        writer = Writer("w00", server.url, book, 13)
        await writer.come_back()
        task = asyncio.create_task(writer.write_on(0.005))
        second = Server(store=f"sqlite:///{server.file}", env=QUIET)
        began = time.monotonic()
        second.start(wait=False)
        ended = await second.exited(20)
        seconds = time.monotonic() - began
        said = second.logs()
        second.close()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await server.all_committed(book.made)
        assert writer.peer.ended is None
        await writer.leave()
        await server.down()
    figure(
        f"D15: the second process ends with code {ended.code} after {seconds:.1f} s; {len(book.made)} edits meanwhile"
    )
    assert ended.code == 3
    assert "is in use by another process" in said and "Traceback" not in said
    assert server.reports.failed == 0


async def test_o11_a_newer_schema(tmp_path, figure):
    """A database written by a newer version: code 2, one sentence, and nothing in the file is touched."""
    file = tmp_path / "rooms.sqlite3"
    async with SQLiteStore(file) as store:
        await store.append([Entry("room", b"\0\0", 1e9)])
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('collab', '999', '')"
        )
    connection.close()
    before = file.read_bytes()
    server = Server(store=f"sqlite:///{file}")
    server.start(wait=False)
    ended = await server.exited(20)
    said = server.logs()
    server.close()
    figure(f"O11: exit {ended.code}: {said.strip()[-200:]}")
    assert ended.code == 2
    assert "was written by a newer version of collab" in said and len(said.strip().splitlines()) == 1
    assert file.read_bytes() == before


# -- D20 and D21: rows that cannot be read


def nested(depth: int) -> bytes:
    """An update that sets a key to arrays in arrays in arrays: reading it recursively ends a process."""
    value = b"\x75\x01" * depth + b"\x75\x00"  # an array with one element, ..., an empty array
    struct_ = b"\x28" + b"\x01" + var_string("map") + var_string("key") + var(1) + value
    return var(1) + var(1) + var(77) + var(0) + struct_ + b"\x00"


async def fill(file: Path, rooms: dict[str, list[bytes]]) -> None:
    """Put updates into rooms, past every check."""
    async with SQLiteStore(file) as store:
        for room, updates in rooms.items():
            await store.append([Entry(room, update, 1e9) for update in updates])


async def enter(server: Server, room: str) -> tuple[int | None, str, str]:
    """Open a room: the close code and reason, if refused, and its text, if not."""
    async with await Raw.open(server.url, room=room) as raw:
        await raw.send(sync1(EMPTY_VECTOR))
        while (frame := await raw.recv(20)) is not None:
            if frame[:2] == b"\x00\x01":
                doc: Doc = Doc()
                doc.apply_update(frame[3:] if frame[2] < 128 else frame[4:])
                return None, "", str(doc.get("text", type=Text))
        assert raw.ended is not None
        return raw.ended.code, raw.ended.reason, ""


def typed(*texts: str) -> list[bytes]:
    """One update for each piece of text, each typed behind the last one."""
    doc: Doc = Doc()
    text = doc.get("text", type=Text)
    made: list[bytes] = []
    keep = doc.observe(lambda event: made.append(event.update))
    for piece in texts:
        text += piece
    doc.unobserve(keep)
    return made


async def test_d20_a_corrupt_row(told, figure):
    """One byte of one row is wrong: that room is refused with a reason, never shown empty; the others are served."""
    server = told(env=QUIET | {"COLLAB_LIMITS__HOLD_SECONDS": "1"})
    rooms = [f"room {number}" for number in range(20)]
    await fill(server.file, {room: typed("one ", "two ", room) for room in rooms})
    with sqlite3.connect(server.file) as connection:
        at = connection.execute("SELECT id FROM rooms WHERE name = 'room 7'").fetchone()[0]
        row = connection.execute('SELECT "update" FROM log WHERE room_id = ? AND seq = 2', (at,)).fetchone()[0]
        bad = row[:-3] + bytes([row[-3] ^ 4]) + row[-2:]
        connection.execute('UPDATE log SET "update" = ? WHERE room_id = ? AND seq = 2', (bad, at))
    connection.close()
    async with server:
        outcomes = {room: await enter(server, room) for room in rooms}
        again = await enter(server, "room 7")
        await server.down()
    refused = {room: outcome for room, outcome in outcomes.items() if outcome[0] is not None}
    figure(f"D20: {len(refused)} of {len(rooms)} rooms affected: {refused['room 7'][:2]}")
    assert set(refused) == {"room 7"}
    assert refused["room 7"][0] == again[0] == 4423 and "checksum" in refused["room 7"][1]
    assert all(outcomes[room][2] == f"one two {room}" for room in rooms if room != "room 7")
    with sqlite3.connect(server.file) as connection:
        assert connection.execute("SELECT count(*) FROM log WHERE room_id = ?", (at,)).fetchone() == (3,), "written to"
    connection.close()


async def test_d20_a_row_that_is_no_update(told, figure):
    """Its checksum is right, but it is no update. Alone it is left out; when others build on it the room is refused."""
    server = told(env=QUIET)
    first, second, third = typed("one ", "two ", "three")
    nonsense = b"\x01\x02\x03 nonsense"
    await fill(
        server.file,
        {"left out": [first, nonsense, second], "missed": [first, nonsense, third], "well": [first, second, third]},
    )
    async with server:
        outcomes = {room: await enter(server, room) for room in ("left out", "missed", "well")}
        log = server.logs()
    figure(f"D20: rows that are no update: {outcomes}")
    assert outcomes["left out"] == (None, "", "one two ")
    assert outcomes["missed"][0] == 4423 and "builds on" in outcomes["missed"][1]
    assert outcomes["well"] == (None, "", "one two three")
    assert "poison rows left out" in log


@pytest.mark.case("D21")
@pytest.mark.parametrize("depth", [1_000, 16_000, 1_000_000])
async def test_d21_a_row_that_ends_the_reader(told, figure, depth):
    """A deeply nested value, stored by an older version: it is left out, and nobody else notices."""
    server = told(env=QUIET)
    first, second = typed("one ", "two")
    await fill(server.file, {"poisoned": [first, nested(depth), second], "well": [first, second]})
    async with server:
        pid = server.pid
        began = time.monotonic()
        outcome = await enter(server, "poisoned")
        seconds = time.monotonic() - began
        well = await enter(server, "well")
        server.terminate()
        ended = await server.exited()
        assert server.pid == pid
    figure(f"D21: {depth} deep: row set aside after {seconds:.2f} s, 0 crashes")
    assert outcome == (None, "", "one two") and well == (None, "", "one two")
    assert ended.code == 0


# -- D23: a very long log


def keystroke(number: int) -> bytes:
    """The update for one letter, typed behind the `number` ones before it. (pycrdt takes minutes to type a million.)"""
    head = var(1) + var(1) + var(77) + var(number)
    if number:
        return head + b"\x84" + var(77) + var(number - 1) + b"\x01x\x00"
    return head + b"\x04\x01" + var_string("text") + b"\x01x\x00"


async def watched(server: Server, done: Callable[[], object], within: float = 300.0) -> tuple[float, str]:
    """Wait for something: the seconds it took, and how others were served meanwhile."""
    began = time.monotonic()
    beside: list[float] = []
    while not done():
        assert time.monotonic() < began + within
        asked = time.monotonic()
        await asyncio.to_thread(server.get, "/live", 60)
        beside.append(time.monotonic() - asked)
    return time.monotonic() - began, f"others answered {spread(beside)}"


async def test_d23_a_long_log(tmp_path, full, figure):
    """A document of many single keystrokes: how long until a fresh client has it, before and after compaction."""
    count = 1_000_000 if full else 100_000
    file = tmp_path / "rooms.sqlite3"
    async with SQLiteStore(file) as store:
        for begin in range(0, count, 5_000):
            numbers = range(begin, min(begin + 5_000, count))
            await store.append([Entry("room", keystroke(number), 1e9) for number in numbers])
    size = file.stat().st_size >> 20
    for turn in ("as a log", "compacted"):
        with Server(store=f"sqlite:///{file}", env=QUIET) as server:
            idle = psutil.Process(server.pid).memory_info().rss
            async with await Peer.open(server.url, "room") as peer:
                seconds, beside = await watched(server, peer.synced.is_set)
                assert len(peer.text()) == count
                peak = peak_bytes(server.pid) - idle
                figure(
                    f"D23: {count:,} updates, {size} MB, {turn}: open after {seconds:.2f} s, +{peak >> 20} MB; {beside}"
                )
                if turn == "as a log":
                    await peer.put("any", "edit")
                    seconds, beside = await watched(server, lambda: server.metrics().get("collab_compactions_total"))
                    peak = peak_bytes(server.pid) - idle
                    figure(f"D23: compacted in the background after {seconds:.2f} s, +{peak >> 20} MB; {beside}")
            server.terminate()
            assert (await server.exited()).code == 0
            assert "not compacted" not in server.logs()


def peak_bytes(pid: int) -> int:
    """The most memory that a process had so far."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) << 10
    raise AssertionError("no VmHWM")
