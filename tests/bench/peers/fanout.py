"""Nothing but fan-out: picows, no CRDT, no storage, no access. What the load generator itself can do is measured on it.

python fanout.py PORT. It completes the y-websocket handshake, keeps the frames of one turn of the event loop and writes
them to everybody else in the room at its end, in one write per client: the same pattern as a server with ticks.
"""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

STEP1 = bytes((0, 0, 1, 0))
STEP2 = bytes((0, 1, 2, 0, 0))


class Room:
    """Who is in it, and what this turn has brought."""

    def __init__(self) -> None:
        self.seats: list[Seat] = []
        self.inbox: list[tuple[Seat, bytes]] = []

    def receive(self, seat: Seat, frame: bytes) -> None:
        if not self.inbox:
            asyncio.get_running_loop().call_soon(self.tick)
        self.inbox.append((seat, frame))

    def tick(self) -> None:
        inbox, self.inbox = self.inbox, []
        senders = {seat for seat, _ in inbox}
        joined = b"".join(frame for _, frame in inbox)
        for seat in self.seats:
            out = b"".join(frame for by, frame in inbox if by is not seat) if seat in senders else joined
            if out and seat.transport is not None:
                seat.transport.underlying_transport.write(out)


class Seat(WSListener):  # type: ignore[misc, unused-ignore]
    """One client."""

    def __init__(self, room: Room) -> None:
        super().__init__()
        self.room = room
        self.transport: WSTransport | None = None

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport
        self.room.seats.append(self)
        transport.send(WSMsgType.BINARY, STEP1)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type != WSMsgType.BINARY:
            return
        message = frame.get_payload_as_bytes()
        if message[:2] == b"\0\0":
            transport.send(WSMsgType.BINARY, STEP2)
        elif message[:2] in (b"\0\2",) or message[:1] == b"\1":
            size = len(message)
            head = bytes((0x82, size)) if size < 126 else b"\x82\x7e" + size.to_bytes(2, "big")
            self.room.receive(self, head + message)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        if self in self.room.seats:
            self.room.seats.remove(self)


async def main(port: int) -> None:
    """Serve until killed."""
    rooms: defaultdict[bytes, Room] = defaultdict(Room)

    def enter(request: WSUpgradeRequest) -> Seat:
        return Seat(rooms[request.path])

    server = await ws_create_server(enter, "127.0.0.1", port, backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(int(sys.argv[1])))
