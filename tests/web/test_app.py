"""The app inside other ASGI servers, and how it drains."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import httpx
import pytest
from hypercorn.asyncio import serve
from hypercorn.config import Config
from pycrdt import Doc, Text

from collab import Settings, create_app
from collab.errors import SettingsError
from collab.store import Entry
from collab.store.memory import MemoryStore
from collab.wire import yjs
from collab.wire.messages import SyncStep1, SyncStep2, Update
from tests.support.raw import Peer
from tests.support.server import free_port

pytestmark = pytest.mark.anyio

SETTINGS: dict[str, Any] = {"store": {"url": "memory:"}, "server": {"drain_seconds": 0.5}}


def settings(**sections: Any) -> Settings:
    return Settings(**SETTINGS | sections)


class ByHand:
    """A WebSocket of an ASGI server that is not hypercorn: whoever calls the app."""

    def __init__(self, app: Any, path: str = "/room", *, decoded: bool = False) -> None:
        self._to_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.said: list[dict[str, Any]] = []
        scope: dict[str, Any] = {"type": "websocket", "path": path, "headers": [], "subprotocols": []}
        if not decoded:
            scope["raw_path"] = path.encode()
        self._app = app(scope, self._to_app.get, self._send)
        self._to_app.put_nowait({"type": "websocket.connect"})
        self._heard = asyncio.Event()

    async def _send(self, message: dict[str, Any]) -> None:
        self.said.append(message)
        self._heard.set()

    async def run(self) -> None:
        await self._app

    def frame(self, frame: bytes) -> None:
        self._to_app.put_nowait({"type": "websocket.receive", "bytes": frame, "text": None})

    def leave(self) -> None:
        self._to_app.put_nowait({"type": "websocket.disconnect", "code": 1001})

    async def heard(self, kind: type) -> Any:
        """The first message of that kind."""
        with anyio.fail_after(5):
            while True:
                for message in self.said:
                    if message["type"] == "websocket.send" and isinstance(found := yjs.decode(message["bytes"]), kind):
                        return found
                self._heard.clear()
                await self._heard.wait()


async def test_any_asgi_server_will_do():
    store = MemoryStore()
    doc: Doc[Any] = Doc({"t": Text("typed")})
    async with create_app(settings(), store=store) as app, anyio.create_task_group() as tasks:
        socket = ByHand(app, "/a%20room")
        tasks.start_soon(socket.run)
        await socket.heard(SyncStep1)
        socket.frame(yjs.encode(SyncStep1(b"\x00")))
        await socket.heard(SyncStep2)
        socket.frame(yjs.encode(Update(doc.get_update())))
        socket.leave()
    assert socket.said[0]["type"] == "websocket.accept"
    async with store:
        [row] = (await store.load("a room")).rows
    assert row.update == doc.get_update()


async def test_a_server_that_decodes_paths_itself():
    """ASGI's `raw_path` is optional: `path` is decoded already, and nothing in it is decoded again."""
    async with create_app(settings(), store=MemoryStore()) as app, anyio.create_task_group() as tasks:
        socket = ByHand(app, "/50%25 \u00fc", decoded=True)
        tasks.start_soon(socket.run)
        await socket.heard(SyncStep1)
        assert app.hub.find("50%25 \u00fc") is not None
        socket.leave()


async def test_lifespan_opens_and_saves():
    """Under hypercorn as a library: nobody but the lifespan protocol starts and stops the app."""
    store = MemoryStore()
    app = create_app(settings(), store=store)
    config = Config()
    port = free_port()
    config.bind = [f"127.0.0.1:{port}"]
    config.accesslog = config.errorlog = None
    stop = asyncio.Event()
    serving = asyncio.create_task(serve(app, config, shutdown_trigger=stop.wait, mode="asgi"))  # type: ignore[arg-type]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
        with anyio.fail_after(10):
            while True:
                try:
                    assert (await http.get("/ready")).status_code == 200
                    break
                except httpx.ConnectError:
                    await asyncio.sleep(0.02)
    peer = await Peer.open(f"ws://127.0.0.1:{port}", "room")
    await peer.write("typed")
    await asyncio.sleep(0.1)
    await peer.leave()
    stop.set()
    await serving
    async with store:
        assert (await store.load("room")).seq == 1


async def test_a_store_that_does_not_open_is_a_failed_startup():
    said: list[dict[str, Any]] = []
    queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    queue.put_nowait({"type": "lifespan.startup"})

    async def send(message: Any) -> None:
        said.append(message)

    app = create_app(settings(store={"url": "sqlite:////proc/nowhere/rooms.db"}))
    with pytest.raises(SettingsError):
        await app({"type": "lifespan"}, queue.get, send)
    assert said[0]["type"] == "lifespan.startup.failed" and "COLLAB_STORE__URL" in said[0]["message"]


async def test_draining_tells_everybody_and_keeps_what_still_comes():
    store = MemoryStore()
    doc: Doc[Any] = Doc({"t": Text("typed at the last moment")})
    async with create_app(settings(), store=store) as app, anyio.create_task_group() as tasks:
        sockets = [ByHand(app, f"/room{nth}") for nth in range(5)]
        for socket in sockets:
            tasks.start_soon(socket.run)
            await socket.heard(SyncStep1)
        tasks.start_soon(app.drain)
        await asyncio.sleep(0)
        for socket in sockets:
            socket.frame(yjs.encode(Update(doc.get_update())))
            socket.leave()
    async with store:
        assert [(await store.load(f"room{nth}")).seq for nth in range(5)] == [1] * 5
    late = ByHand(app, "/late")
    await late.run()
    assert late.said == [{"type": "websocket.close", "code": 1012, "reason": "the server is restarting"}]


async def test_the_application_reads_and_writes_rooms():
    store = MemoryStore()
    async with create_app(settings(), store=store) as app:
        async with app.hub.room("notes") as room:
            room.ydoc["title"] = Text("Notes")
        async with app.hub.room("notes") as again:
            assert str(again.ydoc.get("title", type=Text)) == "Notes"
    async with store:
        assert [info.name async for info in store.rooms()] == ["notes"]


async def test_what_was_stored_is_there():
    store = MemoryStore()
    async with store:
        await store.append([Entry("notes", Doc({"title": Text("Kept")}).get_update(), 1.0)])
    async with create_app(settings(), store=store) as app, app.hub.room("notes") as room:
        assert str(room.ydoc.get("title", type=Text)) == "Kept"
