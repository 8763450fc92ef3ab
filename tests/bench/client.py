"""One client of the load generator: a raw socket, on which every edit is counted.

Until it is synchronised a client reads frames; from then on it counts marks in what arrives, without looking for
frames: about 2 us a read.
"""

from __future__ import annotations

import base64
import os
import socket
import time
import zlib
from typing import TYPE_CHECKING

from tests.support.raw import var_bytes

from .wire import MARK, Author, Dialect, Y, frame

if TYPE_CHECKING:
    from .pump import Pump

CARRY = len(MARK) + 1
"""Bytes of one read that are looked at again with the next: one less than a mark and the two letters of its author."""
LARGE_FRAME = 1 << 16

now = time.perf_counter


class Broken(Exception):
    """A connection ended, was refused, or did not get what it needs in time."""


class ShutOut(Broken):
    """That was while the clients joined: no rate is too high yet."""


class Client:
    """One socket in one room.

    Attributes:
        others: Edits of others that it received.
        own: Edits of its own that came back.
        acks: Acknowledgements (Hocuspocus) since it was synchronised.
        received: Bytes.
        first_sync: When the whole of the first sync step 2 was there.
    """

    def __init__(
        self, pump: Pump, room: str, dialect: Dialect = Y, token: str = "", author: Author | None = None,
        receive_buffer: int = 0, extensions: str = "",
    ) -> None:  # fmt: skip
        self.pump = pump
        self.room = room
        self.dialect = dialect
        self.token = token
        self.author = author
        self.tag = MARK + author.tag if author else b""
        self.sent: list[float] = []
        self.others = self.own = self.acks = self.received = self.marks = 0
        self.acked_at = 0
        self.address = dialect.address(room)
        self.ack = self.address + b"\x08\x01" if self.address else b""
        self.carry = bytearray(max(CARRY, len(self.ack) - 1))
        self.keep = len(self.carry)
        self.live = self.closed = self.reading = False
        self.state = "http"
        self.waiting: bytes = b""
        self.first_sync = 0.0
        self.extensions = ""
        self._offer = extensions
        self._inbox = bytearray()
        self._skip = 0
        self._tail = b""
        self._kind = ""
        self._inflate = zlib.decompressobj(-15)
        self._need = {"step1", "step2"} | ({"ack", "granted"} if self.address else set())
        self.sock = socket.socket()
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.connect((pump.host, pump.port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.setblocking(False)
        self.recv_into = self.sock.recv_into
        self.fd = self.sock.fileno()

    # -- out

    def send(self, content: bytes) -> None:
        """All of it, now or as soon as the socket takes it."""
        if self.waiting:
            self.waiting += content
            return
        try:
            done = self.sock.send(content)
        except BlockingIOError:
            done = 0
        except OSError:
            self.close()
            return
        if done < len(content):
            self.waiting = content[done:]
            self.pump.stuck.add(self)

    def say(self, message: bytes) -> None:
        self.send(frame(self.address + message))

    def upgrade(self) -> None:
        path = f"/{self.room}" if not self.address else "/"
        query = f"?token={self.token}" if self.token and not self.address else ""
        lines = [
            f"GET {path}{query} HTTP/1.1", f"Host: {self.pump.host}:{self.pump.port}", "Upgrade: websocket",
            "Connection: Upgrade", "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
        ]  # fmt: skip
        if self._offer:
            lines.append(f"Sec-WebSocket-Extensions: {self._offer}")
        self.send("\r\n".join(lines).encode() + b"\r\n\r\n")

    # -- in, until it is synchronised

    def feed(self, chunk: bytes | bytearray) -> None:
        self.marks += (self._tail + chunk).count(MARK)
        self._tail = bytes((self._tail + chunk)[1 - len(MARK) :])
        if self._skip:
            taken = min(self._skip, len(chunk))
            self._skip -= taken
            chunk = chunk[taken:]
            if self._skip == 0:
                self._large_done()
        self._inbox += chunk
        if self.state == "http":
            head, end, rest = bytes(self._inbox).partition(b"\r\n\r\n")
            if not end:
                return
            if b" 101 " not in head.split(b"\r\n")[0]:
                raise Broken(f"{self.room}: {head[:80]!r}")
            for line in head.split(b"\r\n"):
                if line.lower().startswith(b"sec-websocket-extensions:"):
                    self.extensions = line.partition(b":")[2].strip().decode()
            self._inbox = bytearray(rest)
            self.state = "sync"
            if self.address:
                self.say(b"\x02\x00" + var_bytes(self.token.encode()) + var_bytes(b"4.8.0"))
            self.say(b"\x00\x00\x01\x00")
        while not self._skip and self._frame():
            pass
        if self.live and self._inbox:  # what came behind the handshake counts
            rest, self._inbox = bytes(self._inbox), bytearray()
            self.others += rest.count(MARK, 0, max(0, len(rest) - 2))
            self.carry = bytearray((b"\0" * self.keep + rest)[-self.keep :])

    def _frame(self) -> bool:
        if self.live or len(self._inbox) < 2:
            return False
        size, at = self._inbox[1] & 0x7F, 2
        if size > 125:
            at = 4 if size == 126 else 10
            if len(self._inbox) < at:
                return False
            size = int.from_bytes(self._inbox[2:at], "big")
        if size > LARGE_FRAME and len(self._inbox) >= at + len(self.address) + 4:
            head = bytes(self._inbox[at : at + len(self.address) + 4])
            self._kind = "step2" if self._inbox[0] & 0x40 else self.kind(head)  # of the size of a document
            taken = min(len(self._inbox), at + size)
            del self._inbox[:taken]
            self._skip = at + size - taken
            if self._skip == 0:
                self._large_done()
            return True
        if len(self._inbox) < at + size:
            return False
        opcode, message = self._inbox[0] & 0x0F, bytes(self._inbox[at : at + size])
        if self._inbox[0] & 0x40:
            message = self._inflate.decompress(message + b"\0\0\xff\xff")
        del self._inbox[: at + size]
        if opcode == 8:
            raise Broken(f"{self.room}: closed with {message!r}")
        if opcode == 2:
            self._heard(self.kind(message))
        return True

    def _large_done(self) -> None:
        self._heard(self._kind)

    def kind(self, message: bytes) -> str:
        """What a frame says."""
        if self.address:
            if not message.startswith(self.address):
                return "other"
            message = message[len(self.address) :]
            if message[:2] == b"\x02\x01":
                raise Broken(f"{self.room}: {message!r}")
        kinds = {b"\0\0": "step1", b"\0\1": "step2", b"\2\2": "granted", b"\x08\1": "ack"}
        return kinds.get(message[:2], "other")

    def _heard(self, kind: str) -> None:
        self._need.discard(kind)
        if kind == "step1":
            self.say(b"\x00\x01\x02\x00\x00")
        if kind == "step2":
            self.first_sync = now()
        if not self._need:
            self.live = True
            self.state = "live"
            self.pump.to_sync.discard(self)

    # -- in, from then on

    def count(self) -> None:
        """Take in what has arrived, once."""
        pump = self.pump
        buffer, keep = pump.buffer, self.keep
        buffer[:keep] = self.carry
        try:
            size = self.recv_into(pump.views[keep])
        except BlockingIOError:
            return
        except OSError:
            size = 0
        if not size:
            self.close()
            return
        self.received += size
        end = keep + size
        # A mark counts once its author's two letters are there, so that it is known whose it is.
        found = buffer.count(MARK, keep - CARRY, end - 2)
        if found:
            mine = buffer.count(self.tag, keep - CARRY, end) if self.tag else 0
            self.own += mine
            others = found - mine
            if others > 0:
                self.others += others
                pump.sample(self, buffer, keep, end, others)
        if self.ack:
            acks = buffer.count(self.ack, 0, end)
            if acks:
                if self.acks < len(self.sent):  # whoever fills a document is not timed
                    pump.ack_times.append((now() - self.sent[self.acks], acks))
                pump.acked += acks
                self.acks += acks
        self.carry = buffer[end - keep : end]

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            if self.reading:
                self.pump.ignore(self)
            self.pump.to_sync.discard(self)
            self.pump.clients.pop(self.fd, None)
            self.sock.close()
