"""People come, type, move their cursors and go, for a long time: what grows all the while is a leak.

But for the documents: what was typed and deleted stays in a CRDT as a tombstone. What they take is measured on
documents that are built of the same rows and held by nobody else.

`make soak` takes an hour, or what SOAK_SECONDS says, and leaves its samples in build/soak.csv.
"""

from __future__ import annotations

import asyncio
import csv
import ctypes
import os
import random
import socket
import sqlite3
import struct
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import psutil
import pytest
from pycrdt import Doc, Text

from tests.support.raw import Peer
from tests.support.server import REPO, Server
from tests.support.waiting import until

pytestmark = [pytest.mark.anyio, pytest.mark.drill, pytest.mark.timeout(8_000)]

PEOPLE, ROOMS = 30, 20
SAMPLES = 120


@dataclass(frozen=True)
class Sample:
    """What the server has at one moment."""

    seconds: float
    edits: int
    resident_mb: float
    descriptors: int
    tasks: float
    store_mb: float
    connections: float


def sample(server: Server, began: float, edits: int = 0) -> Sample:
    process, metrics = psutil.Process(server.pid), server.metrics()
    file = server.folder / "rooms.sqlite3"
    store = file.stat().st_size + file.with_name("rooms.sqlite3-wal").stat().st_size
    return Sample(
        time.monotonic() - began,
        edits,
        process.memory_info().rss / 1e6,
        process.num_fds(),
        metrics.get("collab_tasks"),
        store / 1e6,
        metrics.get("collab_connections"),
    )


def slope(samples: Sequence[Sample], name: str) -> float:
    """By how much it grows in an hour: least squares."""
    points = [(one.seconds / 3600, getattr(one, name)) for one in samples]
    middle = sum(x for x, _ in points) / len(points)
    spread = sum((x - middle) ** 2 for x, _ in points)
    return sum((x - middle) * y for x, y in points) / spread


class Person:
    """Somebody who has been in each room before, most of the time."""

    def __init__(self, number: int, server: Server) -> None:
        self._dice = random.Random(number)
        self._server = server
        self._docs: dict[str, Doc] = {}
        self.visits = self.edits = 0

    async def live(self, until_then: float) -> None:
        dice = self._dice
        while time.monotonic() < until_then:
            room = f"room {dice.randrange(ROOMS)}"
            doc = self._docs.setdefault(room, Doc())
            peer = await Peer.open(self._server.url, room, doc=doc)
            self.visits += 1
            try:
                await asyncio.wait_for(peer.synced.wait(), 20)
                for _ in range(dice.randrange(10)):
                    self.edits += 1
                    await peer.show(doc.client_id, self.edits, {"cursor": dice.random()})
                    await peer.write(dice.choice(("word ", "another one ", "x")))
                    await asyncio.sleep(dice.random() / 10)
                if len(peer.text()) > 2_000:
                    await peer.edit(lambda doc: doc.get("text", type=Text).clear())
            except OSError:
                raise AssertionError(f"cut off: {peer.ended}") from None
            finally:
                if dice.random() < 0.2 and peer.raw is not None:
                    peer.raw.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # it resets
                await peer.leave()


class _MallInfo(ctypes.Structure):
    """mallinfo2(3), glibc 2.33 and later: bytes in arenas, ..., in mappings of their own, ..., in use, ..."""

    _fields_ = [(f"field{number}", ctypes.c_size_t) for number in range(10)]


def in_use() -> int:
    """Bytes that this process has allocated outside Python and not given back."""
    info = ctypes.CDLL(None).mallinfo2
    info.restype = _MallInfo
    found = info()
    return int(found.field4 + found.field7)


def documents(log: Path) -> tuple[float, int]:
    """MB of memory that the documents of all rooms take, built as they came about; and of how many rows."""
    with closing(sqlite3.connect(log)) as db:
        rows = db.execute('SELECT room_id, "update" FROM log ORDER BY room_id, seq').fetchall()
    docs: dict[int, Doc] = defaultdict(Doc)
    before = in_use()
    for room, update in rows:
        docs[room].apply_update(update)
    return (in_use() - before) / 1e6, len(rows)


async def test_people_come_and_go(full, figure):
    seconds = float(os.environ.get("SOAK_SECONDS", 3600)) if full else 10.0
    with Server() as server:
        people = [Person(number, server) for number in range(PEOPLE)]
        began = time.monotonic()
        before = sample(server, began)
        lives = [asyncio.create_task(person.live(began + seconds)) for person in people]
        samples: list[Sample] = []
        while time.monotonic() < began + seconds:
            await asyncio.sleep(seconds / SAMPLES)
            samples.append(await asyncio.to_thread(sample, server, began, sum(person.edits for person in people)))
        await asyncio.gather(*lives)
        process = psutil.Process(server.pid)  # asking over HTTP would itself keep files open for some seconds
        await until(
            lambda: process.num_fds() <= before.descriptors + 1, lambda: f"{process.num_fds()} files", within=60
        )
        after = sample(server, began)
        assert after.connections == 0 and after.tasks <= before.tasks + 8
        assert not server.complaints()
        server.terminate()
        await server.exited()  # and its store is one file
        taken, rows = await asyncio.to_thread(documents, server.folder / "rooms.sqlite3")
    if full:
        file = REPO / "build" / "soak.csv"
        file.parent.mkdir(exist_ok=True)
        with file.open("w", newline="") as out:
            csv.writer(out).writerows([[one.name for one in fields(Sample)], *map(astuple, samples)])
    late = samples[len(samples) // 3 :]  # until then it still makes room for as many as there are
    grows = {name: slope(late, name) for name in ("resident_mb", "edits", "descriptors", "tasks", "store_mb")}
    visits, edits = (sum(getattr(person, name) for person in people) for name in ("visits", "edits"))
    edit = taken / rows  # of an edit, in MB
    rest = grows["resident_mb"] - edit * grows["edits"]
    rates = ", ".join(f"{name} {value:+.1f}" for name, value in grows.items())
    figure(
        f"{seconds:.0f} s, {visits:,} visits of {PEOPLE} people in {ROOMS} rooms, {edits:,} edits; before and after: "
        f"{before.resident_mb:.0f} and {after.resident_mb:.0f} MB, {before.descriptors} and {after.descriptors} files, "
        f"{before.tasks:.0f} and {after.tasks:.0f} tasks; while they come and go, an hour adds: {rates}; "
        f"the documents take {taken:.1f} MB, {edit * 1e6:.0f} bytes an edit, so what is not theirs grows by "
        f"{rest:+.1f} MB an hour"
    )
    assert visits > PEOPLE and edits > PEOPLE
    if seconds >= 600:
        assert rest < 40 and abs(grows["descriptors"]) < 20 and abs(grows["tasks"]) < 20
