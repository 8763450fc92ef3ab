"""D01 to D04: the server is killed with -9, again and again, under people who write."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeVar

import pytest
from pycrdt import Doc

from collab import recovery
from collab.store.sqlite import SQLiteStore
from tests.faults.images import integrity
from tests.faults.kill_loop import COMPACT_OFTEN, AtStep, KillLoop
from tests.faults.told import Told
from tests.faults.writers import Book, Writer, fingerprint
from tests.support.node import Node
from tests.support.proxy import Proxy
from tests.support.raw import Peer, Raw, update

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(7200)]

COMPACTION = ["compact.read", "compact.checkpoint", "compact.before_commit", "compact.after_commit"]

L = TypeVar("L", bound=KillLoop)


@asynccontextmanager
async def loop_on(kind: type[L], server: Told, seed: int, *, real: bool = True) -> AsyncIterator[L]:
    """20 writers: 16 in Python and 4 real ones, or all in Python where there is no Node (not so where CI is set)."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(server)
        network = await stack.enter_async_context(Proxy(server.port))
        node: Node | None = None
        try:
            node = await stack.enter_async_context(Node()) if real else None
        except pytest.skip.Exception:
            print("no Node: all writers are in Python")
        yield kind(server, seed, writers=16 if node else 20, node=node, network=network)


async def test_d01_kill_at_any_instant(told, full, figure):
    """Every edit reported committed is there before any old client is back; every other edit is, once its writer is."""
    rounds = int(os.environ.get("KILL_ROUNDS", "1000" if full else "20"))
    seed = int(os.environ.get("KILL_SEED", "1"))
    async with loop_on(KillLoop, told(env=COMPACT_OFTEN), seed) as loop:
        tally = await loop.run(rounds)
        figure(f"D01 seed {seed}: {tally}")
        assert tally.lost == 0
        assert tally.recovered == tally.owed
        assert tally.sent == tally.reported + tally.present + tally.owed
        assert tally.reported > rounds and tally.sent > tally.reported, "nothing was written, or nothing was cut short"
        assert "room not compacted" not in loop.server.logs()
        loop.server.terminate()
        assert (await loop.server.exited()).code == 0
        async with SQLiteStore(loop.server.file) as store:
            infos = [info async for info in store.rooms()]
            for info in infos:
                await recovery.verify(store, info.name)
        compacted = sum(info.covers > 0 for info in infos)
        figure(f"D01: {len(infos)} rooms verified afterwards, {compacted} of them compacted in the meantime")
        assert compacted > 0 and integrity(loop.server.file) == "ok"


async def test_d01_notices_a_store_that_reports_too_early(told, figure):
    """The test of the test: with a store that reports before it has committed, the same rounds find losses."""
    server = told(faults={"lie": True, "slow_append": 0.2}, env=COMPACT_OFTEN)
    async with loop_on(KillLoop, server, 1, real=False) as loop:
        tally = loop.tally
        while not tally.lost and tally.rounds < 12:
            await loop.run(3)
    figure(f"D01 with a store that lies: {tally.lost} of {tally.reported} reported edits lost in {tally.rounds} rounds")
    assert tally.lost > 0


@pytest.mark.parametrize("step", ["append.before_commit", "append.after_commit"])
async def test_d02_kill_around_a_commit(told, full, figure, step):
    """Cut before the commit: none of the batch is there. Cut after it: all of it is, though nobody was told."""
    async with loop_on(AtStep, told(env=COMPACT_OFTEN), 2, real=False) as loop:
        loop.step = step
        tally = await loop.run(100 if full else 3)
    batch, there = loop.cut
    figure(f"D02 {step}: {batch} edits in commits cut short, {there} of them there after the restart; {tally}")
    assert tally.lost == 0 and tally.recovered == tally.owed
    assert batch > 0
    assert there == (batch if step == "append.after_commit" else 0)


@pytest.mark.parametrize("step", COMPACTION)
async def test_d03_kill_inside_a_compaction_under_load(told, full, figure, step):
    async with loop_on(AtStep, told(env=COMPACT_OFTEN), 3, real=False) as loop:
        loop.step, loop.most = step, 3
        tally = await loop.run(25 if full else 1)
    figure(f"D03 {step}, under load: {tally}")
    assert tally.lost == 0 and tally.recovered == tally.owed


async def test_d03_the_document_after_a_compaction_that_was_cut_short(told, full, figure):
    """The document after the restart is exactly what was written."""
    rows, compared, updates = 30, dict[str, int](), dict[str, bytes]()
    server = told(env={"COLLAB_STORE__CHECKPOINT_ROWS": str(rows), "COLLAB_LOG__LEVEL": "warning"})
    book = Book("room")
    async with server:
        writer = Writer("w00", server.url, book, 3)
        for step in COMPACTION * (25 if full else 1):
            await writer.come_back()
            await writer.peer.until(writer.peer.synced.is_set, "sync step 2", 20)
            await server.ask(kill_at=step, kill_after=1)
            while server.running:
                id_ = writer.next_id
                updates[id_] = writer.make()
                try:
                    await writer.peer.send_update(updates[id_])
                except OSError:
                    break
                await server.committed_or_dead({id_}, 1)
            await server.died()
            writer.up = False
            assert server.reports.steps[-1] == step
            await server.up()
            async with await Peer.open(server.url, book.room) as reader:
                await reader.until(reader.synced.is_set, "sync step 2", 20)
                present = book.audit(reader.doc)
                assert server.reports.committed <= present
                expected: Doc[Any] = Doc()
                for id_ in sorted(present):
                    expected.apply_update(updates[id_])
                assert fingerprint(reader.doc) == fingerprint(expected)
            compared[step] = compared.get(step, 0) + 1
        await writer.leave()
    figure(f"D03: documents equal after a kill at {compared}, {len(book.made)} edits")
    assert set(compared) == set(COMPACTION)


async def test_d04_kill_while_rooms_are_left(told, full, figure):
    """Everybody types and leaves in the same instant, rooms are dropped from memory at once, and the server dies."""
    dice = random.Random(4)
    rounds, clients = (100, 40) if full else (3, 40)
    sent, reported, lost = 0, 0, 0
    env = {"COLLAB_ROOMS__IDLE_COUNT": "0", "COLLAB_LOG__LEVEL": "error"}
    async with told(env=env) as server:
        for turn in range(rounds):
            books = [Book(f"turn {turn} room {number}") for number in range(clients)]
            writers = [Writer(f"w{number:02d}", server.url, book, 4, first=turn) for number, book in enumerate(books)]
            raws = [await Raw.open(server.url, room=book.room) for book in books]
            frames = [update(writer.make()) for writer in writers]
            step = dice.choice(["", "append.before_commit", "append.after_commit"])
            if step:
                await server.ask(kill_at=step, kill_after=dice.choice([1, 1, 2]))

            async def type_and_leave(raw: Raw, frame: bytes) -> None:
                try:
                    await raw.send_many([frame], then=b"\x88\x80\0\0\0\0")
                except OSError:  # it is dead already
                    pass

            await asyncio.gather(*(map(type_and_leave, raws, frames)))
            enough = dice.randint(0, clients)
            ids = {one for book in books for one in book.made}
            await server.committed_or_dead(ids, enough)
            await server.down()
            for raw in raws:
                raw.fin()
            await server.up()
            for book in books:
                async with await Peer.open(server.url, book.room) as reader:
                    await reader.until(reader.synced.is_set, "sync step 2", 20)
                    present = book.audit(reader.doc)
                sent += len(book.made)
                reported += len(book.made & server.reports.committed)
                lost += len((book.made & server.reports.committed) - present)
    figure(f"D04: {rounds} x kill -9 while {clients} rooms are left: {sent} edits, {reported} reported, {lost} lost")
    assert reported > 0
    assert lost == 0
