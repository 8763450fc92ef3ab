"""F05 to F08, F10, F12: updates that are made to hurt, at a running server with people in it."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from collab.store import Entry
from collab.store.sqlite import SQLiteStore
from collab.wire import vet
from tests.faults.bystander import Bystander
from tests.faults.test_updates import BOMBS
from tests.faults.writers import spread
from tests.support.raw import Peer, Raw, parse, sync1, sync2, update, var_bytes
from tests.support.server import Server
from tests.wire.test_vet import after, run, text
from tests.wire.test_vet import update as made

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

MiB = 1 << 20
ENV = {"COLLAB_LOG__LEVEL": "error", "COLLAB_LIMITS__HOLD_SECONDS": "0.1"}
CARELESS = Path(__file__).with_name("careless_server.py")
ZERO = bytes.fromhex("01011401000000")
ARRAY, MAP = b"\x75\x01", b"\x76\x01\x01a"


@pytest.fixture(scope="module")
def server():
    with Server(env=ENV) as running:
        pid = running.pid
        yield running
        assert running.running and running.pid == pid


def nested(level: bytes, depth: int) -> bytes:
    """A value in the root array `t`, so deep."""
    return b"\x01\x01\x07\x00\x08\x01\x01t\x01" + level * depth + b"\x7f\x00"


async def offer(server: Server, room: str, frame: bytes, within: float = 20.0) -> tuple[int | None, float]:
    """Send one frame as a client that is in the room: how it was closed, and after how many seconds it was told so."""
    async with await Raw.open(server.url, room=room) as raw:
        raw.answer_close = False
        await raw.send(sync1())
        await raw.expect("sync2")
        sending = asyncio.ensure_future(raw.send(frame))
        began, seconds = time.monotonic(), float("nan")
        while (heard := await raw.recv(within)) is not None:
            if parse(heard).kind == "auth":  # why it is refused; who comes again and again is closed later
                seconds = time.monotonic() - began
        ended = raw.ended
        assert ended is not None
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        return ended.code, seconds


async def newcomer(server: Server, room: str) -> tuple[str, float]:
    """What somebody sees who comes now, and after how many seconds."""
    began = time.monotonic()
    while True:
        async with await Peer.open(server.url, room) as peer:
            try:
                await peer.until(lambda: peer.synced.is_set() or peer.ended is not None, "an answer", 20)
            finally:
                seconds = time.monotonic() - began
            if peer.synced.is_set():
                return peer.text(), seconds


@pytest.mark.case("F05")
async def test_values_in_values(server, figure):
    """10,000 to 1,000,000 deep, arrays and maps, as an update and as a state: refused, and nobody notices."""
    codes = Counter[int | None]()
    spent: list[float] = []
    async with Bystander(server.url) as bystander:
        await bystander.idle()
        for level in (ARRAY, MAP):
            for depth in (10_000, 100_000, 1_000_000):
                for frame in (update, sync2):
                    code, seconds = await offer(server, "deep", frame(nested(level, depth)))
                    codes[code] += 1
                    spent.append(seconds)
        assert (await newcomer(server, "deep"))[0] == ""
    a_kib = made(run(text("x" * 1_024)))
    began = time.perf_counter()
    for _ in range(2_000):
        vet.parse(a_kib)
    cost = (time.perf_counter() - began) / 2_000
    figure(
        f"F05: values 10,000 to 1,000,000 deep: {len(spent)} offered, {dict(codes)}, crashes 0; answered in "
        f"{spread(spent)}; the check costs {1e9 * cost:.0f} ns for a KiB of text; {bystander}"
    )
    assert set(codes) == {4400} and bystander.errors == 0


@pytest.mark.case("F06")
async def test_a_deep_value_in_the_store_is_read(full, figure):
    """Stored by an older version, at the limit and far beyond it: joined, exported, verified, exported live."""
    with Server(env=ENV) as server:
        server.terminate()
        await server.exited()
        async with SQLiteStore(server.store.removeprefix("sqlite:///")) as store:
            for room, depth in (("deep", 16_000), ("allowed", vet.MAX_DEPTH)):
                await store.append(
                    [Entry(room, made(run(TEXT, client=8)), 0.0), Entry(room, nested(ARRAY, depth), 0.0)]
                )
        ends = Counter[str]()

        def call(*arguments: str) -> None:
            code = server.try_call(*arguments).returncode
            ends[f"exit {code}" if code >= 0 else f"signal {-code}"] += 1

        of_store = ["--store", server.store]
        for room in ("deep", "allowed"):
            for form in ("json", "text", "yjs") if full else ("json",):
                call("export", room, "--format", form, *of_store)
            call("compact", room, *of_store)
        call("verify", *of_store)
        server.start()
        pid = server.pid
        async with Bystander(server.url) as bystander:
            await bystander.idle()
            for room in ("deep", "allowed"):
                assert (await newcomer(server, room))[0] == "sound", room
                ends["joined"] += 1
                await asyncio.to_thread(call, "export", room, "--format", "json", "--server", server.url)
        assert server.running and server.pid == pid
    crashes = sum(times for how, times in ends.items() if how.startswith("signal"))
    figure(
        f"F06: values {vet.MAX_DEPTH} and 16,000 deep in the store, read in {sum(ends.values())} ways: crashes "
        f"{crashes}; {dict(ends)}; {bystander}"
    )
    assert crashes == 0 and bystander.errors == 0


TEXT = b"\x04\x01\x04text" + var_bytes(b"sound")


@pytest.mark.case("F07")
async def test_a_document_that_cannot_be_read_any_more(figure, server):
    """The vector itself is refused; where it gets past the check, the fence and a reload bring the room back."""
    code, _ = await offer(server, "zero", update(ZERO))
    assert code == 4400 and (await newcomer(server, "zero"))[0] == ""
    careless = Server(env=ENV | {"COLLAB_LOG__FORMAT": "json"})
    careless._command = [sys.executable, str(CARELESS), "serve", "--port", "{port}", "--store", careless.store]
    with careless:
        pid = careless.pid
        async with Bystander(careless.url) as bystander, await Peer.open(careless.url, "zero") as resident:
            await bystander.idle()
            await resident.write("sound")
            raw = await Raw.open(careless.url, room="zero")
            await raw.send(sync1())
            await raw.expect("sync2")
            await raw.send(update(ZERO))
            seen, seconds = await newcomer(careless, "zero")
            if resident.ended is not None:
                await resident.reconnect()
            await resident.write(" and alive")
            async with await Peer.open(careless.url, "zero") as other:
                await other.text_is("sound and alive")
            panics = careless.metrics().get("collab_panics_total")
            cut = raw.ended or await ended_of(raw)
        assert careless.running and careless.pid == pid
    figure(
        f"F07: refused with {code} at the door; past it: {panics:.0f} panics caught, the room unavailable "
        f"to a newcomer "
        f"for {seconds:.2f} s, its sender {cut}, crashes 0; {bystander}"
    )
    assert seen == "sound" and panics >= 1 and seconds < 5 and bystander.errors == 0


async def ended_of(raw: Raw) -> str:
    """How a connection has ended by now."""
    try:
        return f"closed with {(await raw.closed(1)).code}"
    except TimeoutError:
        return "still there"


@pytest.mark.case("F08")
async def test_an_update_that_panics_while_it_is_applied(server, figure):
    """Letters for a parent that is a letter: no check of one update alone sees it. The sender goes."""
    async with Bystander(server.url) as bystander, await Peer.open(server.url, "panic") as resident:
        await bystander.idle()
        await resident.write("sound")
        letters = made(run(b"\x04\x01\x04text" + var_bytes(b"ab"), client=9))
        panics, codes, seconds = server.metrics().get("collab_panics_total"), [], []
        for number in range(5):
            async with await Raw.open(server.url, room="panic") as raw:
                await raw.send_many([update(letters), sync1()])
                await raw.expect("sync2")
                began = time.monotonic()
                await raw.send(update(made(run(text("c", parent=b"\x00\x09\x01"), client=100 + number))))
                codes.append((await raw.closed(10)).code)
                seconds.append(time.monotonic() - began)
        await resident.write(" and alive")
        assert resident.ended is None
        async with await Peer.open(server.url, "panic") as other:
            await other.until(lambda: "sound and alive" in other.text(), "the text")
            assert other.text().replace("ab", "") == "sound and alive"
        panics = server.metrics().get("collab_panics_total") - panics
    figure(
        f"F08: 5 updates at which yrs breaks off ({panics:.0f} panics): senders closed with {set(codes)} after "
        f"{spread(seconds)}, the document unchanged and usable; {bystander}"
    )
    assert set(codes) == {4400} and bystander.errors == 0


@pytest.mark.case("F10")
async def test_bombs_at_the_server(server, full, figure):
    """All at once, again and again: memory does not grow by what they announce."""
    before, codes = server.peak(anew=True), Counter[int | None]()
    async with Bystander(server.url) as bystander:
        await bystander.idle()
        bombs = [frame for bomb in BOMBS.values() for frame in (update(bomb), sync1(bomb), b"\x01" + var_bytes(bomb))]
        for _ in range(30 if full else 1):
            ends = await asyncio.gather(*(offer(server, f"bombs {n}", frame) for n, frame in enumerate(4 * bombs)))
            codes.update(code for code, _ in ends)
    grown = server.peak() - before
    figure(
        f"F10: {sum(codes.values())} bombs, {4 * len(bombs)} at once, as update, state vector and "
        f"presence: {dict(codes)}; peak "
        f"memory {server.peak() / MiB:.0f} MiB, grown by {grown / MiB:.1f} MiB; {bystander}"
    )
    assert set(codes) == {4400} and grown < 48 * MiB and bystander.errors == 0


@pytest.mark.case("F12")
async def test_gaps_that_never_close_at_the_server(server, figure):
    """20,000 updates of clients that nobody knows, each after something that never comes, from several connections."""
    count, at_once = 20_000, 5
    flood = [update(made(run(after(100 + number, 3), client=100 + number, clock=4))) for number in range(count)]
    before, cpu = server.peak(anew=True), server.cpu()
    async with Bystander(server.url) as bystander, await Peer.open(server.url, "gaps") as resident:
        await bystander.idle()
        began = time.monotonic()

        async def send(part: list[bytes]) -> None:
            async with await Raw.open(server.url, room="gaps") as raw:
                answered = asyncio.ensure_future(raw.expect("sync2", within=60))
                for start in range(0, len(part), 100):
                    await raw.send_many(part[start : start + 100])
                await raw.send(sync1())
                await answered

        await asyncio.gather(*(send(flood[number::at_once]) for number in range(at_once)))
        await resident.write("on")
        async with await Peer.open(server.url, "gaps") as other:
            await other.text_is("on", within=20)
        seconds = time.monotonic() - began
        metrics = server.metrics()
    spent, grown = server.cpu() - cpu, server.peak() - before
    held = metrics.get("collab_held_updates")
    figure(
        f"F12: {count:,} updates with gaps from {at_once} connections in {seconds:.1f} s: CPU {spent:.1f} "
        f"s, {held:.0f} "
        f"held of at most 1,000, memory grew by {grown / MiB:.1f} MiB; {bystander}"
    )
    assert held <= 1_000 and grown < 64 * MiB and bystander.errors == 0
