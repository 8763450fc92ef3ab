"""S11, S12, S19, S20: people come and go, all at once and in the middle of everything."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from pycrdt import Map

from tests.faults.bystander import Bystander
from tests.faults.writers import Book, Writer, fingerprint, spread
from tests.support.node import Node
from tests.support.raw import EMPTY_VECTOR, Peer, Raw, parse, sync1, update
from tests.support.server import Server
from tests.support.waiting import until

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(1200)]

QUIET = {"COLLAB_LOG__LEVEL": "warning"}


@pytest.fixture(scope="module")
def server():
    with Server(env=QUIET) as running:
        yield running


async def shows(watcher: Peer, who: int, here: bool) -> None:
    """Wait until `watcher` sees that client id, or does not any more."""
    await watcher.until(lambda: (who in watcher.presence) is here, f"presence of {who} to be {here}", 30)


@pytest.mark.parametrize("how", ["fin", "rst", "close"])
async def test_s11_ghosts(server, full, figure, how):
    """Somebody's connection ends without a word about presence: the others are told at once."""
    times = 200 if full else 30
    ghosts: list[float] = []
    async with Bystander(server.url, room=f"beside {how}") as bystander, await Peer.open(server.url, how) as watcher:
        for number in range(1000, 1000 + times):
            leaver = await Raw.open(server.url, room=how)
            await Peer(server.url, how, raw=leaver).show(number, 1, {"name": "ghost"})
            await shows(watcher, number, True)
            began = time.monotonic()
            if how == "rst":
                leaver.reset()
            elif how == "close":
                await leaver.close()
            else:
                leaver.fin()
            await shows(watcher, number, False)
            ghosts.append(time.monotonic() - began)
            leaver.fin()
    figure(f"S11 {how}: {times} ghosts stayed for: {spread(ghosts)}; {bystander}")
    assert max(ghosts) < 2 and bystander.errors == 0


async def test_s12_a_late_joiner_sees_everybody(server, full, figure):
    """All presence there is comes at once, in one frame, with the first answers."""
    people = 500 if full else 100
    raws = [await Raw.open(server.url, room="crowd", receive_buffer=1 << 20) for _ in range(people)]
    for number, raw in enumerate(raws):
        await Peer(server.url, "crowd", raw=raw).show(5000 + number, 1, {"user": {"name": f"person {number}"}})
    async with await Peer.open(server.url, "crowd") as witness:
        await witness.until(lambda: len(witness.presence) == people, "everybody", 30)
    times: list[float] = []
    for _ in range(20):
        began = time.monotonic()
        async with await Raw.open(server.url, room="crowd") as late:
            await late.send(sync1(EMPTY_VECTOR))
            message = await late.expect("awareness")
            times.append(time.monotonic() - began)
            assert len(message.entries) == people
    for raw in raws:
        raw.fin()
    figure(f"S12: all {people} states in one frame, after connecting began: {spread(times)}")
    assert max(times) < 1


@pytest.mark.parametrize("how", ["together", "while the first leaves"])
async def test_s19_two_open_a_new_room_at_once(told, full, figure, how):
    """Both get sync step 2 within a second and see each other's edits; also while a third one leaves that very room."""
    count, seconds, apart = 1_000 if full else 250, list[float](), 0
    gate = asyncio.Semaphore(8)
    env = QUIET | {"COLLAB_ROOMS__IDLE_COUNT": "0"}
    async with told(env=env) as server:

        async def enter(peer: Peer) -> None:
            began = time.monotonic()
            await peer.reconnect()
            await asyncio.wait_for(peer.synced.wait(), 20)
            seconds.append(time.monotonic() - began)

        async def pair(number: int) -> bool:
            room = f"{how} {number}"
            async with gate:
                one, two = Peer(server.url, room), Peer(server.url, room)
                if how != "together":
                    async with await Raw.open(server.url, room=room) as first:
                        await first.send(update(Writer("w00", "", Book(room), number).make()))
                        await asyncio.gather(enter(one), enter(two), first.close())
                else:
                    await asyncio.gather(enter(one), enter(two))
                await one.put("from", "one")
                await two.put("to", "two")
                found = one.doc.get("map", type=Map)
                same = True
                try:
                    await until(
                        lambda: {"from", "to"} <= set(found) and fingerprint(one.doc) == fingerprint(two.doc),
                        "both edits",
                    )
                except AssertionError:
                    same = False
                await one.leave()
                await two.leave()
                return same

        apart = (await asyncio.gather(*map(pair, range(count)))).count(False)
    figure(f"S19, {how}: 2 x {count} clients: hangs 0, to sync step 2: {spread(seconds)}; rooms split {apart}")
    assert len(seconds) == 2 * count and max(seconds) < 1 and not apart


async def test_s20_edits_during_the_handshake(server, full, figure):
    """Someone types before their first answer, while others type too: no update overtakes sync step 2, none is lost."""
    count, early = 200 if full else 40, 0
    book = Book("busy")
    writers = [Writer(f"w{number:02d}", server.url, book, 20) for number in range(3)]
    for writer in writers:
        await writer.come_back()
    busy = [asyncio.create_task(writer.write_on(0.002)) for writer in writers]
    newcomers = []
    for number in range(count):
        newcomer = Writer(f"x{number % 100:02d}", server.url, book, 20, first=1000 * (number // 100))
        edit = newcomer.make()
        raw = await Raw.open(server.url, room="busy")
        await raw.send_many([sync1(EMPTY_VECTOR), update(edit)])
        while (frame := await raw.recv()) is not None:
            message = parse(frame)
            early += message.kind == "update"
            if message.kind == "sync2":
                newcomer.peer.doc.apply_update(message.content)
                break
        newcomer.peer.raw = raw
        newcomers.append(newcomer)
        raw.fin()
    for task in busy:
        task.cancel()
    await asyncio.gather(*busy, return_exceptions=True)
    for writer in [*writers, *newcomers[-20:]]:
        writer.up = False
        await writer.come_back()
    docs = [writer.peer.doc for writer in [*writers, *newcomers[-20:]]]
    await until(lambda: all(book.audit(doc) == book.made for doc in docs), "every edit, with everybody", 30)
    assert all(fingerprint(doc) == fingerprint(docs[0]) for doc in docs)
    for writer in [*writers, *newcomers[-20:]]:
        await writer.leave()
    figure(f"S20: {count} clients typed during their handshake, {len(book.made) - count} edits of others meanwhile: "
           f"{early} updates before sync step 2, 0 lost, all equal")  # fmt: skip
    assert early == 0


async def test_s20_real_clients(server, full, figure):
    """The same with stock clients, which log an error when something comes that they cannot take."""
    async with Node() as node:
        busy = await node.client(server.url, "stock")
        await busy.synced()
        editors = []
        for number in range(60 if full else 12):
            version = ("2.1", "3.0", "3.1")[number % 3]
            editors.append(await node.client(server.url, "stock", version=version, typeOnOpen=["text", f"<{number}>"]))
            await busy.insert("text", 0, ".")
        await node.all_synced(editors)
        await node.converged([busy, *editors], 20)
        text = await busy.text()
        errors = await node.js_errors()
    lost = [number for number in range(len(editors)) if text.count(f"<{number}>") != 1]
    figure(f"S20, {len(editors)} stock clients: {len(errors)} JavaScript errors, {len(lost)} edits lost or doubled")
    assert not errors and not lost


async def test_file_descriptors_come_back(told, figure):
    """Whoever asks over HTTP and goes, connects and says nothing, or never finishes a request, does not stay."""
    async with told(env=QUIET) as server:
        folder = Path(f"/proc/{server.pid}/fd")

        def count() -> int:
            return len(list(folder.iterdir()))

        before = count()
        for _ in range(100):
            await asyncio.to_thread(server.get, "/live")
        silent = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(50)]
        for _, writer in silent[:25]:
            writer.write(b"GET /live HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        most = count()
        began = time.monotonic()
        while count() > before and time.monotonic() < began + 20:
            for _, writer in silent[:25]:
                writer.write(b"a")  # a byte now and then
            await asyncio.sleep(0.5)
        seconds, after = time.monotonic() - began, count()
        for _, writer in silent:
            writer.close()
    figure(
        f"150 HTTP connections left, silent or slow: {before} descriptors before, {most}, {after} {seconds:.1f} s later"
    )
    assert after <= before and seconds < 10
