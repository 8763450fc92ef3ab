"""`collab export-all` and `import-all`: of a store at rest, through a server, and between kinds of stores."""

from __future__ import annotations

import io
import json
import os
import sqlite3
from pathlib import Path

import anyio
import pytest
from rich.console import Console
from rich.progress import Progress

from collab.cli import transfer
from collab.store import open_store
from tests.support.rooms import content, fill
from tests.support.server import Server

URL, NEW = "sqlite:///rooms.db", "sqlite:///new/rooms.db"
TOKEN = "a token that opens the admin interface"


@pytest.fixture
def rooms() -> None:
    async def make() -> None:
        async with open_store(URL) as store:
            await fill(store, "one", forgotten=12)
            await fill(store, "two ü")

    anyio.run(make)


def kept(url: str) -> dict[str, object]:
    async def read() -> dict[str, object]:
        async with open_store(url) as store:
            return await content(store)

    return anyio.run(read)


def test_there_and_back(collab, rooms):
    made = collab("export-all", "all.export", "--store", URL, "--json")
    assert made.exit_code == 0, made.output
    report = json.loads(made.stdout)
    assert (report["rooms"], report["damaged"], report["bytes"]) == (2, 0, Path("all.export").stat().st_size)
    back = collab("import-all", "all.export", "--store", NEW, "--json")
    assert back.exit_code == 0, back.output
    report = json.loads(back.stdout)
    assert (report["rooms"], report["rows"], report["snapshots"]) == (2, 48, 4)
    assert kept(NEW) == kept(URL)
    assert not [name for name in os.listdir() + os.listdir("new") if name.endswith((".part", ".import"))]
    words = collab("import-all", "all.export", "--store", NEW, "--existing", "skip")
    assert words.exit_code == 0 and "0 rooms taken" in words.stdout and "2 skipped" in words.stdout
    assert collab("export-all", "all.export", "--store", NEW).exit_code == 2, "it is there already"
    words = collab("export-all", "all.export", "--store", NEW, "--yes")
    assert words.exit_code == 0 and "2 rooms saved" in words.stdout


def test_what_cannot_be_done(collab, rooms):
    assert collab("export-all", "all.export", "--store", URL).exit_code == 0
    there = collab("import-all", "all.export", "--store", URL)
    assert there.exit_code == 1 and "'one' is here already" in there.stderr and "0 rooms were taken" in there.stderr
    Path("half").write_bytes(Path("all.export").read_bytes()[:-2_000])
    half = collab("import-all", "half", "--store", NEW)
    assert half.exit_code == 1 and "cut short" in half.stderr and "1 rooms were taken" in half.stderr
    assert list(kept(NEW)) == ["one"]
    assert collab("import-all", "nothing", "--store", NEW).exit_code == 2
    assert collab("export-all", "x", "--store", "sqlite:///nothing.db").exit_code == 2
    assert not Path("nothing.db").exists()
    assert collab("export-all", "none/x", "--store", URL).exit_code == 2


def test_through_the_server(collab, rooms):
    expected = kept(URL)
    with Server(store=f"sqlite:///{Path('rooms.db').absolute()}", env={"COLLAB_ADMIN__TOKEN": TOKEN}) as server:
        port = {"COLLAB_SERVER__PORT": str(server.port)}
        found = collab("export-all", "found", "--store", URL, "--json", **port, COLLAB_ADMIN__TOKEN=TOKEN)
        assert found.exit_code == 0 and json.loads(found.stdout)["rooms"] == 2, found.output
        named = collab("export-all", "named", "--server", server.http_url, "--token", TOKEN)
        assert named.exit_code == 0, named.output
        wrong = collab("export-all", "wrong", "--server", server.http_url, "--token", "x" * 40)
        assert wrong.exit_code == 1 and "does not let us in" in wrong.stderr
        assert not [name for name in os.listdir() if name.startswith("wrong")]
    assert Path("found").read_bytes() == Path("named").read_bytes()
    with Server(env={"COLLAB_ADMIN__TOKEN": TOKEN}) as server:
        taken = collab("import-all", "found", "--server", server.http_url, "--token", TOKEN, "--json")
        assert taken.exit_code == 0 and json.loads(taken.stdout)["rooms"] == 2, taken.output
        again = collab("import-all", "found", "--server", server.http_url, "--token", TOKEN)
        assert again.exit_code == 1 and "is here already" in again.stderr
        merged = collab("import-all", "found", "--server", server.http_url, "--token", TOKEN, "--existing", "merge")
        assert merged.exit_code == 0 and "2 merged" in merged.stdout
        server.terminate()
        server.wait()
        assert kept(server.store).keys() == expected.keys()


def test_a_damaged_room_is_told_of(collab, rooms):
    db = sqlite3.connect("rooms.db")
    with db:
        db.execute('UPDATE log SET "update" = zeroblob(length("update")) WHERE seq = 25 AND room_id = 1')
    db.close()
    made = collab("export-all", "all.export", "--store", URL)
    assert made.exit_code == 4 and "1 rooms and 0 snapshots" in made.stdout
    back = collab("import-all", "all.export", "--store", NEW)
    assert back.exit_code == 0 and "1 rooms were damaged" in back.stdout
    assert list(kept(NEW)) == ["two ü"]


def test_progress(collab, rooms, monkeypatch):
    """What a terminal shows."""
    shown: list[str] = []
    bars: list[Progress] = []

    def bar() -> Progress:
        bars.append(Progress(console=Console(file=io.StringIO(), force_terminal=True)))
        return bars[-1]

    monkeypatch.setattr(transfer, "progress", bar)
    assert collab("export-all", "all.export", "--store", URL).exit_code == 0
    assert collab("import-all", "all.export", "--store", NEW).exit_code == 0
    with Server(store=f"sqlite:///{Path('rooms.db').absolute()}", env={"COLLAB_ADMIN__TOKEN": TOKEN}) as server:
        options = ("--server", server.http_url, "--token", TOKEN)
        assert collab("export-all", "again.export", *options).exit_code == 0
    for one in bars:
        (task,) = one.tasks
        shown.append(f"{task.description} {task.completed:.0f}/{task.total or 0:.0f}")
    size = Path("all.export").stat().st_size
    assert shown == ["Exporting 2/2", f"Importing {size}/{size}", "Exporting 2/0"]
