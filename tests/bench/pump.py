"""The load generator: one thread, one epoll, raw sockets.

Latency is taken once a read, of the first edit of somebody else in it, and stands for all the edits of that read. The
first is the oldest of its author, so where several came together it errs against servers.
"""

from __future__ import annotations

import contextlib
import resource
import select
from collections.abc import Callable, Sequence

from .client import CARRY, Client, ShutOut, now
from .wire import MARK, PONG

READ_BYTES = 1 << 18


def more_files() -> None:
    """As many sockets as the system lets us have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


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
            ShutOut: One did not in time, or was refused.
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
                raise ShutOut(f"{len(self.to_sync)} of {len(clients)} clients not synchronised within {within:g} s")
            if any(client.closed for client in clients):
                raise ShutOut("a client was cut off while it joined")
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
