"""S01 to S05: clients that take nothing, or too little, or have gone without a word."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, suppress

import pytest

from tests.faults.bystander import Bystander
from tests.support.proxy import Proxy
from tests.support.raw import Peer, Raw, query, sync1
from tests.support.server import Server
from tests.support.waiting import until

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]

MiB = 1 << 20
STALLED, PROBE, SILENT = 3.0, 1.0, 5.0
"""Seconds, as these servers are set; by default ten times as many."""
OUTBOX = 256 << 10
ENV = {
    "COLLAB_LOG__LEVEL": "error",
    "COLLAB_LIMITS__STALLED_SECONDS": str(STALLED),
    "COLLAB_LIMITS__OUTBOX_BYTES": str(OUTBOX),
    "COLLAB_LIVENESS__PROBE_SECONDS": str(PROBE),
    "COLLAB_LIVENESS__SILENT_SECONDS": str(SILENT),
}


@pytest.fixture
def server():
    with Server(env=ENV) as running:
        yield running


async def fill(writer: Peer, stop: asyncio.Event) -> None:
    """200 updates a second of 10 KB: keys are replaced all the time, so that the document stays small."""
    number = 0
    while not stop.is_set():
        await writer.put(f"k{number % 20}", f"{number:06}" + "x" * 10_000)
        number += 1
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), 0.005)


async def talk(raw: Raw, stop: asyncio.Event) -> None:
    """Say something all the time, so that nobody takes this client for dead."""
    with suppress(OSError):
        while not stop.is_set():
            await raw.send(query())
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), 0.5)


async def trickle(raw: Raw) -> None:
    """Read a byte a second, for an hour."""
    with suppress(OSError):
        for _ in range(3_600):
            await raw.read_bytes(1)
            await asyncio.sleep(1)


async def stalled(server: Server, count: int, *, slowly: bool) -> tuple[list[float], float, int, Bystander, float]:
    """So many clients that stop reading while their room is busy: when each one's socket was really gone, and so on."""
    stop, began, gone = asyncio.Event(), 0.0, list[float]()
    async with (
        Bystander(server.url) as bystander,
        await Peer.open(server.url, "busy") as writer,
        AsyncExitStack() as stack,
    ):
        await bystander.idle()
        slow, ports = [], set[int]()
        for _ in range(count):
            raw = await Raw.open(server.url, room="busy", receive_buffer=4096)
            stack.callback(raw.fin)
            await raw.send(sync1())
            await raw.expect("sync2")
            slow.append(raw)
            ports.add(raw.sock.getsockname()[1])
        assert ports <= server.clients()
        before, began = server.peak(anew=True), time.monotonic()
        tasks = [asyncio.create_task(fill(writer, stop)), *(asyncio.create_task(talk(raw, stop)) for raw in slow)]
        if slowly:
            tasks += [asyncio.create_task(trickle(raw)) for raw in slow]
        while len(gone) < count:
            left = len(ports & server.clients())
            gone += [time.monotonic() - began] * (count - left - len(gone))
            assert time.monotonic() - began < 120, f"{left} are still there"
            await asyncio.sleep(0.05)
        grown = server.peak() - before
        refused = server.metrics().get("collab_refused_total", code="1013")
        stop.set()
        for task in tasks[1 + count :]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert writer.ended is None
    return gone, grown, int(refused), bystander, began


@pytest.mark.case("S01", "S03")
@pytest.mark.parametrize("slowly", [False, True], ids=["S01", "S03"])
async def test_a_client_that_takes_nothing(server, figure, slowly):
    """It talks and does not read, or a byte a second: past its queue it is owed a state, past its time it is cut."""
    gone, grown, refused, bystander, _ = await stalled(server, 1, slowly=slowly)
    case, how = ("S03", "reads a byte a second") if slowly else ("S01", "reads nothing")
    figure(
        f"{case}: a client that {how} at 200 updates/s: cut ({refused} with 1013), socket really gone after "
        f"{gone[0]:.1f} s (stalls count from {STALLED:g} s); memory grew by {grown / MiB:.1f} MiB (queue limit "
        f"{OUTBOX / MiB:.2f}); {bystander}"
    )
    # First 64 KiB for hypercorn and what the two kernels hold have to fill up, at 200 KB/s.
    # What a server loads and caches on first use counts, too: 17 MiB were seen.
    assert refused == 1 and gone[0] < 40 and grown < 24 * MiB and bystander.errors == 0


@pytest.mark.case("S02")
async def test_many_that_take_nothing(server, full, figure):
    """Each costs its queue and no more."""
    count = 500 if full else 60
    gone, grown, refused, bystander, _ = await stalled(server, count, slowly=False)
    figure(
        f"S02: {count} clients that read nothing: {refused} cut with 1013, gone after {gone[0]:.1f} to "
        f"{gone[-1]:.1f} s; "
        f"memory grew by {grown / MiB:.1f} MiB, {grown / count / 1024:.0f} KiB each (queue limit "
        f"{OUTBOX >> 10}); {bystander}"
    )
    assert refused == count and grown < count * (OUTBOX + 512 * 1024) + 16 * MiB and bystander.errors == 0


@pytest.mark.case("S04", "S05")
async def test_clients_that_are_gone(server, figure):
    """A half-closed socket, a reset one, a pulled cable, one that says nothing; one that answers pings stays."""
    found: dict[str, float] = {}
    async with Bystander(server.url) as bystander, Proxy(server.port) as proxy:
        await bystander.idle()
        settled = server.clients()

        async def enter(url: str) -> Raw:
            raw = await Raw.open(url, room="gone")
            await raw.send(sync1())
            await raw.expect("sync2")
            return raw

        async def until_gone(name: str, began: float) -> None:
            await until(lambda: not server.clients() - settled, name, 20)
            found[name] = time.monotonic() - began

        for name in ("half-closed", "reset", "closed"):
            raw = await enter(server.url)
            {"half-closed": raw.eof, "reset": raw.reset, "closed": raw.fin}[name]()
            await until_gone(name, time.monotonic())
            raw.fin()
        raw = await enter(proxy.url)
        proxy.blackhole()
        await until_gone("vanished", time.monotonic())
        proxy.heal()
        raw.fin()
        raw = await enter(server.url)
        raw.answer_pings = False
        began = time.monotonic()
        reading = asyncio.create_task(raw.closed(30))
        await until_gone("answers nothing", began)
        await asyncio.gather(reading, return_exceptions=True)
        raw = await enter(server.url)  # it reads, and has nothing to say: so do editors without presence
        began = time.monotonic()
        reading = asyncio.create_task(raw.closed(3 * SILENT))
        with suppress(TimeoutError):
            await reading
        stayed = time.monotonic() - began
        assert raw.ended is None and raw.pings >= SILENT / PROBE, "who answers pings is there"
        raw.fin()
    s04 = {name: found[name] for name in ("half-closed", "reset", "closed", "vanished")}
    figure(f"S04: socket gone after: {told(s04)} (silence counts from {SILENT:g} s); {bystander}")
    figure(
        f"S05: answers nothing: socket gone after {found['answers nothing']:.2f} s; answers {raw.pings} pings and "
        f"reads: there after {stayed:.0f} s; {bystander}"
    )
    assert max(found[name] for name in ("half-closed", "reset", "closed")) < 2
    assert max(found.values()) < 2 * SILENT + 1 and bystander.errors == 0


def told(found: dict[str, float]) -> str:
    return ", ".join(f"{name} {seconds:.2f} s" for name, seconds in found.items())
