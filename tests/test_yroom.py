"""The room as code written for pycrdt-websocket sees it; at the end upstream's own tests run on it."""

from __future__ import annotations

import importlib.metadata
import inspect
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from pycrdt import Doc, Map, Provider, Text
from pycrdt.store import SQLiteYStore
from pycrdt.websocket import YRoom

from collab import Room
from collab.errors import BadMessage
from collab.wire import yjs
from collab.wire.messages import Awareness, SyncStep1, SyncStep2
from tests.support.node import missing
from tests.support.waiting import until

pytestmark = pytest.mark.anyio


class Channel:
    """One end of a connection in memory."""

    path = "room"

    def __init__(self, send: MemoryObjectSendStream[bytes], receive: MemoryObjectReceiveStream[bytes]) -> None:
        self._send, self._receive = send, receive

    def __aiter__(self) -> Channel:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await self._receive.receive()
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            raise StopAsyncIteration from None

    async def send(self, message: bytes) -> None:
        await self._send.send(message)

    async def recv(self) -> bytes:
        return await self._receive.receive()

    def close(self) -> None:
        self._send.close()
        self._receive.close()


def connection() -> tuple[Channel, Channel]:
    there, here = anyio.create_memory_object_stream[bytes](1000), anyio.create_memory_object_stream[bytes](1000)
    return Channel(there[0], here[1]), Channel(here[0], there[1])


@asynccontextmanager
async def client(room: Room) -> AsyncIterator[Channel]:
    """The client's end of a channel that has a seat in `room`."""
    ours, theirs = connection()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(room.serve, theirs)
        try:
            yield ours
        finally:
            ours.close()
            theirs.close()


@asynccontextmanager
async def editor(room: Room, doc: Doc[Any]) -> AsyncIterator[None]:
    """`doc`, kept in step with the room by pycrdt's own Provider, from the first sync step 2 on."""
    async with client(room) as channel, Provider(doc, channel) as provider:
        with anyio.fail_after(5):
            await provider.synced.wait()
        yield


async def test_editors_and_the_application_type_together():
    one: Doc[Any] = Doc({"t": Text()})
    other: Doc[Any] = Doc({"t": Text()})
    async with Room() as room, editor(room, one), editor(room, other):
        one["t"] += "one "
        await until(lambda: str(other["t"]) == "one ", "the other editor told")
        other["t"] += "other "
        await until(lambda: str(one["t"]) == "one other ", "the first editor told")
        text = room.ydoc.get("t", type=Text)
        text += "application"
        await until(lambda: str(one["t"]) == str(other["t"]) == "one other application", "both told")
        assert len(room.clients) == 2
    assert not room.clients


async def test_a_document_of_the_applications_own():
    doc: Doc[Any] = Doc()
    doc["map"] = Map({"key": "value"})
    late: Doc[Any] = Doc({"map": Map()})
    async with Room(ydoc=doc) as room, editor(room, late):
        assert late["map"].to_py() == {"key": "value"}
        room.ydoc["map"]["more"] = 1.0
        await until(lambda: late["map"].to_py() == {"key": "value", "more": 1.0}, "the edit of the application")


async def test_a_transaction_held_open_by_the_application_delays_and_loses_nothing():
    doc: Doc[Any] = Doc({"t": Text()})
    async with Room() as room, editor(room, doc):
        text = room.ydoc.get("t", type=Text)
        async with room.ydoc.new_transaction():
            text += "application "
            doc["t"] += "editor "
            await anyio.sleep(0.05)
        await until(lambda: "application " in str(doc["t"]) and str(doc["t"]) == str(text), "both have both")
        assert "editor " in str(text)


async def test_nobody_is_here_until_somebody_is():
    async with Room() as room, client(room) as channel:
        assert isinstance(yjs.decode(await channel.recv()), SyncStep1)
        await channel.send(yjs.encode(SyncStep1(b"\x00")))
        assert isinstance(yjs.decode(await channel.recv()), SyncStep2), "no phantom user in between"
        assert room.awareness.states == {}
        assert room.awareness.get_local_state() is None

        await channel.send(
            yjs.encode(Awareness(bytes.fromhex("010701") + b'\x0e{"user":"anna"}'[:1] + b'{"user":"ana"}'))
        )
        await until(lambda: room.awareness.states == {7: {"user": "ana"}}, "the application sees the client")
        echo = yjs.decode(await channel.recv())
        assert isinstance(echo, Awareness)

        room.awareness.set_local_state({"user": "server"})
        told = yjs.decode(await channel.recv())
        assert isinstance(told, Awareness) and b'"server"' in told.update
    assert 7 not in room.awareness.states


async def test_messages_can_be_filtered():
    seen: list[bytes] = []

    async def no_updates(message: bytes) -> bool:
        seen.append(message)
        return message[:2] == b"\x00\x02"

    doc: Doc[Any] = Doc({"t": Text()})
    async with Room() as room, editor(room, doc):
        room.on_message = no_updates
        doc["t"] += "lost"
        await until(lambda: seen, "the message seen")
        room.on_message = None
        await anyio.sleep(0.05)
        assert str(room.ydoc.get("t", type=Text)) == ""


async def test_a_malformed_message_is_an_error_not_a_silence():
    caught: list[Exception] = []
    room = Room(exception_handler=lambda error, log: caught.append(error) or True)
    async with room, client(room) as channel:
        await channel.send(b"\x63")
        await until(lambda: caught, "the error told")
        assert isinstance(caught[0], BadMessage) or isinstance(caught[0].exceptions[0], BadMessage)  # type: ignore[attr-defined]
        await until(lambda: not room.clients, "the client gone")


async def test_a_malformed_message_may_be_pardoned():
    pardoned: list[bytes] = []
    doc: Doc[Any] = Doc({"t": Text()})
    async with Room() as room, client(room) as channel:
        room.on_message_error = lambda error, message, channel: pardoned.append(message) or True
        await channel.send(b"\x63")
        await until(lambda: pardoned, "the error told")
        async with Provider(doc, channel) as provider:
            with anyio.fail_after(5):
                await provider.synced.wait()


async def test_not_ready_means_nobody_is_told_yet():
    doc: Doc[Any] = Doc({"t": Text()})
    async with Room(ready=False) as room, editor(room, doc):
        assert not room.ready
        room.ydoc.get("t", type=Text).insert(0, "loaded from a file")
        await anyio.sleep(0.05)
        assert str(doc["t"]) == ""
        room.ready = True
        await until(lambda: str(doc["t"]) == "loaded from a file", "told once it is ready")


async def test_a_store_of_upstreams_kind_gets_every_update_in_order(tmp_path):
    class Store(SQLiteYStore):
        db_path = str(tmp_path / "ystore.db")

    doc: Doc[Any] = Doc({"t": Text()})
    async with Store("room") as store:
        async with Room(ystore=store) as room, editor(room, doc):
            for nth in range(50):
                doc["t"] += f"{nth} "
                await anyio.lowlevel.checkpoint()
            await until(lambda: str(room.ydoc.get("t", type=Text)) == str(doc["t"]), "the room has all")
            await anyio.sleep(0.3)
        kept: Doc[Any] = Doc()
        await store.apply_updates(kept)
    assert str(kept.get("t", type=Text)) == str(doc["t"])


async def test_a_provider_of_the_rooms_own():
    entered: list[Doc[Any] | None] = []

    @asynccontextmanager
    async def provider(doc: Doc[Any] | None = None, log: Any = None, path: str | None = None) -> AsyncIterator[None]:
        entered.append(doc)
        yield

    room = Room(provider_factory=provider)  # type: ignore[arg-type]
    async with room:
        await until(lambda: entered == [room.ydoc], "the provider started")


async def test_started_twice_and_stopped_twice_are_mistakes():
    async with Room() as room:
        with pytest.raises(RuntimeError, match="already running"):
            async with room:
                pass
    with pytest.raises(RuntimeError, match="not running"):
        await room.stop()


# ---------------------------------------------------------------------------------------------------- upstream

OVERRIDDEN = {"__init__", "_start", "awareness", "ready", "serve", "stop", "ydoc"}
USED = {"_handle_exception", "_run_provider", "on_message", "on_message_error", "start", "started"}


def test_what_is_overridden_is_what_upstream_has():
    """Moves when upstream renames something: then look again at what of it still runs (yroom.py)."""
    mine = {name for name in vars(Room) if name in vars(YRoom) or name in inspect.get_annotations(YRoom)}
    attributes = {
        "__module__",
        "__doc__",
        "__annotations__",
        "__annotate__",
        "__static_attributes__",
        "__firstlineno__",
    }
    assert mine - attributes == OVERRIDDEN - {"awareness"}
    assert "self.awareness = Awareness(" in inspect.getsource(YRoom.__init__)
    assert set(vars(YRoom)) >= USED
    upstream = inspect.signature(YRoom.__init__).parameters
    assert list(inspect.signature(Room.__init__).parameters)[: len(upstream)] == list(upstream)


PLUGIN = """
import pycrdt.websocket, pycrdt.websocket.yroom, pycrdt.websocket.websocket_server
from collab import Room
for module in (pycrdt.websocket, pycrdt.websocket.yroom, pycrdt.websocket.websocket_server):
    module.YRoom = Room
"""


@pytest.mark.timeout(300)
def test_upstreams_own_tests_pass(tmp_path, figure):
    """The tests in the source distribution of the installed pycrdt-websocket, with this room in place of its own."""
    version = importlib.metadata.version("pycrdt-websocket")
    wanted = f"pycrdt-websocket=={version}"
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", "-d", str(tmp_path)]
    subprocess.run([*pip, wanted], check=True, timeout=120, capture_output=True)
    [sdist] = tmp_path.glob("pycrdt_websocket-*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    folder = tmp_path / f"pycrdt_websocket-{version}"
    (folder / "collab_plugin.py").write_text(PLUGIN)
    if shutil.which("npm") is None:
        missing("npm is needed for upstream's tests with Yjs")
    install = ["npm", "install", "--silent", "--no-audit", "--no-fund"]
    subprocess.run(install, cwd=folder / "tests", check=True, timeout=120, capture_output=True)
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "collab_plugin", "-q", "-p", "no:cacheprovider", "tests"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{os.getcwd()}"},
        timeout=200,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-2000:]
    figure(f"pycrdt-websocket {version}: {result.stdout.strip().splitlines()[-1].strip('= ')}")
