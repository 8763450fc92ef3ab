"""An acknowledgement means "this is in the store": no moment earlier, and once for each update."""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from pycrdt import Doc, Map

from tests.support.door import Door
from tests.support.raw import Raw, update, var_bytes
from tests.support.raw.hocuspocus import Attached, step2
from tests.support.server import Metrics
from tests.support.waiting import until

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(3600)]


@pytest.fixture
def server() -> Iterator[Door]:
    with Door() as running:
        yield running
        assert not running.complaints()


# ------------------------------------------------------------------------------------------------- kill -9 at the ack


class Rounds:
    """People who write as fast as they are acknowledged, and a server that is killed at the nth acknowledgement."""

    WRITERS = 6

    def __init__(self, server: Door, seed: int) -> None:
        self.server = server
        self.dice = random.Random(seed)
        self.acknowledged: dict[str, set[str]] = {}
        self.sent = 0

    def child(self) -> int:
        """The newest process of the server."""
        return int(re.findall(r"child (\d+)", self.server.stdout_path.read_text())[-1])

    async def one(self, room: str, turn: int) -> None:
        """One round; notes what was acknowledged in it."""
        writers = [await self._in(room) for _ in range(self.WRITERS)]
        child, left, dead = self.child(), self.dice.randint(1, 4 * self.WRITERS), False
        acknowledged = self.acknowledged.setdefault(room, set())

        async def write(number: int, writer: Attached) -> None:
            nonlocal left, dead
            for count in range(1_000):
                key = f"{turn}-{number}-{count}"

                def saved(key: str = key) -> None:
                    nonlocal left, dead
                    acknowledged.add(key)
                    left -= 1
                    if left == 0 and not dead:
                        dead = True
                        os.kill(child, signal.SIGKILL)

                writer.on_saved = saved
                try:
                    self.sent += 1
                    await writer.write(key)
                    while writer.unsynced and await writer.read() is not None:
                        pass
                except OSError:
                    return
                if writer.unsynced:
                    return

        await asyncio.gather(*(write(number, writer) for number, writer in enumerate(writers)))
        assert dead, "the server ended by itself"
        for writer in writers:
            writer.raw.fin()
        await until(lambda: self.child() != child, "a new server", 20)

    async def _in(self, room: str) -> Attached:
        deadline = time.monotonic() + 20
        while True:
            try:
                writer = await Attached.open(self.server.url, room)
                break
            except OSError:
                assert time.monotonic() < deadline, "no server"
                await asyncio.sleep(0.005)
        await writer.saved(20)
        return writer

    async def missing(self, room: str) -> set[str]:
        """What was acknowledged and is not there: asked of a client that has nothing."""
        async with await self._in(room) as reader:
            return self.acknowledged[room] - set(reader.map.keys())


async def test_killed_the_moment_an_acknowledgement_arrives(full, figure):
    """Whatever was acknowledged is there in the next server, each time."""
    rounds = int(os.environ.get("KILL_ROUNDS", "1000" if full else "50"))
    with Door(again=True, env={"COLLAB_LOG__LEVEL": "warning"}) as server:
        loop = Rounds(server, int(os.environ.get("KILL_SEED", "1")))
        lost = 0
        for number in range(rounds):
            room = f"room {number // 10}"  # one store, and rooms that are killed up to ten times
            await loop.one(room, number)
            lost += len(await loop.missing(room))
        for room in loop.acknowledged:
            lost += len(await loop.missing(room))
        acknowledged = sum(map(len, loop.acknowledged.values()))
        figure(
            f"{rounds} x kill -9 at an acknowledgement: lost {lost} of {acknowledged} acknowledged, {loop.sent} sent"
        )
        assert lost == 0
        assert acknowledged >= rounds
        assert loop.sent > acknowledged, "nothing was cut short"


async def test_a_server_that_acknowledges_too_early_is_noticed(figure):
    """The test of the test: a store that says "committed" and commits a moment later."""
    with Door(again=True, env={"COLLAB_LOG__LEVEL": "warning"}) as server:
        server.store_lies()
        loop, lost, rounds = Rounds(server, 1), 0, 0
        while not lost and rounds < 10:
            await loop.one("room", rounds)
            rounds += 1
            lost += len(await loop.missing("room"))
    figure(f"with a store that lies: {lost} of {sum(map(len, loop.acknowledged.values()))} lost in {rounds} rounds")
    assert lost > 0


# ------------------------------------------------------------------------------------------------- how long it takes


def quantile(buckets: list[tuple[float, float]], share: float) -> tuple[float, float]:
    """Between which bounds of a histogram (upper bound, cumulative count) the quantile lies."""
    wanted = share * buckets[-1][1]
    lower = 0.0
    for upper, count in buckets:
        if count >= wanted:
            return lower, upper
        lower = upper
    raise AssertionError("unreachable")


def histogram(metrics: Metrics) -> list[tuple[float, float]]:
    return [(float(s.labels["le"]), s.value) for s in metrics.samples if s.name == "collab_ack_seconds_bucket"]


async def test_how_long_an_acknowledgement_takes(server, full, figure):
    """50 writers in 5 rooms, two edits a second each, SQLite on disk; the metric says the same as the clients."""
    seconds = 30 if full else 6
    writers = [await Attached.open(server.url, f"room {number % 5}") for number in range(50)]
    for writer in writers:
        await writer.saved()
    before = server.metrics()
    times: list[float] = []
    dice = random.Random(1)

    async def write(number: int, writer: Attached) -> None:
        end = time.monotonic() + seconds
        await writer.quiet(dice.random() / 2)
        count = 0
        while time.monotonic() < end:
            count += 1
            began = time.monotonic()
            writer.on_saved = lambda began=began: times.append(time.monotonic() - began)
            await writer.write(f"{number}-{count}")
            await writer.saved()
            await writer.quiet(max(0.001, 0.5 - (time.monotonic() - began)))

    await asyncio.gather(*(write(number, writer) for number, writer in enumerate(writers)))
    after = server.metrics()
    counted = after.get("collab_ack_seconds_count") - before.get("collab_ack_seconds_count")
    total = after.get("collab_ack_seconds_sum") - before.get("collab_ack_seconds_sum")
    buckets = [(le, now - then) for (le, now), (_, then) in zip(histogram(after), histogram(before), strict=True)]
    times.sort()
    median, late = times[len(times) // 2], times[int(len(times) * 0.99)]
    half, most = quantile(buckets, 0.5), quantile(buckets, 0.99)
    figure(
        f"{len(times)} acknowledgements, 50 writers, SQLite: p50 {1000 * median:.1f} ms, p99 {1000 * late:.1f} ms; "
        f"collab_ack_seconds: p50 in {1000 * half[0]:g} to {1000 * half[1]:g} ms, p99 in {1000 * most[0]:g} to "
        f"{1000 * most[1]:g} ms, mean {1000 * total / counted:.1f} ms"
    )
    assert len(times) == counted >= 50 * seconds
    # The way there and back comes on top of what the server measures.
    assert half[0] <= median and most[0] <= late
    assert total / counted <= sum(times) / len(times) <= total / counted + 0.25
    assert all(later[1] >= earlier[1] for earlier, later in pairwise(buckets))


# ------------------------------------------------------------------------------------------------------- the ack rule


async def test_nothing_is_acknowledged_while_the_store_fails(server):
    async with await Attached.open(server.url, "room") as one, await Attached.open(server.url, "room") as other:
        await one.saved()
        await other.saved()
        server.store_fails()
        await one.write("a")
        await other.until(lambda: "a" in other.map)  # others see it all the same
        await one.quiet(1.5)
        assert one.unsynced == 1
        await one.write("b")
        await one.quiet(0.5)
        assert one.unsynced == 2
        server.store_works()
        await one.saved(20)
        await one.quiet(0.5)
        assert one.unsynced == 0 and one.kinds("saved") == 3


async def test_an_update_in_a_gap_is_acknowledged_when_it_is_filled(server):
    """And each of the two exactly once."""
    async with await Attached.open(server.url, "room") as one, await Attached.open(server.url, "room") as other:
        await one.saved()
        await other.saved()
        first = one.edit("a")
        second = one.edit("b")
        # The room asks for what it lacks; this client keeps silent until it is told to fill the gap.
        one.answers = False
        await one.send(second)
        await one.until(lambda: one.kinds("step1") >= 2)
        await one.quiet(1.5)
        assert one.unsynced == 1 and "b" not in other.map
        one.said.clear()
        await one.send(first)
        await one.saved()
        await other.until(lambda: {"a", "b"} <= set(other.map.keys()))
        await one.quiet(1)
        assert one.unsynced == 0 and one.kinds("saved") == 2


async def test_the_answer_to_the_rooms_own_question_is_not_acknowledged(server):
    """It settles the update that was waiting; a provider counts one for that, and none for the answer."""
    async with await Attached.open(server.url, "room") as one:
        await one.saved()
        one.said.clear()
        one.edit("a")
        await one.write("b")  # the first is missing: the room asks, and gets both
        await one.saved()
        await one.quiet(1.5)
        assert one.unsynced == 0
        assert one.kinds("step1") >= 1 and one.kinds("saved") == 1


async def test_exactly_one_acknowledgement_for_each_update(server):
    """Bursts, empty updates, the same one again, and answers that nobody asked for."""
    async with await Attached.open(server.url, "room") as one:
        await one.saved()
        one.said.clear()
        contents = [one.edit(f"{number}") for number in range(200)]
        for content in contents:
            await one.send(content)
        await one.saved()
        for content in (*contents[:20], b"\x00\x00"):
            await one.send(content)
        await one.saved()
        one.unsynced += 1
        await one.raw.send(step2("room", contents[0]))
        await one.saved()
        await one.quiet(1)
        assert one.unsynced == 0 and one.kinds("saved") == 200 + 20 + 1 + 1


# ----------------------------------------------------------------------------------------------- y-sweet's question


async def test_the_echo_comes_after_the_commit(server, figure):
    """Type 102 on y-websocket: the same bytes, once all that was sent before is in the store."""
    doc: Doc[Any] = Doc()
    made: list[bytes] = []
    doc.observe(lambda event: made.append(event.update))
    words = bytes(range(256)) * 3
    async with await Raw.open(server.url, room="room") as raw:

        async def echo(seconds: float) -> bytes | None:
            """The next echo, None when there is none in so many seconds."""
            deadline = time.monotonic() + seconds
            while (left := deadline - time.monotonic()) > 0:
                try:
                    frame = await raw.recv(left)
                except TimeoutError:
                    return None
                assert frame is not None, raw.ended
                if frame[:1] == b"\x66":
                    return frame
            return None

        async def type_and_ask(key: str, question: bytes) -> None:
            doc.get("map", type=Map)[key] = 1
            await raw.send_many([update(made[-1]), b"\x66" + var_bytes(question)])

        await raw.send(b"\x66" + var_bytes(words))  # nothing was sent before
        assert await echo(5) == b"\x66" + var_bytes(words)
        await type_and_ask("a", words)
        assert await echo(5) == b"\x66" + var_bytes(words)
        server.store_takes(1)
        began = time.monotonic()
        await type_and_ask("b", b"slow")
        assert await echo(5) == b"\x66\x04slow"
        took = time.monotonic() - began
        server.store_takes(0)
        server.store_fails()
        await type_and_ask("c", b"")
        await type_and_ask("d", b"twice")
        assert await echo(2) is None
        server.store_works()
        assert await echo(20) == b"\x66\x00"
        assert await echo(5) == b"\x66\x05twice"
        assert await echo(0.5) is None
    figure(f"y-sweet's echo with a store that takes 1 s: after {took:.2f} s; none in 2 s while the store failed")
    assert took >= 1
