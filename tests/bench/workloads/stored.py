"""W7: rooms that are opened from the store: after kill -9 with a long log, compacted, and large."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from tests.support.raw import var_bytes

from ..client import Broken, Client, now
from ..documents import patchwork
from ..load import Level, percentile, run
from ..plan import Figures, Plan, attempt
from ..pump import Pump
from ..servers import Kind, Running
from ..wire import HOCUSPOCUS, frame

NEVER_COMPACT = {"COLLAB_STORE__CHECKPOINT_ROWS": "1000000000", "COLLAB_STORE__CHECKPOINT_BYTES": str(1 << 40)}
"""So that the log really is uncompacted when it is read."""
UNLIMITED = {
    "COLLAB_LIMITS__MESSAGES_PER_SECOND": "1000000",
    "COLLAB_LIMITS__MESSAGES_BURST": "1000000",
    "COLLAB_LIMITS__BYTES_PER_SECOND": str(1 << 30),
}
"""Only while the log is filled, by a few clients in a minute."""
TYPISTS = 20
WINDOW = 2_000
"""Edits on their way while the log is filled."""


def write_log(pump: Pump, clients: list[Client], rows: int) -> None:
    """So many edits, each acknowledged: each is a row of the log."""
    before = sum(client.acks for client in clients)
    for number in range(rows):
        client = clients[number % len(clients)]
        client.sent.append(now())
        assert client.author is not None
        client.send(client.author.edit_frame())
        if number % 100 == 0:
            pump.turn(0)
            while number - (sum(c.acks for c in clients) - before) > WINDOW:
                pump.turn(0.005)
    if not pump.wait(lambda: sum(client.acks for client in clients) - before >= rows, 60):
        raise Broken("not all edits were acknowledged")


def copy_store(source: Running, folder: Path) -> Path:
    """The files of the store as they lie there, into another folder."""
    for name in ("rooms.sqlite3", "rooms.sqlite3-wal"):
        if (source.server.folder / name).exists():
            shutil.copy(source.server.folder / name, folder)
    return folder / "rooms.sqlite3"


def rows_of(source: Running, room: str) -> int:
    """How many rows the log of a room has; looked up in a copy, since whoever opens a database may change it."""
    with tempfile.TemporaryDirectory() as folder, closing(sqlite3.connect(copy_store(source, Path(folder)))) as db:
        query = "SELECT count(*) FROM log WHERE room_id = (SELECT id FROM rooms WHERE name = ?)"
        return int(db.execute(query, [room]).fetchone()[0])


def opened(server: Running, room: str) -> float:
    """Seconds until a newcomer has the whole of a room that is not in memory."""
    with server.pump() as pump:
        (reader,) = server.clients(pump, [room], typing=0)
        return pump.join([reader], within=60)


def opened_beside(plan: Plan, kind: Kind, server: Running, room: str) -> Figures:
    """The same while 20 rooms of two type 1,000 edits a second; and what these noticed."""
    with server.pump() as pump:
        clients = server.clients(pump, [f"other-{number}" for number in range(20) for _ in range(2)])
        pump.join(clients)
        idle = attempt(plan, "W7 other rooms alone,", kind, lambda rate: run(pump, clients, rate, 2.0), 1_000)
        (reader,) = server.clients(pump, [room], typing=0)
        began = 0.0

        def enter() -> None:
            nonlocal began
            began = now()
            pump.enter(reader)

        def level(rate: float) -> Level:
            return run(pump, clients, rate, 2.0, midway=enter, drain=10, watch=clients)

        meanwhile = attempt(plan, "W7 other rooms meanwhile,", kind, level, 1_000)
        if not pump.wait(lambda: reader.first_sync > 0, 30) or idle is None or meanwhile is None:
            raise Broken(f"{room} was not opened")
        during = [
            (latency * 1000, weight)
            for sent, latency, weight in pump.samples
            if began - 0.02 <= sent <= max(reader.first_sync, began + 0.1)
        ]
        p99 = percentile(during, 0.99)
        return {
            "open_s": reader.first_sync - began, "others_idle_p99_ms": idle.p99, "others_meanwhile_p99_ms": p99,
            "others_ratio": p99 / idle.p99,
        }  # fmt: skip


def compact(server: Running) -> None:
    """`collab compact`, with the server stopped."""
    command = [sys.executable, "-m", "collab", "compact", "--store", server.server.store]
    subprocess.run(command, check=True, capture_output=True, cwd=server.server.folder)


def w7(plan: Plan, kind: Kind) -> Figures:
    """100,000 uncompacted rows after kill -9; the same compacted; and a state of 10 MB."""
    rows, size = (10_000, 1_000_000) if plan.quick else (100_000, 10_000_000)
    with plan.running(kind, {**NEVER_COMPACT, **UNLIMITED}) as source:
        plan.say(f"W7 {kind.name}: writing {rows:,} rows and a state of {size:,} bytes")
        with source.pump() as pump:
            clients = source.clients(pump, ["long"] * TYPISTS, dialect=HOCUSPOCUS)
            pump.join(clients)
            write_log(pump, clients, rows)
            (writer,) = source.clients(pump, ["large"], dialect=HOCUSPOCUS, first=TYPISTS)
            pump.join([writer])
            writer.sent.append(now())
            writer.send(frame(writer.address + b"\x00\x02" + var_bytes(patchwork(size)[0])))
            if not pump.wait(lambda: writer.acks > 0, 60):
                raise Broken("the large state was not acknowledged")
            source.server.kill()
        found = rows_of(source, "long")
        plan.say(f"W7 {kind.name}: killed with {found:,} rows in the log")

        def measure() -> Figures:
            server = plan.running(kind)
            copy_store(source, server.server.folder)
            with server:
                figures = {"rows": float(found), **opened_beside(plan, kind, server, "long")}
                stop(server)
                compact(server)
                server.start()
                figures["compacted_open_s"] = opened(server, "long")
                figures["large_open_s"] = opened(server, "large")
                return figures

        return plan.repeat("W7", kind, measure)


def stop(server: Running) -> None:
    """In order."""
    server.server.terminate()
    server.server.wait()
