"""`collab export`: a document as JSON, and as the update that makes it."""

from __future__ import annotations

import json

import anyio
import pytest
from pycrdt import Doc, Map, Text

from collab.store import Entry, open_store

URL = "sqlite:///rooms.db"


@pytest.fixture
def document() -> Doc:
    doc: Doc = Doc()
    doc["text"] = Text("Grüße 😀")
    doc["map"] = Map({"count": 3, "ratio": 2.5, "list": [1, {"deep": None}]})

    async def keep() -> None:
        async with open_store(URL) as store:
            await store.append([Entry("a room/ü", doc.get_update(), 1.0)])

    anyio.run(keep)
    return doc


def test_json(collab, document):
    result = collab("export", "a room/ü", "--store", URL)
    assert result.exit_code == 0
    exported = json.loads(result.stdout)
    assert exported == {"map": {"count": 3, "ratio": 2.5, "list": [1, {"deep": None}]}, "text": "Grüße 😀"}
    assert '"count": 3,' in result.stdout or '"count": 3\n' in result.stdout, "integers stay integers"


def test_yjs(collab, document):
    result = collab("export", "a room/ü", "--format", "yjs", "--output", "room.yjs", "--store", URL)
    assert result.exit_code == 0
    doc: Doc = Doc()
    with open("room.yjs", "rb") as file:
        doc.apply_update(file.read())
    assert str(doc.get("text", type=Text)) == "Grüße 😀"
    assert doc.get_state() == document.get_state()


def test_yjs_into_a_pipe(collab, document):
    result = collab("export", "a room/ü", "--format", "yjs", "--store", URL)
    doc: Doc = Doc()
    doc.apply_update(result.stdout_bytes)
    assert str(doc.get("text", type=Text)) == "Grüße 😀"


def test_unknown_room(collab, document):
    result = collab("export", "another", "--store", URL)
    assert result.exit_code == 1
    assert "there is no room 'another'" in result.stderr
    assert result.stdout == ""


def test_no_store_is_made_by_looking(collab, tmp_path):
    result = collab("export", "room", "--store", "sqlite:///nowhere.db")
    assert result.exit_code == 2
    assert "nowhere.db does not exist" in result.stderr.replace("\n", " ")
    assert not (tmp_path / "nowhere.db").exists()


def test_a_file_that_cannot_be_written(collab, document, tmp_path):
    result = collab("export", "a room/ü", "--output", str(tmp_path / "nowhere" / "room.json"), "--store", URL)
    assert result.exit_code == 2
    assert "cannot be written (No such file or directory)" in result.stderr.replace("\n", " ")
    assert "Traceback" not in result.output
