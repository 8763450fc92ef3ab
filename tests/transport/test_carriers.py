"""Which connections are taken over, and that the others are served all the same."""

from __future__ import annotations

import asyncio
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest
import websockets

from tests.support.carried import Host, hosted
from tests.support.raw import encode_frame
from tests.support.waiting import until

pytestmark = pytest.mark.anyio


class Wrapping(Host):
    """Something stands between hypercorn and the app, as frameworks and tracing do."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def wrapped(message: Any) -> None:
            await send(message)

        await super().__call__(scope, receive, wrapped)


@pytest.mark.parametrize(
    ("kind", "fast", "carrier"), [(Host, True, "takeover"), (Host, False, "asgi"), (Wrapping, True, "asgi")]
)
async def test_who_is_taken_over(kind, fast, carrier):
    host = kind(fast=fast)
    async with hosted(host), websockets.connect(host.url) as client:
        await until(lambda: host.recorders, "the app has it")
        host.recorders[0].socket.send(b"hello")
        assert await client.recv() == b"hello"
        await client.send(b"and back")
        await until(lambda: host.recorders[0].frames == [b"and back"], "received")
        assert host.recorders[0].socket.name == carrier


async def test_over_http_2():
    """Many streams share one transport there (RFC 8441): none of them may have it."""
    host = Host(fast=True)
    async with hosted(host):
        reader, writer = await asyncio.open_connection("127.0.0.1", host.port)
        http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        http.initiate_connection()
        writer.write(http.data_to_send())
        seen: list[Any] = []

        async def until_seen(kind: type) -> Any:
            async with asyncio.timeout(5):
                while not (found := [event for event in seen if isinstance(event, kind)]):
                    seen.extend(http.receive_data(await reader.read(65_536)))
                    writer.write(http.data_to_send())
            seen.clear()
            return found[0]

        await until_seen(h2.events.RemoteSettingsChanged)
        request = {":method": "CONNECT", ":protocol": "websocket", ":scheme": "http", ":path": "/", ":authority": "x"}
        http.send_headers(1, [*request.items(), ("sec-websocket-version", "13")])
        writer.write(http.data_to_send())
        answer = await until_seen(h2.events.ResponseReceived)
        assert dict(answer.headers)[":status"] == "200"
        await until(lambda: host.recorders, "the app has it")
        recorder = host.recorders[0]
        recorder.socket.send(b"hello")
        assert (await until_seen(h2.events.DataReceived)).data == b"\x82\x05hello"
        http.send_data(1, encode_frame(b"and back"))
        writer.write(http.data_to_send())
        await until(lambda: recorder.frames == [b"and back"], "received")
        assert recorder.socket.name == "asgi"
        writer.close()
