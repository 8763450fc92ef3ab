"""`collab import`: into the store, and through the server that has it."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from pycrdt import Doc, Map, Text

from collab.content.build import prosemirror_update
from collab.store import Stored, open_store
from tests.support.node import Node
from tests.support.server import REPO, Server
from tests.support.waiting import until

URL = "sqlite:///rooms.db"
CASES = json.loads((Path(__file__).parents[1] / "content" / "documents.json").read_text("utf-8"))["cases"]


def paragraph(text: str) -> dict[str, Any]:
    return {"type": "paragraph", "content": [{"type": "text", "text": text}]}


def page(*texts: str) -> dict[str, Any]:
    return {"type": "doc", "content": [paragraph(text) for text in texts]}


def file(content: Any, name: str = "file") -> str:
    Path(name).write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return name


@pytest.fixture
def _empty_store() -> None:
    async def make() -> None:
        async with open_store(URL):
            pass

    anyio.run(make)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as running:
        yield running
        assert not running.complaints()


@pytest.fixture(params=["store", "server"])
def where(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """The same commands, with nobody at the store and with a server that has it."""
    if request.param == "store":
        request.getfixturevalue("_empty_store")
        return ("--store", URL)
    return ("--server", request.getfixturevalue("server").url)


@pytest.fixture
def room(request: pytest.FixtureRequest) -> str:
    return f"a room/{request.node.name}"


@pytest.fixture
def done(collab, where):
    """Runs a command, which has to succeed; its standard output."""

    def run(*arguments: str) -> str:
        result = collab(*arguments, *where)
        assert result.exit_code == 0, result.output
        return str(result.stdout)

    return run


def stored(room: str) -> Stored:
    async def load() -> Stored:
        async with open_store(URL) as store:
            return await store.load(room)

    return anyio.run(load)


@pytest.mark.parametrize("field", [None, "page"])
def test_what_goes_in_comes_out(done, room, field):
    named = ("--field", field) if field else ()
    content = [node for case in CASES for node in case["json"]["content"]]
    done("import", room, file({"type": "doc", "content": content}), *named)
    first = done("export", room, "--format", "prosemirror", *named)
    assert len(json.loads(first)["content"]) == len(content)
    done("import", f"{room}, again", file(json.loads(first), "again"), *named)
    assert done("export", f"{room}, again", "--format", "prosemirror", *named) == first
    assert json.loads(done("export", room)).keys() == {field or "default"}


def test_an_update_with_all_its_roots(done, room):
    doc: Doc[Any] = Doc({"text": Text("Grüße 😀"), "map": Map({"a": 1})})
    done("import", room, file(doc.get_update()))
    assert json.loads(done("export", room)) == {"text": "Grüße 😀", "map": {"a": 1}}
    assert done("import", room, file(doc.get_update()), "--append") == f"room {room!r} has it already\n"


def test_what_is_there_is_not_touched_unless_told(collab, done, where, room):
    done("import", room, file(page("one")))
    refused = collab("import", room, file(page("two")), *where)
    assert refused.exit_code == 1
    assert "has content already (in 'default'): say --append or --replace" in refused.stderr
    assert json.loads(done("export", room, "--format", "prosemirror")) == page("one")
    done("import", room, file(page("two")), "--append")
    assert json.loads(done("export", room, "--format", "prosemirror")) == page("one", "two")
    done("import", room, file(page("three")), "--replace")
    assert json.loads(done("export", room, "--format", "prosemirror")) == page("three")
    done("import", room, file(prosemirror_update(page("four"))), "--replace")
    assert json.loads(done("export", room, "--format", "prosemirror")) == page("four")
    done("import", room, file(prosemirror_update(page("five"))), "--append")
    merged = json.loads(done("export", room, "--format", "prosemirror"))["content"]
    assert sorted(map(str, merged)) == sorted(map(str, [paragraph("four"), paragraph("five")]))


def test_json_for_scripts(done, where, room):
    report = json.loads(done("import", room, file(page("one")), "--json"))
    assert report["room"] == room and report["bytes"] > 10
    assert report["through"] == (where[1] if where[0] == "--server" else "store")


def test_a_server_that_has_the_store_is_found(collab, server):
    arguments = ("import", "found", file(page("one")), "--store", server.store, "--json")
    result = collab(*arguments, COLLAB_SERVER__PORT=str(server.port))
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["through"] == f"{server.url}/"
    assert collab("export", "found", "--format", "text", "--server", server.url).stdout == "one\n"


@pytest.mark.usefixtures("_empty_store")
def test_one_row(collab):
    """What changes nothing is not written, and what is written is sound."""
    for content in (page("one"), {"type": "doc", "content": []}):
        assert collab("import", "room", file(content), "--append", "--store", URL).exit_code == 0
    assert [row.seq for row in stored("room").rows] == [1]
    assert "none damaged" in collab("verify", "--store", URL).stdout


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"nothing", "neither JSON nor a Yjs update"),
        (b"", "neither JSON nor a Yjs update"),
        ([1], "is JSON, but no ProseMirror document"),
        ({"type": "paragraph"}, "not a ProseMirror document"),
        (b'{"type":"doc","content":[{"type":"text","text":"\\ud800"}]}', "half of a character"),
        (b'{"type":"doc","content":[{"type":"p","attrs":{"n":1e400}}]}', "not a number of JSON"),
        (b'{"type":"doc","content":[{"type":"p","attrs":{"n":9007199254740993}}]}', "over 2**53 - 1"),
        (b'{"a":' * 100_000, "nested too deep"),
        (b"\x01\x01\x05\x03\x04\x01\x01a\x01b\x00", "builds on something that the room does not have"),
    ],
)
@pytest.mark.usefixtures("_empty_store")
def test_what_is_no_document(collab, content, sentence):
    result = collab("import", "room", file(content), "--store", URL)
    assert result.exit_code == 1
    assert sentence in result.stderr
    assert stored("room").seq == 0


@pytest.mark.usefixtures("_empty_store")
def test_what_cannot_be_put_together(collab):
    doc: Doc[Any] = Doc({"text": Text("x"), "default": Text("y")})
    assert collab("import", "room", file(doc.get_update()), "--store", URL).exit_code == 0
    result = collab("import", "room", file(page("one")), "--append", "--store", URL)
    assert result.exit_code == 1 and "root 'default' of the room holds no XML" in result.stderr
    result = collab("import", "room", file(doc.get_update()), "--replace", "--store", URL)
    assert result.exit_code == 1 and "only XML in one root can replace" in result.stderr
    result = collab("import", "room", file(page("one")), "--replace", "--append", "--store", URL)
    assert result.exit_code == 2 and "exclude each other" in result.stderr
    result = collab("import", "room", "nowhere.json", "--store", URL)
    assert result.exit_code == 2 and "cannot be read (No such file or directory)" in result.stderr
    result = collab("import", "\n", file(page("one")), "--store", URL)
    assert result.exit_code == 1 and "name" in result.stderr
    assert [row.seq for row in stored("room").rows] == [1]


def test_a_store_in_memory_is_the_servers_alone(collab):
    with Server(store="memory:") as server:
        port = {"COLLAB_SERVER__PORT": str(server.port)}
        assert collab("import", "room", file(page("one")), "--store", "memory:", **port).exit_code == 0
        result = collab("export", "room", "--format", "text", "--store", "memory:", **port)
        assert result.stdout == "one\n"
        assert collab("export", "other", "--store", "memory:", **port).exit_code == 1


@pytest.mark.parametrize("how", ["--append", "--replace"])
@pytest.mark.anyio
async def test_editors_go_on_typing(server, node, how):
    """Three editors type into the very root that is imported to, for as long as it takes."""
    room = f"typing {how}"
    editors = await node.clients(server.url, [room] * 3)
    await node.all_synced(editors)
    file(page(*(f"imported {n}" for n in range(2_000))), "long.json")
    typed: list[str] = []
    stop = asyncio.Event()

    async def type_(nth: int) -> None:
        for n in range(100_000):
            if stop.is_set():
                break
            await editors[nth].edit(["xml.insert", "default", -1, "paragraph", {}, f"typed {nth}.{n}"])
            typed.append(f"typed {nth}.{n}")

    typing = [asyncio.create_task(type_(nth)) for nth in range(3)]
    command = [sys.executable, "-m", "collab", "import", room, "long.json", how, "--server", server.url, "--json"]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, env={"PYTHONPATH": str(REPO)}
    )
    before = len(typed)
    output, _ = await process.communicate()
    assert process.returncode == 0
    assert len(typed) > before, "nobody typed meanwhile"
    after = len(typed)
    await until(lambda: len(typed) >= after + 10, "more to be typed", 30)
    stop.set()
    await asyncio.gather(*typing)
    await node.converged(editors)
    xml = await editors[0].read("xml", "default")
    assert re.findall(">imported ([0-9]+)<", xml) == [str(n) for n in range(2_000)]
    assert json.loads(output)["bytes"] > 2_000
    kept = set(re.findall(">(typed [0-9.]+)<", xml))
    lost = [one for one in typed if one not in kept]
    if how == "--append":
        assert not lost
    else:  # what stood there when it was replaced is gone, what was typed after that is not
        assert lost == [one for one in typed[: len(lost) + 300] if one in lost]
        assert typed[-1] not in lost


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    async with Node() as running:
        yield running
        with suppress(Exception):
            await running.reset()
