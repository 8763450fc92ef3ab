"""The load generator: one thread, one epoll, raw sockets. Every edit is counted at every client.

Until it is synchronised a client reads frames; from then on it counts marks in what arrives, without looking for
frames: about 2 us a read. Latency is taken once a read, of the first edit of somebody else in it, and stands for all
the edits of that read. The first is the oldest of its author, so where several came together it errs against servers.
"""

from __future__ import annotations

import base64
import contextlib
import os
import resource
import select
import socket
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from .wire import MARK, PONG, Author, Dialect, Y, frame, var_bytes

READ_BYTES = 1 << 18
CARRY = len(MARK) + 1
"""Bytes of one read that are looked at again with the next: one less than a mark and the two letters of its author."""
LARGE_FRAME = 1 << 16
GIVE_UP_SECONDS = 3.0
"""A level is given up when an edit took so long."""

now = time.perf_counter


def more_files() -> None:
    """As many sockets as the system lets us have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Broken(Exception):
    """A connection ended, was refused, or did not get what it needs in time."""


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


class Pump:
    """All clients of one server."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self.epoll = select.epoll()
        self.clients: dict[int, Client] = {}
        self.by_tag: dict[bytes, Client] = {}
        self.stuck: set[Client] = set()
        self.to_sync: set[Client] = set()
        self.buffer = bytearray(READ_BYTES + 1024)
        view = memoryview(self.buffer)
        self.views = [view[at : at + READ_BYTES] for at in range(1024)]
        self.samples: list[tuple[float, float, int]] = []
        """(when it was sent, latency in seconds, how many edits it stands for)"""
        self.ack_times: list[tuple[float, int]] = []
        self.acked = 0
        self.worst = 0.0
        self._spoke = now()

    def __enter__(self) -> Pump:
        return self

    def __exit__(self, *_: object) -> None:
        for client in list(self.clients.values()):
            client.close()
        self.epoll.close()

    def join(
        self, clients: Sequence[Client], *, at_once: int = 100, within: float = 30.0, together: bool = False
    ) -> float:
        """Let them all enter and synchronise, the first of each room before the others; seconds it took.

        (pycrdt-websocket lets one of two who enter a new room at the same time wait for ever.)

        Args:
            at_once: How many handshakes may be under way.
            within: Seconds.
            together: All of them in any order, into rooms that somebody is in already.

        Raises:
            Broken: one did not in time, or was refused.
        """
        if together:
            return self._join(clients, at_once, within)
        first = {client.room: client for client in reversed(clients)}
        return sum(
            self._join(group, at_once, within)
            for group in (list(first.values()), [c for c in clients if first[c.room] is not c])
        )

    def enter(self, client: Client) -> None:
        """Begin its handshake."""
        self.clients[client.fd] = client
        if client.author:
            self.by_tag[client.author.tag] = client
        self.to_sync.add(client)
        self.listen(client)
        client.upgrade()

    def _join(self, clients: Sequence[Client], at_once: int, within: float) -> float:
        began = now()
        coming = iter(clients)
        done = False
        while not done or self.to_sync:
            while not done and len(self.to_sync) < at_once:
                client = next(coming, None)
                if client is None:
                    done = True
                    break
                self.enter(client)
            self.turn(0.02)
            if now() - began > within:
                raise Broken(f"{len(self.to_sync)} of {len(clients)} clients not synchronised within {within:g} s")
            if any(client.closed for client in clients):
                raise Broken("a client was cut off while it joined")
        return now() - began

    def listen(self, client: Client) -> None:
        client.reading = True
        self.epoll.register(client.fd, select.EPOLLIN)

    def ignore(self, client: Client) -> None:
        """Stop reading: what a slow client does."""
        client.reading = False
        with contextlib.suppress(OSError):
            self.epoll.unregister(client.fd)

    def sample(self, client: Client, buffer: bytearray, keep: int, end: int, weight: int) -> None:
        at = buffer.find(MARK, keep - CARRY, end - 8)
        for _ in range(4):
            if at < 0:
                return
            by = self.by_tag.get(bytes(buffer[at + 3 : at + 5]))
            if by is not None and by is not client:
                sent = by.sent[int(buffer[at + 5 : at + 11])]
                latency = now() - sent
                self.samples.append((sent, latency, weight))
                if latency > self.worst:
                    self.worst = latency
                return
            at = buffer.find(MARK, at + 11, end - 8)

    def turn(self, timeout: float) -> None:
        """Read what is there, write what had to wait."""
        clients = self.clients
        for fd, _ in self.epoll.poll(timeout, 512):
            client = clients.get(fd)
            if client is None:
                continue
            if client.live:
                client.count()
            else:
                try:
                    chunk = client.sock.recv(READ_BYTES)
                except BlockingIOError:
                    continue
                except OSError:
                    chunk = b""
                if chunk:
                    client.received += len(chunk)
                    client.feed(chunk)
                else:
                    client.close()
        if self.stuck:
            self._unstick()
        if now() - self._spoke > 10:
            self._speak()

    def _unstick(self) -> None:
        for client in [*self.stuck]:
            waiting, client.waiting = client.waiting, b""
            self.stuck.discard(client)
            if not client.closed:
                client.send(waiting)

    def _speak(self) -> None:
        """Answer pings before they are asked, and say that we are here, as presence does for real clients."""
        self._spoke = now()
        for client in [*self.clients.values()]:
            if client.live:
                client.send(PONG)
                client.say(b"\x01\x01\x00")

    def wait(self, until: Callable[[], bool], within: float) -> bool:
        """Go on until `until()` holds; False when it does not in time."""
        deadline = now() + within
        while not until():
            if now() > deadline:
                return False
            self.turn(0.002)
        return True


@dataclass
class Level:
    """What came of one rate of edits.

    Times are in milliseconds, rates per second.
    """

    rate: float
    sent: int = 0
    expected: int = 0
    missing: int = 0
    repeats: int = 0
    p50: float = float("inf")
    p99: float = float("inf")
    ack_p50: float | None = None
    ack_p99: float | None = None
    unacked: int = 0
    late_ms: float = 0.0
    """How far behind its schedule the generator was, at its 99th percentile."""
    cut_off: int = 0
    gave_up: bool = False
    cpu: float = 0.0
    """Of one core, by the server."""
    deliveries: float = 0.0
    reached: float = 0.0
    """Edits a second that were really sent."""
    arrived: float = 1.0
    """Which part of what was expected."""

    def passes(self, limit_ms: float = 100.0) -> bool:
        """Everything arrived (and was acknowledged), soon enough, and the generator kept its own schedule."""
        whole = self.missing == 0 and self.unacked == 0 and self.cut_off == 0 and not self.gave_up
        return whole and self.p99 < limit_ms and (self.ack_p99 or 0) < limit_ms and self.reached > 0.97 * self.rate


def percentile(weighted: Iterable[tuple[float, int]], part: float) -> float:
    """Of values with weights; infinite when there are none."""
    ordered = sorted(weighted)
    wanted = part * sum(weight for _, weight in ordered)
    for value, weight in ordered:
        wanted -= weight
        if wanted <= 0:
            return value
    return float("inf")


def run(
    pump: Pump, typists: Sequence[Client], rate: float, seconds: float, *, warm: float = 0.5, drain: float = 3.0,
    acks: bool = False, moves: bool = False, watch: Sequence[Client] | None = None,
    cpu: Callable[[], float] | None = None, midway: Callable[[], None] | None = None,
) -> Level:  # fmt: skip
    """Let the typists type, one after the other, so many edits a second, and count until everything has arrived.

    Args:
        rate: Edits per second, by all together.
        seconds: How long is measured, after `warm` seconds that count for delivery only.
        drain: Seconds after the last edit in which all must have arrived.
        acks: Whether acknowledgements are waited for, too.
        moves: Cursors instead of edits: then only the newest position has to arrive.
        watch: Who must receive; all clients by default.
        cpu: Seconds of CPU that the server has used until now.
        midway: Called when half of the edits are sent.
    """
    total = int(rate * (warm + seconds))
    queue = [typists[i % len(typists)] for i in range(total)]
    frames = [(c.author.move_frame() if moves else c.author.edit_frame()) for c in queue if c.author]
    watched = list(pump.clients.values()) if watch is None else list(watch)
    before = {client: (client.others, len(client.sent)) for client in watched}
    sent_before = {client: len(client.sent) for client in typists}
    acks_before = {client: client.acks for client in typists}
    pump.samples.clear()
    pump.ack_times.clear()
    pump.worst = 0.0
    pump.acked = 0
    level = Level(rate)
    late: list[float] = []
    turn = pump.turn
    began = now()
    measured = began + warm
    cpu_at = 0.0
    i = 0
    while i < total:
        time_now = now()
        due = min(int((time_now - began) * rate) + 1, total, i + 128)
        if due > i:
            late.append(time_now - began - i / rate)
            for at in range(i, due):
                client = queue[at]
                client.sent.append(now())
                client.send(frames[at])
            if midway is not None and i <= total // 2 < due:
                midway()
            i = due
        turn(0 if (i / rate - (now() - began)) < 0.0015 else 0.001)
        if cpu and not cpu_at and time_now >= measured:
            cpu_at, measured = cpu(), time_now
        if pump.worst > GIVE_UP_SECONDS or late[-1] > GIVE_UP_SECONDS:
            level.gave_up = True
            break
    ended = now()
    if cpu and ended > measured:
        level.cpu = (cpu() - cpu_at) / (ended - measured)
    per_room: dict[str, int] = {}
    for client in typists:
        per_room[client.room] = per_room.get(client.room, 0) + len(client.sent) - sent_before[client]
    wanted = {client: per_room.get(client.room, 0) - len(client.sent) + before[client][1] for client in watched}

    def complete() -> bool:
        if not all(client.others - before[client][0] >= wanted[client] for client in watched):
            return False
        return not acks or all(c.acks - acks_before[c] >= len(c.sent) - sent_before[c] for c in typists)

    if not level.gave_up:
        pump.wait(complete, 0.3 if moves else drain)
    got = {client: client.others - before[client][0] for client in watched}
    level.sent = i
    level.reached = i / max(ended - began, 1e-9) if i < total else i / max(ended - began, total / rate)
    level.expected = sum(wanted.values())
    level.missing = sum(max(0, wanted[client] - got[client]) for client in watched)
    level.repeats = sum(max(0, got[client] - wanted[client]) for client in watched)
    level.cut_off = sum(client.closed for client in watched)
    level.deliveries = sum(got.values()) / max(ended - began, 1e-9)
    latencies = [(latency * 1000, weight) for sent, latency, weight in pump.samples if sent >= began + warm]
    level.p50, level.p99 = percentile(latencies, 0.5), percentile(latencies, 0.99)
    if acks:
        times = [(seconds * 1000, weight) for seconds, weight in pump.ack_times]
        level.ack_p50, level.ack_p99 = percentile(times, 0.5), percentile(times, 0.99)
        level.unacked = sum(max(0, len(c.sent) - sent_before[c] - c.acks + acks_before[c]) for c in typists)
    level.late_ms = sorted(late)[int(len(late) * 0.99)] * 1000 if late else 0.0
    level.arrived = 1 - level.missing / max(level.expected, 1)
    if moves:
        level.missing = 0  # a newer one may take its place
    return level
