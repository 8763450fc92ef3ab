"""Damage: what was written comes back exactly or not at all, and the rooms beside it are served (D20)."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NoReturn

import pytest

from collab.errors import CollabError, DamagedRoom, SettingsError, Unavailable
from collab.store import Entry, Stored, tables
from collab.store.sqlite import SQLiteStore

pytestmark = pytest.mark.anyio

ROOMS = ("ana", "ben", "eva")
PAGE = 4096


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A closed store: `ana` and `ben` have rows, `eva` a checkpoint at 3 and rows, `old` only a checkpoint."""
    path = tmp_path / "rooms.db"
    async with SQLiteStore(path) as store:
        for i in range(1, 7):
            await store.append([Entry(room, f"{room} {i}".encode(), 1000 + i, "author") for room in ROOMS])
        await store.append([Entry("old", b"", 1000), Entry("ana", b"large" * 1000, 1000)])
        assert await store.compact("eva", b"state of eva", covers=3, basis=0)
        assert await store.compact("old", b"state of old", covers=1, basis=0)
    return path


def change(path: Path, *statements: str) -> None:
    """Do to the file what a broken disk or a person with a database browser might."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        ids = {name: str(id) for id, name in db.execute("SELECT id, name FROM rooms")}
        for statement in statements:
            for name, number in ids.items():
                statement = statement.replace(f"<{name}>", number)
            assert db.execute(statement).rowcount, statement


async def loads(path: Path) -> dict[str, Stored | str]:
    """Each room: what is stored, or what is wrong."""
    found: dict[str, Stored | str] = {}
    async with SQLiteStore(path) as store:
        for room in (*ROOMS, "old"):
            try:
                found[room] = await store.load(room)
            except DamagedRoom as error:
                assert error.room == room
                found[room] = error.what
    return found


@pytest.mark.parametrize(
    ("room", "what", "statement"),
    [
        ("ben", "row 2 fails its checksum", "UPDATE log SET \"update\" = x'00' WHERE room_id = <ben> AND seq = 2"),
        ("ben", "row 2 fails its checksum", "UPDATE log SET author = 'mallory' WHERE room_id = <ben> AND seq = 2"),
        ("ben", "row 2 fails its checksum", "UPDATE log SET author = NULL WHERE room_id = <ben> AND seq = 2"),
        ("ben", "row 2 fails its checksum", "UPDATE log SET author = x'ff' WHERE room_id = <ben> AND seq = 2"),
        ("ben", "row 2 fails its checksum", "UPDATE log SET time = time + 1 WHERE room_id = <ben> AND seq = 2"),
        ("ben", "row 2 fails its checksum", "UPDATE log SET time = 'noon' WHERE room_id = <ben> AND seq = 2"),
        ("ben", "row 2 fails its checksum", "UPDATE log SET kind = 1 WHERE room_id = <ben> AND seq = 2"),
        ("ben", "row 2 fails its checksum", "UPDATE log SET kind = 300 WHERE room_id = <ben> AND seq = 2"),
        ("ben", "row 2 fails its checksum", "UPDATE log SET epoch = 2 WHERE room_id = <ben> AND seq = 2"),
        ("ben", "row 2 fails its checksum", "UPDATE log SET crc = x'ffff' WHERE room_id = <ben> AND seq = 2"),
        ("ana", "row 7 fails its checksum", "UPDATE log SET \"update\" = '' || \"update\" || ' ' WHERE seq = 7"),
        ("ben", "row 1 fails its checksum", "UPDATE rooms SET epoch = 2 WHERE id = <ben>"),
        ("ben", "row 1 is missing", "DELETE FROM log WHERE room_id = <ben> AND seq = 1"),
        ("ben", "row 3 is missing", "DELETE FROM log WHERE room_id = <ben> AND seq = 3"),
        ("ben", "log ends at row 5, but 6", "DELETE FROM log WHERE room_id = <ben> AND seq = 6"),
        ("ben", "log ends at row 0, but 6", "DELETE FROM log WHERE room_id = <ben>"),
        ("ben", "log ends at row 6, but 5", "UPDATE rooms SET head = 5 WHERE id = <ben>"),
        ("eva", "row 4 is missing", "DELETE FROM log WHERE room_id = <eva> AND seq = 4"),
        ("eva", "checkpoint is missing", "DELETE FROM checkpoints WHERE room_id = <eva>"),
        ("eva", "checkpoint fails its checksum", "UPDATE checkpoints SET state = x'00' WHERE room_id = <eva>"),
        ("eva", "checkpoint fails its checksum", "UPDATE checkpoints SET time = 5 WHERE room_id = <eva>"),
        ("eva", "checkpoint fails its checksum", "UPDATE checkpoints SET state = 'text' WHERE room_id = <eva>"),
        ("eva", "checkpoint stands at 2, but one at 3", "UPDATE checkpoints SET covers = 2 WHERE room_id = <eva>"),
        ("old", "checkpoint is missing", "DELETE FROM checkpoints WHERE room_id = <old>"),
        ("old", "log ends at row 1, but 2", "UPDATE rooms SET head = 2 WHERE id = <old>"),
    ],
)
async def test_one_room_is_damaged_and_the_others_are_served(path, room, what, statement):
    before = await loads(path)
    change(path, statement)
    after = await loads(path)
    assert what in str(after[room])
    assert {name: after[name] for name in after if name != room} == {
        name: before[name] for name in before if name != room
    }


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM log WHERE room_id = <eva> AND seq <= 3",
        "DELETE FROM log WHERE room_id = <old>",
        "UPDATE log SET \"update\" = x'00' WHERE room_id = <eva> AND seq = 2",
        "DELETE FROM log WHERE room_id = <eva> AND seq = 2",
    ],
)
async def test_damage_in_the_history_is_no_damage_to_the_room(path, statement):
    before = await loads(path)
    change(path, statement)
    assert await loads(path) == before
    room = "old" if "<old>" in statement else "eva"
    async with SQLiteStore(path) as store:
        with pytest.raises(DamagedRoom):
            await store.history(room)
        assert await store.append([Entry(room, b"x", 0)]) == [before[room].seq + 1]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "swap",
    [
        # Two rows of one room change places.
        [
            "UPDATE log SET seq = 99 WHERE room_id = <ben> AND seq = 2",
            "UPDATE log SET seq = 2 WHERE room_id = <ben> AND seq = 3",
            "UPDATE log SET seq = 3 WHERE room_id = <ben> AND seq = 99",
        ],
        # The same row of two rooms.
        [
            "UPDATE log SET seq = 99 WHERE room_id = <ben> AND seq = 2",
            "UPDATE log SET room_id = <ben> WHERE room_id = <ana> AND seq = 2",
            "UPDATE log SET room_id = <ana>, seq = 2 WHERE seq = 99",
        ],
        # The names of two rooms.
        [
            "UPDATE rooms SET name = 'tmp' WHERE id = <ana>",
            "UPDATE rooms SET name = 'ana' WHERE id = <ben>",
            "UPDATE rooms SET name = 'ben' WHERE id = <ana>",
        ],
        # Two checkpoints.
        [
            "UPDATE rooms SET covers = 1, head = 1 WHERE id = <eva>",
            "DELETE FROM log WHERE room_id = <eva>",
            "UPDATE checkpoints SET covers = 1, (crc, time, state) = "
            "(SELECT crc, time, state FROM checkpoints WHERE room_id = <old>) WHERE room_id = <eva>",
        ],
    ],
    ids=["rows", "rooms' rows", "names", "checkpoints"],
)
async def test_swapped(path, swap):
    change(path, *swap)
    found = await loads(path)
    assert any(isinstance(one, str) and "fails its checksum" in one for one in found.values()), found


async def test_a_name_that_its_index_has_lost_is_no_new_room(path):
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA writable_schema = ON")
        # Point the first index to an empty tree, as a zeroed page would be.
        db.execute("CREATE TABLE blank (x)")
        db.execute("CREATE UNIQUE INDEX blank_x ON blank (x)")
        db.execute(
            "UPDATE sqlite_master SET rootpage = (SELECT rootpage FROM sqlite_master WHERE name = 'blank_x') "
            "WHERE name = 'rooms_name'"
        )
        db.commit()
    assert all("the indexes of room names disagree" in str(what) for what in (await loads(path)).values())
    async with SQLiteStore(path) as store:
        with pytest.raises(DamagedRoom, match="disagree"):
            await store.append([Entry("ana", b"", 0)])
        assert await store.append([Entry("truly new", b"", 0)]) == [1]
        names = {info.name async for info in store.rooms()}
        assert names >= {*ROOMS, "old"}, "a listing that `collab verify` goes by leaves rooms out"


async def test_rows_left_over_never_join_a_new_room(path):
    change(path, "DELETE FROM rooms WHERE name = 'eva'")
    async with SQLiteStore(path) as store:
        await store.append([Entry("new", b"mine", 0)])
        assert [row.update for row in (await store.load("new")).rows] == [b"mine"]


async def test_appending_goes_on_beside_a_damaged_room(path):
    change(path, "DELETE FROM log WHERE room_id = <ben> AND seq = 6")
    async with SQLiteStore(path) as store:
        with pytest.raises(DamagedRoom, match="'ben'"):
            await store.append([Entry("ana", b"x", 0), Entry("ben", b"x", 0)])
        with pytest.raises(DamagedRoom, match="'ben'"):
            await store.compact("ben", b"x", covers=2, basis=0)
        assert await store.append([Entry("ana", b"x", 0)]) == [8]


async def test_a_number_that_is_taken_is_damage_not_an_outage(path):
    async with SQLiteStore(path, failpoint=lambda step: None) as store:
        await store.append([Entry("ben", b"7", 0)])  # from now on the store remembers where the room ends

        def steal(found: tables.Tables) -> None:
            found._db.execute("UPDATE rooms SET head = 5 WHERE name = 'ben'")
            found._known["ben"] = found._known["ben"]._replace(seq=5)

        await store._writer.ask(lambda: store._writer.read(steal))
        with pytest.raises(DamagedRoom, match="'ben'"):
            await store.append([Entry("ben", b"6 again", 0)])
        assert await store.append([Entry("ana", b"x", 0)]) == [8]


# Whole pages


def flip_one_byte(page: bytearray, source: random.Random) -> None:
    page[source.randrange(len(page))] ^= 1 << source.randrange(8)


def flip_many_bytes(page: bytearray, source: random.Random) -> None:
    for _ in range(40):
        flip_one_byte(page, source)


def zero(page: bytearray, source: random.Random) -> None:
    page[:] = bytes(len(page))


def garbage(page: bytearray, source: random.Random) -> None:
    page[:] = source.randbytes(len(page))


def scramble_the_header(page: bytearray, source: random.Random) -> None:
    page[:16] = source.randbytes(16)


def shift(page: bytearray, source: random.Random) -> None:
    page[:] = page[200:] + page[:200]


async def listed_or_noticed(store: SQLiteStore, names: list[str]) -> bool:
    """Whether going through the listing, as `collab verify` does, shows all rooms, or that something is wrong."""
    try:
        listed = {info.name async for info in store.rooms()}
        for name in listed - set(names):
            await store.load(name)
    except (Unavailable, DamagedRoom):
        return True
    return listed >= set(names)


@pytest.mark.parametrize("damage", [flip_one_byte, flip_many_bytes, zero, garbage, scramble_the_header, shift])
@pytest.mark.timeout(900)
async def test_any_page_may_break(tmp_path, damage: Callable[[bytearray, random.Random], None], full, figure):
    """Whatever happens to one page: each room comes back as it was, or is refused; never less, never other content."""
    path = tmp_path / "rooms.db"
    source = random.Random(damage.__name__)
    names = [f"room {i} {'x' * (i % 90)}" for i in range(300)]
    async with SQLiteStore(path) as store:
        for _ in range(3):
            await store.append([Entry(name, source.randbytes(source.choice((5, 50, 200))), 1000) for name in names])
        for name in names[::3]:
            await store.compact(name, source.randbytes(1500), covers=2, basis=0)
        before = {name: await store.load(name) for name in names}
    pages = path.stat().st_size // PAGE
    chosen = range(pages) if full else sorted(source.sample(range(pages), 25))
    unopened, damaged, whole = 0, 0, 0
    for number in chosen:
        copy = tmp_path / "copy.db"
        shutil.copy(path, copy)
        with copy.open("r+b") as file:
            file.seek(number * PAGE)
            page = bytearray(file.read(PAGE))
            damage(page, source)
            file.seek(number * PAGE)
            file.write(page)
        try:
            async with SQLiteStore(copy) as store:
                for name in names:
                    try:
                        assert await store.load(name) == before[name], f"page {number}: {name} came back changed"
                        whole += 1
                    except DamagedRoom:
                        damaged += 1
                assert await listed_or_noticed(store, names), f"page {number}: the listing is short"
        except SettingsError as error:
            assert any(word in str(error) for word in ("is damaged", "is not an SQLite", "another program"))
            unopened += 1
    figure(f"{len(chosen)} of {pages} pages: {unopened} not opened; rooms whole {whole}, refused {damaged}")


async def test_a_file_cut_short(tmp_path):
    path = tmp_path / "rooms.db"
    names = [f"room {i}" for i in range(50)]
    async with SQLiteStore(path) as store:
        await store.append([Entry(name, b"x" * 900, 1000) for name in names])
        before = {name: await store.load(name) for name in names}
    size = path.stat().st_size
    for cut in range(PAGE, size, 3 * PAGE):
        copy = tmp_path / "copy.db"
        copy.write_bytes(path.read_bytes()[: size - cut])
        try:
            async with SQLiteStore(copy) as store:
                for name in names:
                    try:
                        assert await store.load(name) == before[name]
                    except CollabError:
                        pass
        except SettingsError:
            pass


# Reading in pages


async def test_large_rows_are_read_in_pages_bounded_in_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "PAGE_BYTES", 10_000)
    pages = []
    async with SQLiteStore(tmp_path / "rooms.db", failpoint=lambda step: pages.append(step)) as store:
        await store.append([Entry("room", b"x" * 3000, 0) for _ in range(20)])
        assert (await store.load("room")).seq == 20
    assert pages.count("load.page") == 5


@pytest.mark.parametrize("kept", [True, False])
async def test_a_compaction_between_two_pages(tmp_path, kept):
    """The load goes on with what it began; it begins again when the rows it was about to read are gone."""
    pages = 0

    def overtake(step: str) -> None:
        nonlocal pages
        pages += step == "load.page"
        if step == "load.page" and pages == 3:
            found = store._writer._tables
            assert found is not None
            found.compact("room", b"state", covers=2500, basis=0, keep=kept)

    async with SQLiteStore(tmp_path / "rooms.db", failpoint=overtake) as store:
        await store.append([Entry("room", b"%d" % i, 0) for i in range(3500)])
        stored = await store.load("room")
    if kept:
        assert (stored.checkpoint, stored.covers, stored.seq, pages) == (None, 0, 3500, 4)
    else:
        assert (stored.checkpoint, stored.covers, stored.seq) == (b"state", 2500, 3500)
        assert pages == 4  # two of the old log, one that found rows gone, one of the new log
    assert [row.seq for row in stored.rows] == list(range(stored.covers + 1, 3501))


async def test_many_rooms_are_known_by_heart_but_not_without_bound(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "KNOWN_ROOMS", 10)
    async with SQLiteStore(tmp_path / "rooms.db") as store:
        for turn in range(1, 4):
            for i in range(30):
                assert await store.append([Entry(f"room {i}", b"", 0)]) == [turn]
        found = store._writer._tables
        assert found is not None and len(found._known) <= 11


async def test_a_commit_looks_at_its_own_rooms_only(tmp_path):
    """And not at all 50,000 that are known, which took 0.8 ms, 200 times a second."""

    class Large(dict[str, Any]):
        def all_of_them(self) -> NoReturn:
            raise AssertionError("it looks at every room that is known")

        keys = values = items = __iter__ = all_of_them

    async with SQLiteStore(tmp_path / "rooms.db") as store:
        await store.append([Entry(f"room {i}", b"", 0) for i in range(3)])
        found = store._writer._tables
        assert found is not None
        found._known = Large(found._known)
        assert await store.append([Entry("room 1", b"", 0), Entry("a new one", b"", 0)]) == [2, 1]


@pytest.mark.parametrize("rows", [1, 2, 3, 1023, 1024, 1025, 2049])
async def test_every_size_of_batch(tmp_path, rows):
    async with SQLiteStore(tmp_path / "rooms.db") as store:
        await store.append([Entry("known", b"", 0)])
        entries = [Entry(f"{'new' if i % 2 else 'known'}", b"%d" % i, 0) for i in range(rows)]
        await store.append(entries)
        for room in ("known", "new"):
            kept = [row.update for row in (await store.load(room)).rows if row.update]
            assert kept == [entry.update for entry in entries if entry.room == room]


async def test_many_new_rooms_at_once(tmp_path):
    names = [f"room {i}" for i in range(2500)]
    async with SQLiteStore(tmp_path / "rooms.db") as store:
        assert await store.append([Entry(name, name.encode(), 0) for name in names]) == [1] * 2500
        assert [info.name async for info in store.rooms()] == sorted(names)
        assert (await store.load("room 1700")).rows[0].update == b"room 1700"
