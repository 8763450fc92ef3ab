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
from pycrdt.store import BaseYStore, FileYStore, SQLiteYStore, YDocNotFound
from pycrdt.websocket import YRoom

from collab import Room, Settings, seat, yroom
from collab.errors import BadMessage
from collab.fence import Panic
from collab.hub import Hub
from collab.wire import yjs
from collab.wire.lib0 import var_string
from collab.wire.messages import Awareness, SyncStep1, SyncStep2, Update
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
async def client(room: YRoom) -> AsyncIterator[Channel]:
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
async def editor(room: YRoom, doc: Doc[Any]) -> AsyncIterator[None]:
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

    def catch(error: Exception, log: Any) -> bool:
        caught.append(error)
        return True

    room = Room(exception_handler=catch)
    async with room, client(room) as channel:
        await channel.send(b"\x63")
        await until(lambda: caught, "the error told")
        assert isinstance(caught[0], BadMessage) or isinstance(caught[0].exceptions[0], BadMessage)  # type: ignore[attr-defined]
        await until(lambda: not room.clients, "the client gone")


async def test_a_malformed_message_may_be_pardoned():
    pardoned: list[bytes] = []
    doc: Doc[Any] = Doc({"t": Text()})

    def pardon(error: Exception, message: bytes, channel: Any) -> bool:
        pardoned.append(message)
        return True

    async with Room() as room, client(room) as channel:
        room.on_message_error = pardon
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


async def written(store: BaseYStore) -> list[bytes]:
    try:
        return [update async for update, _, _ in store.read()]
    except YDocNotFound:
        return []


@pytest.mark.parametrize("ready", [False, True])
async def test_what_was_loaded_from_the_store_is_not_stored_again(tmp_path, ready):
    """Else it would hold twice as much after each start."""
    path = str(tmp_path / "room.y")
    async with FileYStore(path) as store, Room(ystore=store) as room:
        for letter in "kept":
            room.ydoc.get("t", type=Text).insert(0, letter)
            await anyio.lowlevel.checkpoint()
    async with FileYStore(path) as store:
        before = await written(store)
        room = Room(ready=ready, ystore=store)
        if ready:
            await store.apply_updates(room.ydoc)
        async with room:
            if not ready:
                await store.apply_updates(room.ydoc)
                room.ready = True
            room.ydoc.get("t", type=Text).insert(0, "and more, ")  # in the same instant
        after = await written(store)
    assert after[: len(before)] == before and len(after) == len(before) + 1
    doc: Doc[Any] = Doc()
    for update in after:
        doc.apply_update(update)
    assert str(doc.get("t", type=Text)) == "and more, tpek"


class SlowStore(FileYStore):
    """Takes its time to start and to write, and fails when it is told to."""

    failing: list[Exception] = []

    async def start(self, **options: Any) -> None:
        await anyio.sleep(0.1)
        await super().start(**options)

    async def write(self, data: bytes) -> None:
        await anyio.sleep(0.005)
        if self.failing:
            raise self.failing.pop()
        await super().write(data)


async def test_a_room_that_stops_has_kept_everything(tmp_path):
    """Also what was typed before its store had started."""
    store = SlowStore(str(tmp_path / "room.y"))
    doc: Doc[Any] = Doc({"t": Text()})
    async with Room(ystore=store) as room, editor(room, doc):
        for nth in range(30):
            doc["t"] += f"{nth} "
            await anyio.lowlevel.checkpoint()
        await until(lambda: str(room.ydoc.get("t", type=Text)) == str(doc["t"]), "the room has all")
    kept: Doc[Any] = Doc()
    await store.apply_updates(kept)
    assert str(kept.get("t", type=Text)) == str(doc["t"])


async def test_a_store_that_fails_misses_nothing_when_the_room_runs_again(tmp_path):
    """It is upstream's way: the room ends, its handler says go on, and it starts anew."""
    store = SlowStore(str(tmp_path / "room.y"))
    store.failing = [OSError("EIO"), OSError("EIO")]
    caught: list[Exception] = []

    def go_on(error: Exception, log: Any) -> bool:
        caught.append(error)
        return True

    room = Room(ystore=store, exception_handler=go_on)
    async with anyio.create_task_group() as tasks:
        async with store:
            await tasks.start(room.start)
            for nth in range(10):
                room.ydoc.get("t", type=Text).insert(0, f"{nth}")
                await anyio.sleep(0.01)
            await until(lambda: len(caught) == 2, "both failures told")
            await room.stop()
    kept: Doc[Any] = Doc()
    await store.apply_updates(kept)
    assert str(kept.get("t", type=Text)) == str(room.ydoc.get("t", type=Text)) == "9876543210"


async def test_presence_comes_to_its_end_and_the_servers_own_does_not(monkeypatch):
    monkeypatch.setattr(yroom, "BEAT_SECONDS", 0.02)
    room = Room()
    async with room, client(room) as channel:
        room.core.presence.forget_seconds = 0.2
        room.awareness.set_local_state({"user": "server"})
        await channel.send(yjs.encode(Awareness(b"\x01\x07\x01" + var_string('{"user":"ana"}'))))
        await until(lambda: 7 in room.awareness.states, "ana is here")
        clock = room.awareness.meta[room.awareness.client_id]["clock"]
        await until(lambda: 7 not in room.awareness.states, "ana is forgotten")
        await until(lambda: room.awareness.meta[room.awareness.client_id]["clock"] > clock, "the server is renewed")
        assert room.awareness.get_local_state() == {"user": "server"}


async def test_a_client_that_never_asks_is_told_all_the_same(monkeypatch):
    monkeypatch.setattr(yroom, "BEAT_SECONDS", 0.02)
    monkeypatch.setattr(seat, "PATIENCE_SECONDS", 0.1)
    async with Room() as room, client(room) as channel:
        assert isinstance(yjs.decode(await channel.recv()), SyncStep1)
        room.ydoc["t"] = Text("told")
        with anyio.fail_after(2):
            told = yjs.decode(await channel.recv())
        assert isinstance(told, Update)


async def test_an_error_of_the_filter_is_an_error_of_the_message():
    pardoned: list[Exception] = []

    def on_message(message: bytes) -> bool:
        raise ZeroDivisionError

    def on_message_error(error: Exception, message: bytes, channel: Any) -> bool:
        pardoned.append(error)
        return True

    async with Room() as room, client(room) as channel:
        room.on_message, room.on_message_error = on_message, on_message_error
        await channel.send(yjs.encode(SyncStep1(b"\x00")))
        await until(lambda: pardoned, "told")
        assert isinstance(pardoned[0], ZeroDivisionError)
        room.on_message = None
        await channel.send(yjs.encode(SyncStep1(b"\x00")))
        assert isinstance(yjs.decode(await channel.recv()), SyncStep1)
        assert isinstance(yjs.decode(await channel.recv()), SyncStep2)


async def test_an_observer_that_fails_keeps_nothing_from_anybody():
    def observer(topic: str, change: Any) -> None:
        raise ZeroDivisionError

    async with Room() as room:
        room.awareness.observe(observer)
        async with client(room) as one, client(room) as other:
            await one.send(yjs.encode(Awareness(b"\x01\x07\x01" + var_string('{"user":"ana"}'))))
            assert isinstance(yjs.decode(await other.recv()), SyncStep1)
            with anyio.fail_after(2):
                assert isinstance(yjs.decode(await other.recv()), Awareness)


async def test_a_panic_in_a_room_of_the_hub_is_the_hubs_to_mend(monkeypatch):
    """The client that met with it is answered when the room has been read anew."""
    async with Hub(Settings(store={"url": "memory:"})) as hub, hub.room("room") as room:
        room.ydoc["t"] = Text("kept")
        await hub.flush()

        def difference(state_vector: bytes) -> bytes:
            monkeypatch.undo()
            raise Panic(RuntimeError("as if yrs had panicked"))

        monkeypatch.setattr(room.core, "difference", difference)
        doc: Doc[Any] = Doc()
        async with editor(room, doc):
            assert str(doc.get("t", type=Text)) == "kept"
        assert hub.metrics.panics._value.get() == 1


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


@pytest.mark.parametrize("name", ["_start", "serve", "stop"])
def test_what_is_overridden_is_called_as_upstreams(name):
    mine, upstreams = (inspect.signature(getattr(kind, name)) for kind in (Room, YRoom))
    assert list(mine.parameters.values()) == [
        parameter.replace(annotation=mine.parameters[key].annotation) for key, parameter in upstreams.parameters.items()
    ]
    assert inspect.iscoroutinefunction(getattr(Room, name)) == inspect.iscoroutinefunction(getattr(YRoom, name))


async def test_what_upstreams_init_sets_is_there():
    """It is not called: what it begins to set in another version must not be missed here."""
    mine = Room()
    assert {name for name in vars(YRoom()) if not hasattr(mine, name)} == set()


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
