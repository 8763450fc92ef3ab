"""`collab backup`, `restore-backup` and `migrate-store`: of a store at rest, and while 200 edits a second come in."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sqlite3
import sys
import time
from asyncio.subprocess import PIPE
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest
from pycrdt import Doc, Text

from collab.store import Entry, Reason, open_store
from collab.store.sqlite import SQLiteStore
from tests.support.figures import figure, pytest_terminal_summary
from tests.support.raw.hocuspocus import Attached
from tests.support.server import Server, free_port

__all__ = ["figure", "pytest_terminal_summary"]

URL = "sqlite:///rooms.db"
TOKEN = "a token that opens the admin interface"
RATE, WRITERS = 200, 8


@pytest.fixture
def rooms() -> dict[str, str]:
    """Rooms with twenty rows each, a checkpoint and two snapshots, and what they say."""
    texts = {}

    async def keep() -> None:
        async with open_store(URL) as store:
            for name in ("one", "two", "three ü"):
                doc: Doc = Doc()
                text = doc.get("t", type=Text)
                for nth in range(20):
                    before = doc.get_state()
                    text += f"{nth} "
                    await store.append([Entry(name, doc.get_update(before), 100.5 + nth, f"user {nth % 3}")])
                    if nth in (5, 9):
                        await store.add_snapshot(
                            name, doc.get_update(), covers=nth + 1, time=9.25, reason=Reason.MANUAL, label=f"at {nth}"
                        )
                    if nth == 14:
                        await store.compact(name, doc.get_update(), covers=15, basis=0)
                texts[name] = str(text)
            await store.forget("two", 10)

    anyio.run(keep)
    return texts


async def _content(url: str) -> dict[str, Any]:
    """All that a store says of its rooms, but for what a copy may number anew."""
    found = {}
    async with open_store(url) as store:
        async for info in store.rooms():
            stored = await store.load(info.name)
            snapshots = [await store.snapshot(info.name, one.id) for one in await store.snapshots(info.name)]
            found[info.name] = (
                (info.seq, info.covers, info.forgotten, stored.checkpoint),
                await store.history(info.name),
                [(one.covers, one.time, one.label, one.reason, one.checksum, state) for one, state in snapshots],
            )
    return found


def content(url: str) -> dict[str, Any]:
    return anyio.run(_content, url)


def test_there_and_back(collab, rooms):
    before = content(URL)
    made = collab("backup", "backup.db", "--store", URL, "--json")
    assert made.exit_code == 0, made.stderr
    report = json.loads(made.stdout)
    assert (report["rooms"], report["rows"], report["snapshots"], report["damaged"]) == (3, 50, 6, {})
    assert report["bytes"] == Path("backup.db").stat().st_size
    assert sorted(os.listdir()) == ["backup.db", "rooms.db"]
    kept = Path("backup.db").read_bytes()
    back = collab("restore-backup", "backup.db", "--store", "sqlite:///new/rooms.db", "--json")
    assert back.exit_code == 0, back.stderr
    assert json.loads(back.stdout)["rows"] == 50
    assert content("sqlite:///new/rooms.db") == before
    assert os.listdir("new") == ["rooms.db"]
    assert Path("backup.db").read_bytes() == kept, "a backup is not touched"


def test_what_is_there_is_not_overwritten(collab, rooms):
    before = content(URL)
    assert collab("backup", "backup.db", "--store", URL).exit_code == 0
    again = collab("backup", "backup.db", "--store", URL)
    assert again.exit_code == 2 and "--yes" in again.stderr
    assert collab("backup", "backup.db", "--store", URL, "--yes").exit_code == 0
    itself = collab("backup", "rooms.db", "--store", URL)
    assert itself.exit_code == 2
    refused = collab("restore-backup", "backup.db", "--store", URL)
    assert refused.exit_code == 2 and "rooms.db is there already" in refused.stderr
    assert content(URL) == before
    assert collab("restore-backup", "backup.db", "--store", URL, "--yes").exit_code == 0
    (aside,) = Path().glob("rooms.db.replaced-*")
    assert content(URL) == content(f"sqlite:///{aside}") == before


def test_a_store_that_a_server_has_is_not_replaced(collab, rooms):
    assert collab("backup", "backup.db", "--store", URL).exit_code == 0
    with Server(store=f"sqlite:///{Path('rooms.db').absolute()}"):
        held = collab("restore-backup", "backup.db", "--store", URL, "--yes")
        assert held.exit_code == 3 and "in use" in held.stderr
    assert not list(Path().glob("rooms.db.re*"))


def spoil(file: str, statement: str) -> None:
    db = sqlite3.connect(file)
    with db:
        assert db.execute(statement).rowcount == 1
    db.close()


@pytest.mark.parametrize(
    "statement",
    [
        'UPDATE log SET "update" = zeroblob(length("update")) WHERE seq = 19 AND room_id = 1',
        'UPDATE log SET "update" = zeroblob(length("update")) WHERE seq = 3 AND room_id = 1',  # history alone
        "DELETE FROM log WHERE seq = 3 AND room_id = 1",
        "UPDATE checkpoints SET state = zeroblob(length(state)) WHERE room_id = 1",
        "UPDATE snapshot_states SET state = zeroblob(length(state)) WHERE id = 1",
        "UPDATE snapshots SET label = 'another' WHERE id = 1",
    ],
)
def test_damage_is_found(collab, rooms, statement):
    assert collab("backup", "backup.db", "--store", URL).exit_code == 0
    spoil("backup.db", statement)
    refused = collab("restore-backup", "backup.db", "--store", "sqlite:///new.db")
    assert refused.exit_code in (2, 4), refused.stderr
    assert "Traceback" not in refused.output
    assert not list(Path().glob("new.db*"))


def test_a_damaged_room_is_copied_and_told_of(collab, rooms):
    spoil("rooms.db", 'UPDATE log SET "update" = zeroblob(length("update")) WHERE seq = 19 AND room_id = 1')
    made = collab("backup", "backup.db", "--store", URL, "--json")
    assert made.exit_code == 4 and list(json.loads(made.stdout)["damaged"]) == ["one"]
    back = collab("restore-backup", "backup.db", "--store", "sqlite:///new.db", "--damaged", "--json")
    assert back.exit_code == 4 and json.loads(back.stdout)["rooms"] == 3
    assert len(collab("rooms", "--store", "sqlite:///new.db", "--json").stdout) > 100


@pytest.mark.parametrize("body", [b"", b"no database", b"SQLite format 3\0" + bytes(5000)])
def test_what_is_no_backup(collab, body):
    Path("file").write_bytes(body)
    refused = collab("restore-backup", "file", "--store", "sqlite:///new.db")
    assert refused.exit_code == 2, refused.output
    assert not list(Path().glob("new.db*"))
    missing = collab("restore-backup", "nothing", "--store", "sqlite:///new.db")
    assert missing.exit_code == 2 and "nothing" in missing.stderr


def test_a_backup_that_is_cut_short(collab, rooms):
    assert collab("backup", "backup.db", "--store", URL).exit_code == 0
    whole = Path("backup.db").read_bytes()
    for size in (len(whole) // 2, len(whole) - 4096):
        Path("backup.db").write_bytes(whole[:size])
        assert collab("restore-backup", "backup.db", "--store", "sqlite:///new.db").exit_code in (2, 3, 4)
        assert not list(Path().glob("new.db*"))


def test_migrate(collab, rooms):
    """Numbers stay what they were, also where rows were forgotten."""
    before = content(URL)
    moved = collab("migrate-store", URL, "sqlite:///other.db", "--json")
    assert moved.exit_code == 0, moved.stderr
    report = {line["room"]: line for line in json.loads(moved.stdout)}
    assert (report["one"]["rows"], report["two"]["rows"], report["one"]["snapshots"]) == (20, 10, 2)
    assert content("sqlite:///other.db") == before == content(URL)
    again = collab("migrate-store", URL, "sqlite:///other.db")
    assert again.exit_code == 1 and "already" in again.stdout
    assert content("sqlite:///other.db") == before
    assert collab("migrate-store", URL, URL).exit_code == 2
    assert collab("migrate-store", "sqlite:///nowhere.db", "sqlite:///other.db").exit_code == 2


def test_a_damaged_room_is_not_migrated(collab, rooms):
    spoil("rooms.db", 'UPDATE log SET "update" = zeroblob(length("update")) WHERE seq = 12 AND room_id = 1')
    moved = collab("migrate-store", URL, "sqlite:///other.db", "--json")
    assert moved.exit_code == 4
    assert [bool(line["problem"]) for line in json.loads(moved.stdout)] == [True, False, False]
    assert sorted(content("sqlite:///other.db")) == ["three ü", "two"]


def test_without_a_file(collab):
    assert collab("backup", "backup.db", "--store", "memory:").exit_code == 2
    assert collab("restore-backup", "backup.db", "--store", "memory:").exit_code == 2


def test_through_the_server(collab, rooms):
    with Server(store=f"sqlite:///{Path('rooms.db').absolute()}", env={"COLLAB_ADMIN__TOKEN": TOKEN}) as server:
        port = {"COLLAB_SERVER__PORT": str(server.port)}
        made = collab("backup", "found.db", "--store", URL, **port, COLLAB_ADMIN__TOKEN=TOKEN)
        assert made.exit_code == 0 and "3 rooms, 50 edits, 6 snapshots" in made.stdout
        named = collab("backup", "named.db", "--server", server.http_url, "--token", TOKEN)
        assert named.exit_code == 0, named.stderr
        wrong = collab("backup", "wrong.db", "--server", server.http_url, "--token", "x" * 40)
        assert wrong.exit_code == 1 and "does not let us in" in wrong.stderr
        assert collab("backup", "wrong.db", "--server", server.url, "--token", TOKEN).exit_code == 2
        nobody = collab("backup", "wrong.db", "--store", URL, COLLAB_SERVER__PORT=str(free_port()))
        assert nobody.exit_code == 3 and "rooms.db should be" in nobody.stderr
    assert content("sqlite:///found.db") == content("sqlite:///named.db") == content(URL)
    assert not [name for name in os.listdir() if "wrong" in name or name.endswith((".part", ".backup"))]


@dataclass
class Writers:
    """They type, each in a room of its own, and remember when the server said that it is saved."""

    url: str
    saved: list[tuple[float, str]] = field(default_factory=list)

    async def write(self, nth: int) -> None:
        async with await Attached.open(self.url, f"writer {nth}") as one:
            began = time.monotonic()
            for done in itertools.count(1):
                await one.write(f"{nth}-{done}")
                await one.saved(within=20)
                self.saved.append((time.monotonic(), f"{nth}-{done}"))
                await asyncio.sleep(began + done * WRITERS / RATE - time.monotonic())

    async def __aenter__(self) -> Writers:
        self.tasks = [asyncio.create_task(self.write(nth)) for nth in range(WRITERS)]
        return self

    async def __aexit__(self, *exc: object) -> None:
        for task in self.tasks:
            task.cancel()
        ends = await asyncio.gather(*self.tasks, return_exceptions=True)
        assert [type(end) for end in ends] == [asyncio.CancelledError] * WRITERS, ends


async def run(*arguments: str) -> dict[str, Any]:
    """A command in a process of its own, and what it says as JSON."""
    command = [sys.executable, "-m", "collab", *arguments, "--json"]
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE)
    stdout, stderr = await process.communicate()
    assert process.returncode == 0, stderr.decode()
    found: dict[str, Any] = json.loads(stdout)
    return found


@pytest.fixture
async def large(tmp_path) -> Path:
    """A store of 60 MB, so that a copy takes its time."""

    file = tmp_path / "rooms.db"
    async with SQLiteStore(file) as store:
        for nth in range(60):
            doc: Doc = Doc()
            doc["t"] = Text("x" * 1_000_000)
            await store.append([Entry(f"old {nth}", doc.get_update(), 1.0)])
    return file


@pytest.mark.anyio
@pytest.mark.timeout(180)
async def test_under_load(large, figure):
    """Made while 200 edits a second are saved: every edit is in it that was saved before it began."""
    with Server(store=f"sqlite:///{large}", env={"COLLAB_ADMIN__TOKEN": TOKEN}) as server:
        async with Writers(server.url) as writers:
            await asyncio.sleep(2)
            before, began = list(writers.saved), time.monotonic()
            report = await run("backup", "backup.db", "--server", server.http_url, "--token", TOKEN)
            after, ended = list(writers.saved), time.monotonic()
        rate = len(after) / (after[-1][0] - after[0][0])
        assert not server.complaints()
    assert report["damaged"] == {} and report["rooms"] == 60 + WRITERS
    began_again, restored = time.monotonic(), large.with_name("restored.db")
    await run("restore-backup", "backup.db", "--store", f"sqlite:///{restored}")
    found: set[str] = set()
    with Server(store=f"sqlite:///{restored}") as server:
        ready = time.monotonic() - began_again
        for nth in range(WRITERS):
            async with await Attached.open(server.url, f"writer {nth}") as one:
                await one.hears("step2")
                found |= set(one.map.to_py() or {})
    assert len(before) > RATE / 2
    assert {word for _, word in before} - found == set()
    lost = [at for at, word in after if word not in found]
    size = report["bytes"] / 1e6
    figure(f"backup of {size:.0f} MB at {rate:.0f} edits/s: {ended - began:.2f} s, with reading it through")
    figure(f"all {len(before)} edits saved before it began are there, and {len(found) - len(before)} later ones")
    figure(f"RPO {ended - min(lost) if lost else 0:.2f} s when it ended")
    figure(f"RTO {ready:.2f} s: verified, restored, and the server ready")
