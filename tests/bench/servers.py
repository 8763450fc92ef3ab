"""The servers that are measured, each a process of its own on a core of its own."""

from __future__ import annotations

import functools
import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jwt

from tests.support.server import Server

from .client import Client
from .pump import Pump
from .wire import HOCUSPOCUS, Author, Dialect, Y

PEERS = Path(__file__).parent / "peers"
NODE = PEERS / "node_modules" / "node" / "bin" / "node"
SECRET = "only for measuring, on this machine alone"
TICKS = os.sysconf("SC_CLK_TCK")


@functools.cache  # from before the load generator pins itself to one
def cores() -> tuple[int, int]:
    """The server's and the load generator's; the same where there is only one."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[0], allowed[-1]


@functools.cache
def token(number: int) -> str:
    """Writes everywhere; nobody has more than 50 connections."""
    seconds = int(time.time())
    claims = {"sub": f"user-{number // 50}", "iat": seconds, "exp": seconds + 86_400, "rooms": {"*": "write"}}
    return jwt.encode(claims, SECRET, algorithm="HS256")


@dataclass(frozen=True)
class Kind:
    """One kind of server.

    Attributes:
        name: What it is called in options and tables.
        title: What it is called where there is room.
        dialect: What its clients speak, where a workload does not say otherwise.
        command: What starts it, `{port}` and `{folder}` to be filled in.
        needs: What must be there to start it.
        known: Edits per second at which the search for the limit begins, per workload.
    """

    name: str
    title: str
    dialect: Dialect
    command: tuple[str, ...]
    known: dict[str, float]
    needs: Path | None = None

    @property
    def ours(self) -> bool:
        return self.name == "ours"

    def missing(self) -> str | None:
        """Why it cannot be started."""
        if self.needs is not None and not self.needs.exists():
            return f"{self.name} is not installed (make bench does it)"
        return None


PYTHON = sys.executable
KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            "ours", "collab (SQLite, durable acks, JWT)", Y,
            (PYTHON, "-m", "collab", "serve", "--host", "127.0.0.1", "--port", "{port}", "--store",
             "sqlite:///{folder}/rooms.sqlite3"),
            {"W1": 4_000, "W2": 12_000, "W2b": 12_000, "W6": 8_000},
        ),
        Kind(
            "hocuspocus", "Hocuspocus 4.7", HOCUSPOCUS, (str(NODE), str(PEERS / "hocuspocus.mjs"), "{port}"),
            {"W1": 3_000, "W2": 8_000, "W2b": 8_000, "W6": 8_000}, NODE,
        ),
        Kind(
            "hocuspocus-sqlite", "Hocuspocus 4.7 with SQLite", HOCUSPOCUS,
            (str(NODE), str(PEERS / "hocuspocus.mjs"), "{port}", "{folder}/documents.sqlite3"),
            {"W1": 3_000, "W2": 8_000, "W2b": 8_000, "W6": 8_000},
            PEERS / "node_modules" / "better-sqlite3" / "build" / "Release" / "better_sqlite3.node",
        ),
        Kind(
            "y-websocket", "y-websocket 2.1", Y,
            (str(NODE), str(PEERS / "node_modules" / "y-websocket" / "bin" / "server.cjs")),
            {"W1": 600, "W2": 8_000, "W2b": 8_000}, PEERS / "node_modules" / "y-websocket" / "bin" / "server.cjs",
        ),
        Kind(
            "pycrdt-websocket", "pycrdt-websocket 0.16 on hypercorn", Y,
            (PYTHON, str(PEERS / "pycrdt_websocket.py"), "{port}"),
            {"W1": 100, "W2": 2_000, "W2b": 2_000},
        ),
        Kind(
            "fanout", "the generator's own limit (picows, no CRDT)", Y, (PYTHON, str(PEERS / "fanout.py"), "{port}"),
            {"W1": 12_000, "W2": 40_000, "W2b": 40_000},
        ),
    )
}  # fmt: skip


class Running:
    """A server that runs, with its folder; `with Running(kind) as server`.

    Args:
        env: More of its environment.
        started: Called with its process id.
    """

    def __init__(
        self, kind: Kind, env: dict[str, str | None] | None = None, started: Callable[[int], None] | None = None
    ) -> None:
        self.kind = kind
        self._started = started
        core, _ = cores()
        pin = ["taskset", "-c", str(core)] if shutil.which("taskset") else []
        settings: dict[str, str | None] = {"NODE_ENV": "production", "HOST": "127.0.0.1"}
        if kind.ours:
            settings["COLLAB_AUTH__JWT_SECRET"] = SECRET
        self.server = Server(health="/ready" if kind.ours else None, env={**settings, **(env or {})})
        self.server.env.setdefault("PORT", str(self.server.port))
        folder = str(self.server.folder)
        self.server._command = [*pin, *(part.replace("{folder}", folder) for part in kind.command)]
        self._clients = 0

    def __enter__(self) -> Running:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.close()

    def start(self) -> None:
        self.server.start()
        if self._started:
            self._started(self.server.pid)

    def pump(self) -> Pump:
        return Pump(self.server.host, self.server.port)

    def clients(
        self, pump: Pump, rooms: list[str], *, typing: int | None = None, dialect: Dialect | None = None, pad: int = 0,
        first: int = 0,
    ) -> list[Client]:  # fmt: skip
        """One client for each of `rooms` (which repeat), the first `typing` of them with something to say.

        Args:
            pad: Characters more in every edit.
            first: Number of the first author, when there are some already.
        """
        spoken = dialect or self.kind.dialect
        made = []
        for number, room in enumerate(rooms):
            author = Author(first + number, spoken.address(room), pad) if typing is None or number < typing else None
            shown = token(number) if self.kind.ours else ""
            made.append(Client(pump, room, spoken, shown, author))
        return made

    def cpu(self) -> float:
        """Seconds of CPU that it has used."""
        fields = Path(f"/proc/{self.server.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def memory(self) -> int:
        """Bytes that are resident."""
        pages = int(Path(f"/proc/{self.server.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
