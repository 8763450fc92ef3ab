"""One connection does not hold up the others, whatever it sends; and nothing of it is lost by that."""

from __future__ import annotations

import asyncio
import time
from functools import partial

import pytest

from collab.transport.turns import CHAFF_AT_ONCE, CHAFF_BURST, CHAFF_PER_SECOND, PATIENCE_SECONDS, Chaff
from tests.support.carried import Host, Recorder, hosted
from tests.support.raw import PING, PONG, encode_frame
from tests.support.waiting import until

pytestmark = pytest.mark.anyio


@pytest.fixture
def host():
    return Host(fast=True)


def test_chaff_within_measure_costs_no_time():
    chaff = Chaff(0.0)
    for second in range(1, 1000):
        assert chaff.take(CHAFF_PER_SECOND, second * 1.0) == 0
        assert not chaff.too_long(second)


def test_too_much_is_waited_for_and_not_for_ever():
    chaff, now = Chaff(0.0), 0.0
    assert chaff.take(CHAFF_BURST, now) == 0
    while not chaff.too_long(now):
        wait = chaff.take(CHAFF_AT_ONCE, now)
        assert wait == pytest.approx(CHAFF_AT_ONCE / CHAFF_PER_SECOND)
        now += wait
        assert now < 2 * PATIENCE_SECONDS
    assert now > PATIENCE_SECONDS


def test_a_pause_is_forgiven():
    chaff = Chaff(0.0)
    assert chaff.take(2 * CHAFF_BURST, 0.0) > 0
    assert chaff.take(1, PATIENCE_SECONDS) == 0
    assert not chaff.too_long(2 * PATIENCE_SECONDS)


async def test_a_pause_counts_in_the_middle_of_a_read(host):
    """Paused at the first frame of a thousand: at most one turn of them still comes, the others when it goes on."""
    async with hosted(host):
        client, recorder = await host.open()
        recorder.on_frame = lambda frame: recorder.socket.pause()
        await client.send_bytes(b"".join(encode_frame(b"%04d" % number) for number in range(5000)))
        await until(lambda: recorder.frames, "the first")
        await asyncio.sleep(0.2)
        assert len(recorder.frames) < 500
        recorder.on_frame = lambda frame: None
        recorder.socket.resume()
        await until(lambda: len(recorder.frames) == 5000, "all of them")
        assert recorder.frames == [b"%04d" % number for number in range(5000)]
        client.fin()


async def test_pausing_and_going_on_at_every_frame_keeps_their_order(host):
    async with hosted(host):
        client, recorder = await host.open()

        def stutter(frame: bytes | str) -> None:
            recorder.socket.pause()
            recorder.socket.resume()

        recorder.on_frame = stutter
        sizes = [1, 125, 126, 4000, 5000, 70_000] * 40
        await client.send_bytes(b"".join(encode_frame(bytes([n % 256]) * size) for n, size in enumerate(sizes)))
        await until(lambda: len(recorder.frames) == len(sizes), "all of them", 20)
        assert recorder.frames == [bytes([n % 256]) * size for n, size in enumerate(sizes)]
        client.fin()


async def test_what_was_read_counts_though_the_client_is_gone(host):
    async with hosted(host):
        client, recorder = await host.open()
        slow = iter(range(10_000))

        def dawdle(frame: bytes | str) -> None:
            if next(slow) % 100 == 0:
                time.sleep(0.002)  # longer than a turn, so that a rest waits

        recorder.on_frame = dawdle
        await client.send_bytes(b"".join(encode_frame(b"%04d" % number) for number in range(5000)))
        client.fin()
        await until(lambda: recorder.ended, "its end", 20)
        assert recorder.frames == [b"%04d" % number for number in range(5000)]


@pytest.mark.parametrize("opcode", [PING, PONG, 0x2], ids=["pings", "pongs", "empty pieces"])
async def test_frames_that_say_nothing_are_read_slowly(host, opcode):
    """Others have their turn meanwhile."""
    async with hosted(host):
        client, recorder = await host.open()
        other, heard = await host.open()
        flood = encode_frame(b"", opcode=opcode, fin=opcode != 0x2)
        rest = encode_frame(b"", opcode=0, fin=False) if opcode == 0x2 else flood
        flooding = asyncio.create_task(client.send_bytes(flood + rest * 2_000_000))
        waits = []
        for number in range(100):
            began = time.perf_counter()
            await other.send(b"%d" % number)
            await until(partial(_heard, heard, number + 1), "the other's")
            waits.append(time.perf_counter() - began)
            await asyncio.sleep(0.005)
        assert sorted(waits)[90] < 0.1
        assert not flooding.done(), "TCP holds it back"
        flooding.cancel()
        recorder.socket.abort()
        client.fin()
        other.fin()


def _heard(recorder: Recorder, count: int) -> bool:
    return len(recorder.frames) == count


async def test_nothing_large_is_taken_of_whom_nobody_trusts(host):
    async with hosted(host):
        client, recorder = await host.open()
        recorder.on_frame = lambda frame: recorder.socket.distrust()
        frames = [b"small", b"x" * 50_000, b"small, too", b"y" * 9000]
        await client.send_bytes(b"".join(map(encode_frame, frames)))
        await until(lambda: recorder.sizes, "the large one is noticed")
        assert recorder.frames == [b"small"] and recorder.sizes == [50_000]
        client.fin()
