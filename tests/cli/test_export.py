"""`collab export`: a document as JSON, and as the update that makes it."""

from __future__ import annotations

import json

import anyio
import pytest
from pycrdt import Doc, Map, Text

from collab.content.build import prosemirror_update
from collab.store import Entry, open_store
from tests.support.server import Server, free_port

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


@pytest.mark.parametrize("field", [None, "default", "page"])
def test_prosemirror_and_html(collab, field):
    whole = {"type": "doc", "content": [{"type": "paragraph", "content": [{"type": "text", "text": "a < ü"}]}]}

    async def keep() -> None:
        async with open_store(URL) as store:
            await store.append([Entry("page", prosemirror_update(whole, field or "default"), 1.0)])

    anyio.run(keep)
    more = ["--field", field] if field else []
    result = collab("export", "page", "--format", "prosemirror", *more, "--store", URL)
    assert json.loads(result.stdout) == whole
    assert collab("export", "page", "--format", "html", *more, "--store", URL).stdout == "<p>a &lt; ü</p>\n"
    assert collab("export", "page", "--format", "text", *more, "--store", URL).stdout == "a < ü\n"
    assert collab("export", "page", "--format", "markdown", *more, "--store", URL).stdout == "a \\< ü\n"


def test_plain_text(collab, document):
    assert collab("export", "a room/ü", "--format", "text", "--store", URL).stdout == "Grüße 😀\n"


def test_from_the_server_that_has_the_store(collab, document, tmp_path):
    """Found by the settings, or by its address; what it has in memory is what is written."""
    with Server(store=f"sqlite:///{tmp_path / 'rooms.db'}") as server:
        port = {"COLLAB_SERVER__PORT": str(server.port)}
        found = collab("export", "a room/ü", "--format", "text", "--store", URL, **port)
        assert (found.exit_code, found.stdout) == (0, "Grüße 😀\n")
        update = collab("export", "a room/ü", "--format", "yjs", "--server", server.url).stdout_bytes
        doc: Doc = Doc()
        doc.apply_update(update)
        assert doc.get_state() == document.get_state()
        unknown = collab("export", "another", "--server", server.url)
        assert unknown.exit_code == 1 and "there is no room 'another'" in unknown.stderr
        elsewhere = collab("export", "a room/ü", "--store", URL, COLLAB_SERVER__PORT=str(free_port()))
        assert elsewhere.exit_code == 3
        assert "rooms.db should be (--server names another), is not available" in elsewhere.stderr
    assert collab("rooms", "--store", URL, "--json").stdout.count('"name"') == 1, "looking makes no room"


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
