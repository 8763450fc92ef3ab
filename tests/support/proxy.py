"""A TCP proxy on 127.0.0.1 that can be told to misbehave.

    async with Proxy(server.port) as network:
        editor = await node.client(network.url, "room")
        network.blackhole()         # nothing passes, nobody is told
        network.heal()
        network.cut()               # RST to both ends of every connection

It runs in the test's own event loop. Both directions are held separately: "up" is towards the server, "down" towards
the client.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from types import TracebackType
from typing import Literal

Direction = Literal["up", "down"]
BOTH: tuple[Direction, ...] = ("up", "down")


class _Way:
    """One direction of all connections."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.lost = False
        self.delay = 0.0
        self.bytes = 0


class Proxy:
    """Forwards to `port`. `refuse` turns new connections away at once; `connections` counts those accepted,
    `server_ends` those that the server has ended (seen also while a blackhole hides it from the client)."""

    def __init__(self, port: int, *, host: str = "127.0.0.1") -> None:
        self.target = (host, port)
        self.port = 0
        self.refuse = False
        self.connections = 0
        self.server_ends = 0
        self._ways = {way: _Way() for way in BOTH}
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    @property
    def open_connections(self) -> int:
        return len(self._pairs)

    def bytes(self, way: Direction) -> int:
        """Bytes carried in that direction so far."""
        return self._ways[way].bytes

    # -- faults

    def pause(self, *ways: Direction) -> None:
        """Stop reading: the sender's TCP window fills up. Without arguments, both directions."""
        for way in ways or BOTH:
            self._ways[way].open.clear()

    def blackhole(self, *ways: Direction) -> None:
        """Read and throw away, so that a sender believes all is well. Connections are damaged for good."""
        for way in ways or BOTH:
            self._ways[way].lost = True

    def delay(self, seconds: float, *ways: Direction) -> None:
        """Hold each chunk back for `seconds`, one after the other: for latency, not for throughput."""
        for way in ways or BOTH:
            self._ways[way].delay = seconds

    def heal(self) -> None:
        """End pause, blackhole, delay and refusal. What a blackhole swallowed stays lost."""
        self.refuse = False
        for way in self._ways.values():
            way.open.set()
            way.lost = False
            way.delay = 0.0

    def cut(self) -> int:
        """RST to both ends of every connection; how many there were."""
        pairs = list(self._pairs)
        for pair in pairs:
            for writer in pair:
                _reset(writer)
        return len(pairs)

    # -- life

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refuse:
            _reset(writer)
            return
        self.connections += 1
        try:
            server_reader, server_writer = await asyncio.open_connection(*self.target)
        except OSError:
            _reset(writer)
            return
        pair = (writer, server_writer)
        self._pairs.add(pair)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._carry(reader, server_writer, self._ways["up"]))
                group.create_task(self._carry(server_reader, writer, self._ways["down"]))
        finally:
            self._pairs.discard(pair)
            for end in pair:
                end.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: _Way) -> None:
        while True:
            await way.open.wait()
            try:
                chunk: bytes | None = await reader.read(1 << 16)
            except OSError:
                chunk = None  # it was reset
            await way.open.wait()
            if not chunk and way is self._ways["down"]:
                self.server_ends += 1
            if way.delay:
                await asyncio.sleep(way.delay)
            if way.lost:
                if not chunk:
                    await asyncio.Event().wait()  # the other end is not told of this one's end either
                continue
            if chunk is None:
                _reset(writer)
                return
            way.bytes += len(chunk)
            try:
                if not chunk:
                    writer.write_eof()
                    return
                writer.write(chunk)
                await writer.drain()
            except OSError:
                return  # that end was reset: the other direction reads so, and passes it on


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
