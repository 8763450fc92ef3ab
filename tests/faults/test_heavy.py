"""Little to send that would be much to do, or to keep. Measured in work, which a busy machine does not change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from collab.wire.lib0 import var_bytes, var_uint
from tests.support.raw import Raw, sync1, update
from tests.support.server import Server

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

MiB = 1 << 20
AUTHOR = 5


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(env={"COLLAB_LOG__LEVEL": "error", "COLLAB_LIMITS__BYTES_PER_SECOND": "100MiB"}) as running:
        yield running


@asynccontextmanager
async def somebody(server: Server, room: str) -> AsyncIterator[Raw]:
    async with await Raw.open(server.url, room=room, within=60) as raw:
        await raw.send(sync1())
        await raw.expect("sync2")
        yield raw


async def taken_in(raw: Raw) -> None:
    """All that was sent has been taken in, or was the end."""
    await raw.send(sync1())  # is answered when all before it is in the document
    while (frame := await raw.recv(60)) is not None and frame[:2] != b"\x00\x01":
        pass


def text(length: int) -> bytes:
    return b"\x01\x01" + var_uint(AUTHOR) + b"\x00\x04\x01\x01t" + var_bytes(b"x" * length) + b"\x00"


def letter(clock: int) -> bytes:
    """One more, behind the last."""
    place = var_uint(AUTHOR) + var_uint(clock - 1)
    return b"\x01\x01" + var_uint(AUTHOR) + var_uint(clock) + b"\x84" + place + b"\x01y\x00"


def deletions(client: int, ranges: list[int]) -> bytes:
    """Of one clock each."""
    return b"\x00\x01" + var_uint(client) + var_uint(len(ranges)) + b"".join(var_uint(at) + b"\x01" for at in ranges)


async def test_letters_beside_updates_that_wait_for_them(server, figure):
    """Each deletes what is there, often, and then what comes only letter by letter."""
    there, letters = 20_000, 100
    async with somebody(server, "waiting") as raw:
        await raw.send(update(text(there)))
        ranges = [0] * there + [there + later for later in range(1_000)]
        for _ in range(100):
            await raw.send(update(deletions(AUTHOR, ranges)))
        await taken_in(raw)
        before = server.cpu()
        await raw.send_many([update(letter(there + nth)) for nth in range(letters)])
        await taken_in(raw)
        spent = server.cpu() - before
    figure(f"heavy: {letters} letters beside 100 updates of {there} ranges that wait for them: {spent:.2f} s of work")
    assert spent < 0.5


async def test_what_waits_is_small_and_goes_with_its_sender(server, figure):
    """Two bytes for each range on the way here, a hundred for each that is kept."""
    waits = deletions(77, [0] * 500_000)
    for _ in range(2):  # what the server needs to read such updates at all, it has by then
        async with somebody(server, "warm") as raw:
            await raw.send(update(waits))
            await taken_in(raw)
    before = server.rss()
    for room in range(6):
        async with somebody(server, f"left behind {room}") as raw:
            await raw.send(update(waits))
            await taken_in(raw)
    await asyncio.sleep(0.5)
    grown = server.rss() - before
    figure(f"heavy: 6 times {len(waits) / MiB:.1f} MiB that wait for what never comes: {grown / MiB:.0f} MiB more")
    assert grown < 100 * MiB


async def patchwork(raw: Raw, count: int) -> None:
    """A document of so many structs that are not to be joined."""
    pieces, clock = 10_000, 0
    while clock < count:
        structs = b""
        for at in range(clock, clock + pieces):
            place = var_uint(AUTHOR) + var_uint(at - 1) if at else b"\x01\x01t"
            structs += (b"\x84" if at else b"\x04") + place + b"\x01a" if at % 2 == 0 else b"\x85" + place + b"\x011"
        await raw.send(update(b"\x01" + var_uint(pieces) + var_uint(AUTHOR) + var_uint(clock) + structs + b"\x00"))
        clock += pieces
    await taken_in(raw)


async def test_twelve_bytes_beside_a_large_document(server, figure):
    """The second letter would be hung onto a value of a key: what is there already, says the document."""
    async with somebody(server, "beside") as raw:
        await patchwork(raw, 100_000)
        await raw.send(update(b"\x01\x01\x06\x00\x28\x01\x01m\x01k\x01\x78\x00"))
        await taken_in(raw)
    attack = update(b"\x01\x01\x06\x00\x04\x01\x01z\x02ab\x00")
    spent = 0.0
    for _ in range(5):
        async with await Raw.open(server.url, room="beside", within=60) as raw:
            before = server.cpu()
            await raw.send(attack)
            while await raw.recv(60) is not None:
                pass
            assert raw.ended is not None and raw.ended.code == 4400
            spent += server.cpu() - before
    figure(f"heavy: 5 times {len(attack)} bytes beside a document of 100,000 structs: {spent:.2f} s of work")
    assert spent < 0.2


async def test_types_in_types_beside_a_large_document(server, figure):
    """Half as deep as they may be, in one that is there since long."""
    number, half, rounds = var_uint, 250, 5
    async with somebody(server, "nested") as raw:
        await patchwork(raw, 100_000)
        deep = b"".join(b"\x07\x00\x06" + number(clock) + b"\x00" for clock in range(half - 1))
        await raw.send(update(b"\x01" + number(half) + b"\x06\x00\x07\x01\x01n\x00" + deep + b"\x00"))
        await raw.send(update(b"\x01\x01\x07\x00\x07\x01\x01p\x00\x00"))
        others = b"\x07\x01\x01q\x00" * 10_001
        await raw.send(update(b"\x01" + number(10_001) + b"\x08\x00" + others + b"\x00"))
        await taken_in(raw)
        before, clock = server.cpu(), 1
        for _ in range(rounds):
            chain = b"".join(b"\x07\x00\x07" + number(at) + b"\x00" for at in range(clock, clock + half))
            structs = b"\x07\x00\x07\x00\x00" + chain
            await raw.send(update(b"\x01" + number(half + 1) + b"\x07" + number(clock) + structs + b"\x00"))
            clock += half + 1
        await raw.send(b"\x66\x04done")
        while await raw.recv(60) != b"\x66\x04done":
            assert raw.ended is None
        spent = server.cpu() - before
    figure(f"heavy: {rounds} times {half} types in each other in a document of 100,000 structs: {spent:.2f} s of work")
    assert spent < 0.2


async def test_a_mark_as_the_value_of_a_key(server, figure):
    """The library takes it, and panics whenever somebody asks what stands there."""
    key = b"\x01\x01m\x01k"
    named = b"\x01\x01\x05\x00\x26" + key + b"\x01k\x04true\x00"
    follows = [b"\x01\x01\x05\x00\x28" + key + b"\x01\x78\x00", b"\x01\x01\x06\x00\x86\x05\x00\x01k\x04true\x00"]
    for room, updates in (("named", [named]), ("follows", follows)):
        async with somebody(server, room) as raw:
            for made in updates:
                await raw.send(update(made))
            await taken_in(raw)
            assert raw.ended is not None and raw.ended.code == 4400
        status, _ = server.get(f"/api/v1/rooms/{room}/document?format=json")
        assert status == (404 if room == "named" else 200)
    figure("heavy: a mark as the value of a key: refused, and the room can be read")


async def test_a_state_vector_of_a_million_clients(server, figure):
    """Whoever may only read can send it."""
    count = 1_000_000
    vector = var_uint(count) + b"".join(var_uint(2**21 + nth) + b"\x01" for nth in range(count))
    before, memory = server.cpu(), server.rss()
    async with somebody(server, "vector") as raw:
        await raw.send(sync1(vector))
        await taken_in(raw)
        assert raw.ended is not None and raw.ended.code == 4400
    spent, grown = server.cpu() - before, server.rss() - memory
    figure(f"heavy: a state vector of {count:,} clients: {spent:.2f} s of work, {grown / MiB:.0f} MiB kept")
    assert spent < 0.5 and grown < 50 * MiB


@pytest.mark.parametrize("what", ["clients", "deleted ranges"])
async def test_an_update_of_more_than_any_document_has(server, figure, what):
    count = 1_100_000
    if what == "clients":
        made = var_uint(count) + b"".join(b"\x01" + var_uint(2**21 + nth) + b"\x00\x00\x01" for nth in range(count))
        made += b"\x00"
    else:
        made = deletions(77, [0] * count)
    before, memory = server.cpu(), server.rss()
    async with somebody(server, "too many") as raw:
        await raw.send(update(made))
        await taken_in(raw)
        assert raw.ended is not None and raw.ended.code == 4400 and what in raw.ended.reason
    spent, grown = server.cpu() - before, server.rss() - memory
    figure(f"heavy: {len(made) / MiB:.1f} MiB of {count:,} {what}: {spent:.2f} s of work, {grown / MiB:.0f} MiB kept")
    assert spent < 0.5 and grown < 50 * MiB
