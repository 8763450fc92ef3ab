"""`collab import-from`: stores that the real programs wrote, and what becomes of their documents here."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from anyio.to_thread import run_sync  # a command has a loop of its own
from pycrdt import Doc, Text

from collab.store import foreign
from tests.bench.servers import KINDS, NODE, PEERS
from tests.docs.blocks import DOCS
from tests.store.test_foreign import updates, ystore
from tests.support.node import INTEROP, node_binary
from tests.support.server import Server

URL = "sqlite:///rooms.db"
LINES = Path("lines.jsonl")


@pytest.fixture
def taken(collab):
    """Runs the command, which has to end with `code`; its report."""

    def run(kind: str, path: Path | str, *options: str, code: int = 0) -> Any:
        done = collab("import-from", kind, str(path), "--store", URL, "--json", *options)
        assert done.exit_code == code, done.output
        return json.loads(done.stdout) if done.stdout else done.stderr

    return run


@pytest.fixture
def text(collab):
    def read(room: str) -> str:
        done = collab("export", room, "--store", URL)
        assert done.exit_code == 0, done.output
        return str(json.loads(done.stdout)["text"])

    return read


def lines(**rooms: bytes) -> Path:
    said = [json.dumps({"room": room, "update": base64.b64encode(one).decode()}) for room, one in rooms.items()]
    LINES.write_text("".join(f"{line}\n" for line in said))
    return LINES


def node(binary: Path | str, cwd: Path, program: str, argument: Path) -> str:
    """What a program prints that uses the packages in `cwd`."""
    command = [str(binary), "--input-type=commonjs", "--eval", program, str(argument)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=True).stdout


def export_level(folder: Path) -> subprocess.CompletedProcess[bytes]:
    command = [node_binary(), str(DOCS / "howto" / "migrate" / "export-y-leveldb.mjs"), str(folder)]
    return subprocess.run(command, cwd=INTEROP, capture_output=True, timeout=60, check=False)


WRITE = """
const Y = require('yjs')
const doc = new Y.Doc()
const updates = []
doc.on('update', update => updates.push(Buffer.from(update)))
doc.getText('text').insert(0, 'Grüße 🙂 and more')
doc.getText('text').delete(8, 9)
doc.getMap('map').set('key', [1, { deep: true }])
const whole = Buffer.from(Y.encodeStateAsUpdate(doc))
"""


def test_what_hocuspocus_wrote(taken, text, tmp_path):
    if why := KINDS["hocuspocus-sqlite"].missing():
        pytest.skip(why)
    file = tmp_path / "hocuspocus.sqlite"
    made = node(
        NODE,
        PEERS,
        WRITE
        + """
const { SQLite } = require('@hocuspocus/extension-sqlite')
const store = new SQLite({ database: process.argv[1] })
;(async () => {
  await store.onConfigure()
  await store.configuration.store({ documentName: 'notes/ä', state: whole })
  store.db.close()
  console.log(whole.toString('base64'))
})()
""",
        file,
    )
    (line,) = taken("hocuspocus-sqlite", file)
    assert line["taken"] and line["room"] == "notes/ä"
    source: Doc = Doc()
    source.apply_update(base64.b64decode(made))
    assert text("notes/ä") == str(source.get("text", type=Text)) == "Grüße 🙂"


def test_what_y_leveldb_wrote(taken, text, tmp_path):
    node(
        node_binary(),
        INTEROP,
        WRITE
        + """
const { LeveldbPersistence } = require('y-leveldb')
const store = new LeveldbPersistence(process.argv[1])
;(async () => {
  for (const update of updates) await store.storeUpdate('my%20notes', update)
  await store.destroy()
})()
""",
        tmp_path / "level",
    )
    done = export_level(tmp_path / "level")
    assert done.returncode == 0, done.stderr
    LINES.write_bytes(done.stdout)
    (line,) = taken("json-lines", LINES, "--decode")
    assert line["room"] == "my notes"
    assert text("my notes") == "Grüße 🙂"


def test_what_is_no_level_database(tmp_path):
    done = export_level(tmp_path)
    assert done.returncode == 2 and b"no LevelDB database" in done.stderr and not done.stdout


def test_a_level_database_in_use(tmp_path):
    holds = """
const { LeveldbPersistence } = require('y-leveldb')
const store = new LeveldbPersistence(process.argv[1])
store.getAllDocNames().then(() => { console.log('open'); process.stdin.resume() })
"""
    command = [node_binary(), "--input-type=commonjs", "--eval", holds, str(tmp_path / "level")]
    with subprocess.Popen(command, cwd=INTEROP, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout and holder.stdout.readline() == b"open\n"
        done = export_level(tmp_path / "level")
        holder.kill()
    assert done.returncode == 3 and b"in use by another process" in done.stderr and not done.stdout


@pytest.mark.anyio
async def test_what_pycrdt_store_wrote(taken, text, collab, tmp_path):
    await ystore(tmp_path / "y.db", **{"/one": updates("Grüße ", "🙂"), "/two": updates("2")})
    report = await run_sync(lambda: taken("pycrdt-sqlite", tmp_path / "y.db", "--strip", "/"))
    assert [(line["room"], line["updates"]) for line in report] == [("one", 2), ("two", 1)]
    assert await run_sync(text, "one") == "Grüße 🙂"


@pytest.mark.parametrize("kind", [kind.value for kind in foreign.Kind])
def test_what_is_not_there(kind, collab):
    done = collab("import-from", kind, "nothing", "--store", URL)
    assert done.exit_code == 2
    assert "nothing cannot be read" in done.stderr
    assert not Path("rooms.db").exists()


def test_rooms_that_are_here(taken, text):
    first, second = updates("one", " two")
    taken("json-lines", lines(a=first))
    said = taken("json-lines", lines(b=first, a=first), code=1)
    assert "room 'a' is here already" in said and "Nothing was imported" in said
    report = taken("json-lines", lines(b=first, a=second), "--existing", "skip")
    assert [line["taken"] for line in report] == [True, False]
    assert (text("a"), text("b")) == ("one", "one")
    (line,) = taken("json-lines", lines(a=second), "--existing", "merge")
    assert line["taken"] and text("a") == "one two"
    (line,) = taken("json-lines", lines(a=second), "--existing", "merge")
    assert not line["taken"], "once more is not more"


def test_documents_that_are_damaged_are_told_and_the_others_come(taken, text):
    first, second = updates("one", " two")
    broken = bytes([1, 1]) + b"\xff" * 20
    report = taken("json-lines", lines(a=first, gap=second, junk=broken, **{" ": first}, z=first), code=4)
    assert [line["taken"] for line in report] == [True, False, False, False, True]
    assert all(line["problem"] for line in report[1:4])
    assert text("z") == "one"


def test_two_names_that_would_be_one(taken):
    (update,) = updates("one")
    said = taken("json-lines", lines(**{"a b": update, "a%20b": update}), "--decode", code=1)
    assert "would both become room 'a b'" in said


def test_dry_run(taken, collab):
    (update,) = updates("one")
    (line,) = taken("json-lines", lines(a=update), "--dry-run")
    assert line["taken"]
    assert json.loads(collab("rooms", "--store", URL, "--json").stdout) == []


def test_what_it_says(collab):
    (update,) = updates("one")
    done = collab("import-from", "json-lines", str(lines(a=update, **{"a\n": update})), "--store", URL)
    assert done.exit_code == 4
    assert f"1 of 2 documents imported, {len(update)} bytes; 0 left as they are" in done.stdout
    assert "control characters" in done.stdout


def test_a_store_that_a_server_has(collab):
    (update,) = updates("one")
    with Server(store=f"sqlite:///{Path('held.db').absolute()}"):
        done = collab("import-from", "json-lines", str(lines(a=update)), "--store", "sqlite:///held.db")
    assert done.exit_code == 3
    assert "stop that one first" in done.stderr
