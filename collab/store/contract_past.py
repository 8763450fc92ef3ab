"""The part of the contract that speaks of what was: history, snapshots, forgetting and erasing.

Subclass `collab.store.contract.StoreContract`, which has it all.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any, TypeAlias

import pytest

from ..errors import Forgotten, NoSuchRoom, NoSuchSnapshot, Unavailable
from . import Entry, Erased, Reach, Reason, RoomInfo, SnapshotInfo, State, Store, Stored

Opener: TypeAlias = Callable[[], Store]

NOW = 1_760_000_000.123456

NEVER_WRITTEN = Stored(1, None, 0, ())


def rows_of(stored: Stored) -> list[bytes]:
    """The updates of the log, in order."""
    return [row.update for row in stored.rows]


async def listing(store: Store) -> list[RoomInfo]:
    """All of `Store.rooms`."""
    return [info async for info in store.rooms()]


async def numbers(store: Store, room: str = "room", **part: Any) -> list[int]:
    """Which rows of its history a room has; each must still say what was written."""
    rows = await store.history(room, **part)
    assert all(row.update == b"%d" % row.seq for row in rows)
    return [row.seq for row in rows]


async def write(store: Store, upto: int, room: str = "room", first: int = 1) -> None:
    """Rows that say their number; row n at `NOW` + n seconds."""
    await store.append([Entry(room, b"%d" % seq, NOW + seq, "ana") for seq in range(first, upto + 1)])


async def keep(store: Store, covers: int, room: str = "room", reason: Reason = Reason.MANUAL) -> SnapshotInfo:
    """A snapshot whose state says what it covers."""
    return await store.add_snapshot(room, b"state %d" % covers, covers=covers, time=NOW, reason=reason)


@pytest.mark.anyio
class PastContract:
    """See `collab.store.contract.StoreContract`."""

    @pytest.fixture
    def anyio_backend(self) -> str:
        """Stores live on asyncio."""
        return "asyncio"

    @pytest.fixture
    def open_store(self) -> Opener:
        """Override: how to make the store, not yet opened."""
        raise NotImplementedError

    # History

    async def test_rows_stay_when_a_checkpoint_covers_them(self, open_store: Opener) -> None:
        async with open_store() as store:
            await write(store, 10)
            before = (await store.load("room")).rows
            assert await store.compact("room", b"state 7", covers=7, basis=0)
            assert await store.history("room") == list(before)
            assert [row.seq for row in (await store.load("room")).rows] == [8, 9, 10]
            [info] = await listing(store)
            assert (info.log_rows, info.log_bytes, info.forgotten) == (3, 4, 0)
            assert await store.compact("room", b"state 10", covers=10, basis=7)
            assert await store.reach("room") == Reach(10, 10, 0)
            await write(store, 12, first=11)
            [info] = await listing(store)
            assert (info.log_rows, info.log_bytes, info.forgotten) == (2, 4, 0)
        async with open_store() as store:
            assert await numbers(store) == list(range(1, 13))
            assert await store.load("room") == Stored(1, b"state 10", 10, tuple(await store.history("room", 10)))

    async def test_a_part_of_the_history(self, open_store: Opener) -> None:
        async with open_store() as store:
            await write(store, 3000)
            assert await numbers(store, after=0, until=3) == [1, 2, 3]
            assert await numbers(store, after=1998, until=2002) == [1999, 2000, 2001, 2002]
            assert await numbers(store, after=2999) == [3000]
            assert await numbers(store, after=3000) == []
            assert await numbers(store, after=5, until=5) == []
            assert await numbers(store, after=2998, until=10**6) == [2999, 3000]
            assert await numbers(store) == list(range(1, 3001))
            assert await store.history("never written") == []
            assert await store.reach("never written") == Reach(0, 0, 0)

    async def test_a_compaction_may_let_rows_go(self, open_store: Opener) -> None:
        async with open_store() as store:
            await write(store, 10)
            assert await store.compact("room", b"state 4", covers=4, basis=0)
            assert await store.compact("room", b"state 7", covers=7, basis=4, keep=False)
            assert await numbers(store) == [8, 9, 10]
            assert await store.reach("room") == Reach(10, 7, 7)
            assert await store.snapshots("room") == []

    async def test_where_a_time_lies(self, open_store: Opener) -> None:
        times = [10.0, 20.0, 15.0, 30.0, 30.0, 25.0, 40.0]
        async with open_store() as store:
            await store.append([Entry("room", b"x", time) for time in times])
            asked = [(5, 0), (10, 1), (19.9, 1), (20, 3), (29, 3), (30, 6), (39, 6), (40, 7), (99, 7)]
            assert [(time, await store.seq_at("room", time)) for time, _ in asked] == asked
            await store.compact("room", b"state", covers=5, basis=0)
            await store.forget("room", 4)
            assert [await store.seq_at("room", time) for time in (5, 30, 99)] == [4, 6, 7]
            assert await store.seq_at("never written", 10) == 0

    # Forgetting

    async def test_forgetting(self, open_store: Opener) -> None:
        async with open_store() as store:
            await write(store, 20)
            await store.compact("room", b"state 15", covers=15, basis=0)
            before = await store.load("room")
            assert await store.forget("room", 6) == 6
            assert await store.forget("room", 6) == 0
            assert await store.forget("room", 3) == 0
            assert await numbers(store) == list(range(7, 21))
            assert await numbers(store, until=5) == []
            assert await store.reach("room") == Reach(20, 15, 6)
            assert [info.forgotten for info in await listing(store)] == [6]
            assert await store.forget("room", 15) == 9
            assert await store.load("room") == before
            await write(store, 21, first=21)
        async with open_store() as store:
            assert await numbers(store) == list(range(16, 22))

    async def test_everything_may_be_forgotten_and_the_room_goes_on(self, open_store: Opener) -> None:
        async with open_store() as store:
            await write(store, 5)
            await store.compact("room", b"state 5", covers=5, basis=0)
            assert await store.forget("room", 5) == 5
        async with open_store() as store:
            assert await store.load("room") == Stored(1, b"state 5", 5, ())
            assert await store.append([Entry("room", b"6", NOW)]) == [6]
            assert await numbers(store) == [6]

    @pytest.mark.parametrize("upto", [-1, 4, 5, 100])
    async def test_rows_that_the_document_needs_are_not_forgotten(self, open_store: Opener, upto: int) -> None:
        async with open_store() as store:
            await write(store, 5)
            await store.compact("room", b"state 3", covers=3, basis=0)
            await keep(store, 5)
            with pytest.raises(ValueError):
                await store.forget("room", upto)
            with pytest.raises(ValueError):
                await store.forget("never written", upto)
            assert await numbers(store) == [1, 2, 3, 4, 5]

    async def test_of_several_bases_the_last_stays(self, open_store: Opener) -> None:
        async with open_store() as store:
            await write(store, 9)
            await store.compact("room", b"state 9", covers=9, basis=0)
            kept = {covers: await keep(store, covers, reason=Reason.BASE) for covers in (2, 4, 6)}
            mine = await keep(store, 1)
            await store.forget("room", 4)
            assert {info.id for info in await store.snapshots("room")} == {kept[4].id, kept[6].id, mine.id}

    async def test_a_checkpoint_that_history_begins_at_stays_as_its_base(self, open_store: Opener) -> None:
        async with open_store() as store:
            await write(store, 5)
            await store.compact("room", b"state 5", covers=5, basis=0)
            await store.forget("room", 5)
            await write(store, 9, first=6)
            await store.compact("room", b"state 9", covers=9, basis=5)
            [base] = await store.snapshots("room")
            assert (base.covers, base.reason, base.author) == (5, Reason.BASE, None)
            assert (await store.snapshot("room", base.id))[1] == b"state 5"
            assert await store.state_at("room", 7) == State(b"state 5", 5)
            await write(store, 12, first=10)
            await store.compact("room", b"state 12", covers=12, basis=9)
            assert await store.snapshots("room") == [base], "the history begins there still"

    # Stored states

    async def test_the_nearest_state_before_a_moment(self, open_store: Opener) -> None:
        async with open_store() as store:
            await write(store, 20)
            assert await store.state_at("room", 20) == State(None, 0)
            for covers in (5, 9, 3):
                await keep(store, covers)
            await store.compact("room", b"checkpoint", covers=12, basis=0)
            found = [(await store.state_at("room", seq)).covers for seq in (0, 2, 3, 4, 5, 8, 9, 11, 12, 20)]
            assert found == [0, 0, 3, 3, 5, 5, 9, 9, 12, 12]
            assert await store.state_at("room", 11) == State(b"state 9", 9)
            assert await store.state_at("room", 20) == State(b"checkpoint", 12)
            assert await store.state_at("never written", 0) == State(None, 0)
            for room, seq in (("room", -1), ("room", 21), ("never written", 1)):
                with pytest.raises(ValueError):
                    await store.state_at(room, seq)

    async def test_what_the_history_does_not_reach_back_to(self, open_store: Opener) -> None:
        async with open_store() as store:
            await write(store, 20)
            for covers in (4, 10):
                await keep(store, covers)
            await store.compact("room", b"checkpoint", covers=15, basis=0)
            await store.forget("room", 8)
            assert await store.state_at("room", 4) == State(b"state 4", 4), "a snapshot stays what it is"
            for seq in (0, 3, 5, 8, 9):
                with pytest.raises(Forgotten) as caught:
                    await store.state_at("room", seq)
                assert (caught.value.seq, caught.value.oldest) == (seq, 10)
            assert (await store.state_at("room", 10)).covers == 10
            assert (await store.state_at("room", 15)).covers == 15

    # Snapshots

    async def test_everything_about_a_snapshot_comes_back(self, open_store: Opener) -> None:
        state = random.Random(3).randbytes(100_000)
        async with open_store() as store:
            await write(store, 3)
            made = await store.add_snapshot(
                "room",
                state,
                covers=2,
                time=NOW,
                reason=Reason.BEFORE_RESTORE,
                label="Ünterschrift \0 '\"👋",
                note="a\nb",
                author="Bjørn",
                pinned=True,
            )
            assert (made.room, made.covers, made.time, made.size, made.pinned) == ("room", 2, NOW, 100_000, True)
            assert (made.label, made.note, made.author) == ("Ünterschrift \0 '\"👋", "a\nb", "Bjørn")
            assert made.reason is Reason.BEFORE_RESTORE
            plain = await store.add_snapshot("room", b"", covers=0, time=-5.25, reason=Reason.ACTIVITY)
            assert (plain.label, plain.note, plain.author, plain.pinned, plain.size) == ("", "", None, False, 0)
            assert made.checksum != plain.checksum
        async with open_store() as store:
            assert await store.snapshots("room") == [plain, made]
            assert await store.snapshot("room", made.id) == (made, state)
            assert await store.snapshot("room", plain.id) == (plain, b"")
            assert rows_of(await store.load("room")) == [b"1", b"2", b"3"], "a snapshot changes nothing of the room"

    @pytest.mark.parametrize("covers", [-1, 4])
    async def test_a_snapshot_cannot_cover_what_is_not_there(self, open_store: Opener, covers: int) -> None:
        async with open_store() as store:
            await write(store, 3)
            with pytest.raises(ValueError):
                await keep(store, covers)
            assert await store.snapshots("room") == []
            with pytest.raises(NoSuchRoom):
                await keep(store, 0, "never written")
            assert await store.load("never written") == NEVER_WRITTEN

    async def test_snapshots_are_listed_newest_first_in_pages(self, open_store: Opener) -> None:
        async with open_store() as store:
            await write(store, 3)
            await write(store, 3, "other")
            made = [await keep(store, 1 + i % 3, "other" if i % 4 == 3 else "room") for i in range(40)]
            newest = [info for info in reversed(made) if info.room == "room"]
            assert sorted(info.id for info in made) == [info.id for info in made]
            assert await store.snapshots("room") == newest
            paged: list[SnapshotInfo] = []
            for _ in range(6):
                page = await store.snapshots("room", before=paged[-1].id if paged else None, limit=7)
                assert len(page) <= 7
                paged += page
            assert paged == newest
            assert await store.snapshots("never written") == []

    async def test_a_snapshot_is_changed(self, open_store: Opener) -> None:
        async with open_store() as store:
            await write(store, 3)
            made, other = await keep(store, 3), await keep(store, 3)
            assert (await store.change_snapshot("room", made.id, label="new")).label == "new"
            assert (await store.change_snapshot("room", made.id, note="more")).label == "new"
            last = await store.change_snapshot("room", made.id, pinned=True)
            assert (last.label, last.note, last.pinned) == ("new", "more", True)
            assert (last.covers, last.time, last.checksum) == (made.covers, made.time, made.checksum)
            assert await store.change_snapshot("room", made.id) == last
        async with open_store() as store:
            assert await store.snapshots("room") == [other, last]
            assert await store.snapshot("room", made.id) == (last, b"state 3")
            assert not (await store.change_snapshot("room", made.id, label="", pinned=False)).pinned

    async def test_snapshots_are_deleted(self, open_store: Opener) -> None:
        async with open_store() as store:
            await write(store, 3)
            made = [await keep(store, 3) for _ in range(60)]
            gone = [info.id for info in made[::2]]
            assert await store.delete_snapshots("room", [*gone, 10**9]) == 30
            assert await store.delete_snapshots("room", gone) == 0
            assert await store.delete_snapshots("room", []) == 0
            assert await store.snapshots("room") == made[1::2][::-1]
        async with open_store() as store:
            assert await store.delete_snapshots("room", [made[-1].id]) == 1
            assert (await keep(store, 3)).id > made[-1].id, "a number was given to another"

    async def test_a_snapshot_belongs_to_its_room(self, open_store: Opener) -> None:
        async with open_store() as store:
            await write(store, 3)
            await write(store, 3, "other")
            made = await keep(store, 3)
            for room, id in (("other", made.id), ("never written", made.id), ("room", made.id + 1), ("room", 0)):
                with pytest.raises(NoSuchSnapshot):
                    await store.snapshot(room, id)
                with pytest.raises(NoSuchSnapshot):
                    await store.change_snapshot(room, id, label="x")
                assert await store.delete_snapshots(room, [id]) == 0
            assert await store.snapshots("room") == [made]

    # Erasing

    async def test_an_erased_room_is_gone_and_another_may_begin(self, open_store: Opener) -> None:
        async with open_store() as store:
            for room in ("room", "other"):
                await write(store, 10, room)
                await store.compact(room, b"state 6", covers=6, basis=0)
                await keep(store, 8, room)
            other = await store.load("other"), await store.history("other"), await store.snapshots("other")
            assert await store.erase("room") == Erased(10, 1)
            empty = Stored(2, None, 0, ())
            assert await store.load("room") == empty
            assert (await store.history("room"), await store.snapshots("room")) == ([], [])
            assert await store.reach("room") == Reach(0, 0, 0)
            assert [info.name for info in await listing(store)] == ["other"]
            assert await store.erase("room") == Erased(0, 0)
            assert await store.erase("never written") == Erased(0, 0)
        async with open_store() as store:
            assert await store.load("room") == empty
            assert await store.append([Entry("room", b"1", NOW), Entry("fresh", b"1", NOW)]) == [1, 1]
            assert (await store.load("room")).epoch == 2
            assert await numbers(store) == [1]
            assert (await store.load("other"), await store.history("other"), await store.snapshots("other")) == other
            assert await store.erase("room") == Erased(1, 0)
            await write(store, 2)
            assert (await store.load("room")).epoch == 3
            assert await store.compact("room", b"state 2", covers=2, basis=0)
            assert (await keep(store, 2)).covers == 2

    async def test_history_is_never_torn(self, open_store: Opener) -> None:
        """Whatever is compacted, forgotten and erased meanwhile: rows without a hole, and states that lead to them."""

        async def change(store: Store) -> None:
            basis = 0
            for turn in range(1, 16):
                await write(store, turn * 200, first=(turn - 1) * 200 + 1)
                assert await store.compact("room", b"%d" % (turn * 200 - 50), covers=turn * 200 - 50, basis=basis)
                basis = turn * 200 - 50
                if turn % 3 == 0:
                    await store.forget("room", basis - 100)
            await store.erase("room")

        async def look(store: Store) -> None:
            while not written.done():
                reach = await store.reach("room")
                rows = await store.history("room", until=reach.seq or None)
                assert [row.seq for row in rows] == list(range(rows[0].seq, rows[-1].seq + 1) if rows else [])
                try:
                    state = await store.state_at("room", reach.seq)
                except (Forgotten, ValueError):
                    pass
                else:
                    assert state.update == (b"%d" % state.covers if state.covers else None)
                await asyncio.sleep(0)

        async with open_store() as store:
            written = asyncio.ensure_future(change(store))
            await asyncio.gather(written, *(look(store) for _ in range(3)))

    async def test_a_closed_store_refuses_to_look_back(self, open_store: Opener) -> None:
        async with open_store() as store:
            pass
        for call in (store.history("a"), store.snapshots("a"), store.reach("a"), store.erase("a"), keep(store, 0)):
            with pytest.raises(Unavailable):
                await call
