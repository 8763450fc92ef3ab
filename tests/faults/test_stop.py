"""O01 to O03: SIGTERM, with many clients, twice, with a store that hangs, with clients that do not read."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import pytest
from pycrdt import Text

from tests.faults.images import found_in, integrity
from tests.faults.pythons import RUNNING, VERSIONS, with_dependencies
from tests.faults.told import Told
from tests.faults.writers import Book, Writer, complete
from tests.support.raw import EMPTY_VECTOR, Peer, Raw, sync1
from tests.support.waiting import until

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]

QUIET = {"COLLAB_LOG__LEVEL": "info", "COLLAB_LOG__FORMAT": "json"}


def shown(books: list[Book], watchers: list[Peer]) -> set[str]:
    """The edits that others were shown: so they have reached the server."""
    return set[str]().union(*(book.audit(watcher.doc) for book, watcher in zip(books, watchers, strict=True)))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The Python that runs here and the newest one; with `--full`, every supported one."""
    if "version" in metafunc.fixturenames:
        full = metafunc.config.getoption("--full")
        metafunc.parametrize("version", VERSIONS if full else dict.fromkeys((RUNNING, VERSIONS[-1])))


async def test_o01_sigterm_with_200_clients(told, figure, version):
    """20 write, 180 look on, in 10 rooms: all are told 1012, the process ends with 0 within 6 s, nothing is lost."""
    python = await asyncio.to_thread(with_dependencies, version)
    server: Told = told(env=QUIET, python=python)
    async with server:
        assert f'python="{version}.' in server.get("/metrics")[1], "another Python is running"
        books = [Book(f"room {number}") for number in range(10)]
        writers = [Writer(f"w{number:02d}", server.url, books[number % 10], 30) for number in range(20)]
        watchers = [Peer(server.url, book.room) for book in books]
        for peer in (*(writer.peer for writer in writers), *watchers):
            await peer.reconnect()
        for writer in writers:
            writer.up = True
        others = [await Raw.open(server.url, room=books[number % 10].room) for number in range(170)]
        for raw in others:
            await raw.send(sync1(EMPTY_VECTOR))
        ends = [asyncio.create_task(raw.closed(60)) for raw in others]
        busy = [asyncio.create_task(writer.write_on(0.1)) for writer in writers]
        await asyncio.sleep(2)
        assert server.metrics().get("collab_connections") == 200
        reached = shown(books, watchers)
        server.terminate()
        ended = await server.died(20)
        told_codes = Counter(end.code for end in await asyncio.gather(*ends))
        peers = [*(writer.peer for writer in writers), *watchers]
        await until(lambda: all(peer.ended for peer in peers), "every connection to end")
        told_codes.update(peer.ended.code for peer in peers if peer.ended)
        await asyncio.gather(*busy)
        reached |= shown(books, watchers)
        reported = set(server.reports.committed)
        found = await found_in(server.file, books)
        made = set[str]().union(*(book.made for book in books))
        drained = [line for line in server.json_logs() if line["event"] == "drained"]
        tracebacks = server.logs().count("Traceback")
        await server.up()
        for writer in writers:
            writer.up = False
            await writer.come_back()
        for book in books:
            async with await Peer.open(server.url, book.room) as reader:
                await complete(reader, book)
        for writer in writers:
            await writer.leave()
        for watcher in watchers:
            await watcher.leave()
    figure(
        f"O01 Python {version}: exit {ended.code} after {ended.seconds:.2f} s, clients told {dict(told_codes)}; "
        f"{len(made)} edits: {len(reached)} were shown to others, {len(reached - found)} of these lost; "
        f"{len(reported)} reported, {len(reported - found)} lost; {len(made - found)} were resent and are there"
    )
    assert ended.code == 0 and ended.seconds < 6
    assert told_codes == {1012: 200}
    assert reached <= found and reported <= found and reported
    assert drained and drained[0]["stalled"] == 0
    assert tracebacks == 0


async def test_o02_sigterm_twice(told, figure):
    """The second one is harmless."""
    async with told(env=QUIET) as server:
        book = Book("room")
        writer = Writer("w00", server.url, book, 31)
        await writer.come_back()
        await writer.write(50)
        crowd = [await Raw.open(server.url, room="crowd") for _ in range(20)]
        ends = [asyncio.create_task(raw.closed(60)) for raw in crowd]
        server.terminate()
        for _ in range(3):
            await asyncio.sleep(0.3)
            if server.running:
                server.terminate()
        ended = await server.died(20)
        codes = Counter(end.code for end in await asyncio.gather(*ends))
        await writer.leave()
        found = await found_in(server.file, [book])
    figure(f"O02: SIGTERM four times: exit {ended.code}, codes {dict(codes)}, {len(book.made - found)} edits lost")
    assert ended.code == 0 and codes == {1012: 20} and found == book.made
    assert "Traceback" not in server.logs()


async def test_o02_the_store_hangs(told, figure):
    """It never answers again: the process ends all the same, with a failure code that is told, and claims nothing."""
    env = QUIET | {"COLLAB_SERVER__DRAIN_SECONDS": "1", "COLLAB_SERVER__SHUTDOWN_SECONDS": "4"}
    async with told(env=env) as server:
        book = Book("room")
        writer = Writer("w00", server.url, book, 32)
        await writer.come_back()
        await writer.write(20)
        await server.all_committed(book.made)
        await server.ask(hang=True)
        saved = set(server.reports.committed)
        await writer.write(20)
        await asyncio.sleep(0.3)
        server.terminate()
        began = time.monotonic()
        ended = await server.died(20)
        seconds = time.monotonic() - began
        logs = server.logs()
        assert server.reports.committed == saved, "reported, while the store hangs"
        found = await found_in(server.file, [book])
        await server.up()
        writer.up = False
        await writer.come_back()
        await server.all_committed(book.made, 20)
        await writer.leave()
    figure(
        f"O02: a store that hangs: exit {ended.code} after {seconds:.1f} s, said so; 0 false reports, "
        f"{len(saved - found)} of {len(saved)} reported edits lost, {len(book.made - found)} resent"
    )
    assert ended.code == 1 and 3 < seconds < 8
    assert "shutdown timed out" in logs
    assert saved <= found


async def test_o03_clients_that_do_not_read(told, full, figure):
    """Their buffers are full, they neither read nor answer: they are cut off, not waited for."""
    count = 100 if full else 20
    async with told(env=QUIET) as server:
        stalled = [await Raw.open(server.url, room="room", receive_buffer=4096) for _ in range(count)]
        for raw in stalled:
            await raw.send(sync1(EMPTY_VECTOR))
        async with await Peer.open(server.url, "room") as talker, await Peer.open(server.url, "room") as reader:
            text = talker.doc.get("text", type=Text)
            for _ in range(8):
                await talker.edit(lambda _doc: text.insert(0, "0123456789abcdef" * (1 << 16)))  # 1 MiB each
            await reader.until(lambda: len(reader.text()) == 8 << 20, "8 MiB", 30)
            server.terminate()
            ended = await server.died(30)
            codes = Counter(peer.ended.code for peer in (talker, reader) if peer.ended)
        for raw in stalled:
            raw.fin()
        (drained,) = [line for line in server.json_logs() if line["event"] == "drained"]
    stalls = drained["stalled"]
    figure(f"O03: {count} clients with full buffers: exit {ended.code} after {ended.seconds:.2f} s, {stalls} cut off")
    assert ended.code == 0 and ended.seconds < 8
    assert drained["stalled"] == count
    assert codes == {1012: 2}
    assert integrity(server.file) == "ok"
