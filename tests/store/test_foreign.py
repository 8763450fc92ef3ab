"""Stores of other servers: what is read of them, and what is said of those that cannot be read."""

from __future__ import annotations

import base64
import json
import sqlite3
from pathlib import Path

import pytest
from pycrdt import Doc, Text
from pycrdt.store import FileYStore, SQLiteYStore

from collab.errors import BadMessage, SettingsError, StoreLocked
from collab.store.foreign import Kind, Written, read

SQLITE = [Kind.hocuspocus_sqlite, Kind.pycrdt_sqlite]


def updates(*texts: str) -> list[bytes]:
    doc: Doc = Doc()
    found: list[bytes] = []
    doc.observe(lambda event: found.append(event.update))
    text = doc.get("text", type=Text)
    for one in texts:
        text += one
    return found


async def ystore(file: Path, **rooms: list[bytes]) -> Path:
    """As pycrdt-store writes it."""
    kind = type("Store", (SQLiteYStore,), {"db_path": str(file)})
    for room, written in rooms.items():
        async with kind(room) as store:
            for update in written:
                await store.write(update)
    return file


def hocuspocus(file: Path, **rooms: bytes) -> Path:
    """With the statements of @hocuspocus/extension-sqlite; tests/cli/test_import_from.py has its real files."""
    connection = sqlite3.connect(file)
    connection.execute(
        'CREATE TABLE IF NOT EXISTS "documents" ("name" varchar(255) NOT NULL, "data" blob NOT NULL, UNIQUE(name))'
    )
    connection.executemany('INSERT INTO "documents" VALUES (?, ?)', rooms.items())
    connection.commit()
    connection.close()
    return file


async def made(kind: Kind, folder: Path, size: int = 1) -> Path:
    written = updates(*["words " * 500] * size)
    match kind:
        case Kind.hocuspocus_sqlite:
            return hocuspocus(folder / "file", **{f"room{n}": one for n, one in enumerate(written)})
        case Kind.pycrdt_sqlite:
            return await ystore(folder / "file", room=written)
        case Kind.pycrdt_files:
            store = FileYStore(str(folder / "file"))
            for update in written:
                await store.write(update)
        case Kind.json_lines:
            lines = [
                json.dumps({"room": f"r{n}", "update": base64.b64encode(one).decode()}) for n, one in enumerate(written)
            ]
            (folder / "file").write_text("".join(f"{line}\n" for line in lines))
    return folder / "file"


@pytest.mark.anyio
async def test_pycrdt_sqlite(tmp_path):
    first, second = updates("one", "two"), updates("three")
    found = list(read(Kind.pycrdt_sqlite, await ystore(tmp_path / "y.db", b=second, a=first)))
    assert [(one.room, one.update) for one in found] == [("a", first[0]), ("a", first[1]), ("b", second[0])]
    assert all(one.time and one.time > 1.7e9 for one in found)


@pytest.mark.anyio
async def test_pycrdt_files(tmp_path):
    for name, written in {"notes/a.y": updates("one", "two"), "b.y": updates("x" * 300)}.items():
        store = FileYStore(str(tmp_path / name), metadata_callback=lambda: b"who it was")
        for update in written:
            await store.write(update)
    assert [one.room for one in read(Kind.pycrdt_files, tmp_path)] == ["b.y", "notes/a.y", "notes/a.y"]
    (alone,) = read(Kind.pycrdt_files, tmp_path / "b.y")
    assert alone.room == "b.y" and alone.time and alone.time > 1.7e9
    assert str(text_of(alone)) == "x" * 300


def text_of(*written: Written) -> Text:
    doc: Doc = Doc()
    for one in written:
        doc.apply_update(one.update)
    return doc.get("text", type=Text)


def test_hocuspocus(tmp_path):
    (update,) = updates("one")
    file = hocuspocus(tmp_path / "h.db", one=update)
    assert list(read(Kind.hocuspocus_sqlite, file)) == [Written("one", update, None)]


@pytest.mark.parametrize("kind", Kind)
def test_not_there(kind, tmp_path):
    with pytest.raises(SettingsError, match="nothing cannot be read"):
        list(read(kind, tmp_path / "nothing"))


@pytest.mark.parametrize("kind", Kind)
def test_foreign(kind, tmp_path):
    file = tmp_path / "letter"
    file.write_text("Dear reader,\n" * 100)
    with pytest.raises((SettingsError, BadMessage), match="letter"):
        list(read(kind, file))


@pytest.mark.parametrize("kind", SQLITE)
def test_another_database(kind, tmp_path):
    connection = sqlite3.connect(tmp_path / "other.db")
    connection.execute("CREATE TABLE documents (name, content)")
    connection.execute("CREATE TABLE yupdates (path)")
    connection.close()
    with pytest.raises(SettingsError, match="is not a store of"):
        list(read(kind, tmp_path / "other.db"))


@pytest.mark.anyio
async def test_another_version(tmp_path):
    file = await ystore(tmp_path / "y.db", a=updates("one"))
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA user_version = 3")
    connection.close()
    with pytest.raises(SettingsError, match="version 3"):
        list(read(Kind.pycrdt_sqlite, file))


@pytest.mark.anyio
@pytest.mark.parametrize("kind", Kind)
async def test_cut_off(kind, tmp_path):
    file = await made(kind, tmp_path, 20)
    whole = file.read_bytes()
    for share in (0.31, 0.63, 0.97):
        file.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(BadMessage, match=r"damaged or was cut off|whole and on one line"):
            list(read(kind, file))


@pytest.mark.anyio
@pytest.mark.parametrize("kind", SQLITE)
async def test_in_use(kind, tmp_path):
    file = await made(kind, tmp_path)
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreLocked, match="in use by another process"):
        list(read(kind, file))
    connection.close()


@pytest.mark.anyio
@pytest.mark.parametrize("kind", Kind)
async def test_nothing_is_written(kind, tmp_path):
    file = await made(kind, tmp_path)
    before = file.read_bytes()
    assert list(read(kind, file))
    assert file.read_bytes() == before and [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    "lines",
    [
        "{}\n",
        "[]\n",
        '{"room": "a", "update": "AAA"}\n',
        '{"room": 1, "update": "AAA="}\n',
        '{"room": "a", "update": "AAA="}',
        '{"room": "a", "update": "AAA="}\n{"room": "b", "update": "AAA="}\n{"room": "a", "update": "AAA="}\n',
    ],
)
def test_lines_that_are_not_right(lines, tmp_path):
    (tmp_path / "lines").write_text(lines)
    with pytest.raises(BadMessage, match=f"line {max(1, lines.count(chr(10)))}"):
        list(read(Kind.json_lines, tmp_path / "lines"))
