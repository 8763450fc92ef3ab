"""pycrdt's own Provider on a real connection, over each of the two WebSocket libraries that people use it with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any
from urllib.parse import quote

import httpx
import websockets
from httpx_ws import AsyncWebSocketSession, aconnect_ws
from pycrdt import Channel, Doc, Provider
from pycrdt.websocket.websocket import HttpxWebsocket


class _OverWebsockets:
    """A pycrdt Channel on a connection of the `websockets` library."""

    def __init__(self, connection: websockets.ClientConnection, path: str) -> None:
        self._connection = connection
        self.path = path

    def __aiter__(self) -> _OverWebsockets:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await self.recv()
        except websockets.ConnectionClosed:
            raise StopAsyncIteration from None

    async def send(self, message: bytes) -> None:
        await self._connection.send(message)

    async def recv(self) -> bytes:
        return await self._connection.recv(decode=False)


@asynccontextmanager
async def over_httpx(url: str, room: str, *, pings: bool = True) -> AsyncIterator[Channel]:
    """A channel to a room; `pings`: the library's own keepalive."""
    async with httpx.AsyncClient() as client:
        connecting: AbstractAsyncContextManager[AsyncWebSocketSession] = aconnect_ws(
            f"{url.replace('ws:', 'http:', 1)}/{quote(room)}",
            client,
            keepalive_ping_interval_seconds=20.0 if pings else None,
        )
        async with connecting as connection:
            yield HttpxWebsocket(connection, room)


@asynccontextmanager
async def over_websockets(url: str, room: str, *, pings: bool = True) -> AsyncIterator[Channel]:
    """A channel to a room; `pings`: the library's own keepalive."""
    async with websockets.connect(f"{url}/{quote(room)}", ping_interval=20.0 if pings else None) as connection:
        yield _OverWebsockets(connection, room)


@asynccontextmanager
async def synced(channel: AbstractAsyncContextManager[Channel], doc: Doc[Any]) -> AsyncIterator[Provider]:
    """A Provider for `doc` on that channel, once it has had its first sync step 2."""
    async with channel as open_channel, Provider(doc, open_channel) as provider:
        async with asyncio.timeout(5):
            await provider.synced.wait()
        yield provider
