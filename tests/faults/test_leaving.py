"""D05 to D07: rooms are left, opened again and compacted while their last edits are still on the way to the disk."""

from __future__ import annotations

import asyncio
import contextlib
import struct
import time
from collections import Counter

import pytest

from tests.faults.images import found_in
from tests.faults.told import Told
from tests.faults.writers import Book, Writer
from tests.support.raw import CLOSE, Peer, Raw, Refused, encode_frame, update
from tests.support.waiting import until

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(1200)]

GOODBYE = encode_frame(struct.pack("!H", 1000), opcode=CLOSE)
DROP_AT_ONCE = {"COLLAB_LOG__LEVEL": "error", "COLLAB_ROOMS__IDLE_COUNT": "0"}


async def flushed(server: Told, within: float = 30.0) -> None:
    """Everything that the server took in is committed, and rooms that nobody is in are gone."""

    def quiet() -> bool:
        metrics = server.metrics()
        return not (metrics.get("collab_journal_lag_updates") or metrics.get("collab_rooms"))

    await until(quiet, "an idle server", within)


@pytest.mark.parametrize("how", ["close", "fin"])
async def test_d05_type_and_close_in_the_same_segment(told, full, figure, how):
    """close: the edit and a close frame in one write. fin: the edit and the end of the connection."""
    count = 1_000 if full else 250
    gate = asyncio.Semaphore(50)
    lines = []
    async with told(env=DROP_AT_ONCE) as server:

        async def type_and_leave(book: Book, number: int, delay: int) -> bool:
            edit = encode_frame(update(Writer(f"w{delay % 100:02d}", "", book, 9, first=number).make()))
            async with gate, await Raw.open(server.url, room=book.room, within=30) as raw:
                if how == "fin":
                    await raw.send_bytes(edit)
                    await asyncio.sleep(delay / 1000)
                    raw.eof()
                elif delay:
                    await raw.send_bytes(edit)
                    await asyncio.sleep(delay / 1000)
                    await raw.send_bytes(GOODBYE)
                else:
                    await raw.send_bytes(edit + GOODBYE)
                return (await raw.closed(30)).code == 1000 or how == "fin"

        for delay in (0, 2, 20, 210):
            books = [Book(f"{how} after {delay} ms, room {number}") for number in range(count)]
            answered = await asyncio.gather(*(type_and_leave(book, at, delay) for at, book in enumerate(books)))
            await flushed(server)
            await server.down()  # -9
            found = await found_in(server.file, books)
            lost = [book.room for book in books if not book.made <= found]
            lines.append(f"{delay} ms: {len(found)}/{len(books)}")
            assert all(answered), f"{answered.count(False)} goodbyes were not answered"
            assert not lost, f"{len(lost)} of {count} edits were lost, {delay} ms: {lost[:5]}"
            assert len(found) == count and found <= server.reports.committed
            await server.up()
    figure(f"D05, {how}: stored/sent by delay between edit and goodbye: {', '.join(lines)}; then kill -9; 0 lost")


async def test_d05_an_edit_glued_to_the_upgrade_request(told, figure):
    """A client must wait for the answer before it sends anything (RFC 6455, 4.1). One that does not is refused, or
    served in full: what it sent is never half taken in."""
    outcomes: Counter[tuple[int, bool]] = Counter()
    # hypercorn answers 400, and the app hears nothing more: such a connection is found out as a client that vanished.
    env = DROP_AT_ONCE | {"COLLAB_LIVENESS__PROBE_SECONDS": "1", "COLLAB_LIVENESS__SILENT_SECONDS": "3"}
    async with told(env=env) as server:
        for number in range(20):
            book = Book(f"glued {number}")
            edit = encode_frame(update(Writer("w00", "", book, 9, first=number).make()))
            status = 101
            try:
                async with await Raw.open(server.url, room=book.room, glue=edit + GOODBYE) as raw:
                    await raw.closed()
            except Refused as refused:
                status = refused.status
            outcomes[status, book.made <= server.reports.committed] += 1
        await flushed(server)
        assert server.metrics().get("collab_connections") == 0
        async with await Peer.open(server.url, "afterwards") as peer:
            await peer.until(peer.synced.is_set, "sync step 2")
    figure(f"D05, glued to the upgrade request: (status, stored): times: {dict(outcomes)}")
    assert set(outcomes) <= {(400, False), (101, True)}


async def test_d06_reopen_while_the_save_is_running(told, full, figure):
    """A save takes 500 ms. Whoever opens the room meanwhile sees every edit, and it is one room, not two."""
    delays = (0, 0.001, 0.01, 0.05, 0.2, 0.4, 0.6, 1.0)
    count = 125 if full else 15
    mismatches = 0
    async with told(env=DROP_AT_ONCE, faults={"slow_append": 0.5}) as server:

        async def leave_and_return(number: int, delay: float) -> int:
            book = Book(f"room {number} after {delay:g}")
            first = Writer("w00", server.url, book, 10)
            await first.come_back()
            await first.write(3)
            assert first.peer.raw is not None
            await first.peer.raw.send_bytes(GOODBYE)
            if delay:
                await first.peer.closed(20)  # without waiting, what lies unread at either end may be lost to a reset
                await asyncio.sleep(delay)
            async with await Peer.open(server.url, book.room) as second:
                await second.until(second.synced.is_set, "sync step 2", 20)
                with contextlib.suppress(AssertionError):
                    # Where both were on their way at once, the edits may come a moment later, as updates.
                    await second.until(lambda: book.audit(second.doc) == book.made, "all", 0.3 if delay == 0 else 0)
                wrong = book.audit(second.doc) != book.made
                second_writer = Writer("w01", server.url, book, 10)
                await second_writer.come_back()
                await second_writer.write(1)
                await second.until(lambda: len(book.audit(second.doc)) == 4, "the other one's edit", 20)
                await second_writer.leave()
            await first.leave()
            books.append(book)
            return wrong

        books: list[Book] = []
        for delay in delays:
            mismatches += sum(await asyncio.gather(*(leave_and_return(number, delay) for number in range(count))))
        await flushed(server)
        await server.down()
        found = await found_in(server.file, books)
    made = set[str]().union(*(book.made for book in books))
    figure(
        f"D06: {len(books)} rooms opened again {', '.join(f'{1000 * one:g}' for one in delays)} ms after the last one "
        f"left, saves of 500 ms: {mismatches} mismatches; {len(made - found)} edits lost after kill -9"
    )
    assert mismatches == 0
    assert made == found


async def compacted(server: Told, times: int) -> None:
    await until(lambda: server.metrics().get("collab_compactions_total") >= times, f"{times} compactions")


async def test_d07_edits_during_a_slow_compaction(told, full, figure):
    """Whatever comes between the reading and the writing of a checkpoint is in the log that stays."""
    rounds = 50 if full else 3
    env = {"COLLAB_LOG__LEVEL": "error", "COLLAB_STORE__CHECKPOINT_ROWS": "20"}
    waits: list[float] = []
    async with told(env=env, faults={"slow_compact": 0.3}) as server:
        books = [Book(f"room {number}") for number in range(4)]
        writers = [Writer(f"w{number:02d}", server.url, book, 11) for number, book in enumerate(books)]
        for writer in writers:
            await writer.come_back()
        for turn in range(rounds):
            await asyncio.gather(*(writer.write(60, 0.005) for writer in writers))
            began = time.monotonic()
            made = set[str]().union(*(book.made for book in books))
            await server.all_committed(made, 20)
            waits.append(time.monotonic() - began)
            await compacted(server, turn + 1)
            if turn % 10 == 0:  # or else compaction by compaction piles up in a document that only grows
                await until(lambda: server.metrics().get("collab_journal_lag_updates") == 0, "quiet")
        compactions = server.metrics().get("collab_compactions_total")
        for writer in writers:
            await writer.leave()
        await server.down()
        found = await found_in(server.file, books)
    figure(
        f"D07: {len(made)} edits during {compactions:g} compactions of 300 ms: {len(made - found)} unsaved after they "
        f"stopped, commits never waited for one (last edit to commit: max {1000 * max(waits):.0f} ms)"
    )
    assert compactions >= rounds
    assert made == found
    assert max(waits) < 5
