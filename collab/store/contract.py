"""The promise of `collab.store.Store` as tests, for every backend: those here, and yours.

    import pytest
    from collab.store.contract import Opener, StoreContract

    class TestMyStore(StoreContract):
        @pytest.fixture
        def open_store(self, tmp_path) -> Opener:
            return lambda: MyStore(tmp_path / "place")

`open_store` is called once per opening and must lead to the same, at first empty, place throughout one test. A backend
whose rooms outlive it gives a new object each time; one that forgets gives the same object again. Needs pytest and
anyio's plug-in for it; call `pytest.register_assert_rewrite("collab.store.contract")` before the import to see values
in failures.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict

import pytest

from ..errors import Unavailable
from . import Entry, Kind, RoomInfo, Row, Store, Stored

pytest.register_assert_rewrite("collab.store.contract_past", "collab.store.contract_authors")

from .contract_authors import AuthorsContract  # noqa: E402
from .contract_past import NEVER_WRITTEN, NOW, Opener, PastContract, listing, rows_of  # noqa: E402

__all__ = ["Opener", "StoreContract"]

# fmt: off
AWKWARD_NAMES = (
    "a", "A", "a ", " a", "a\t", "a\n", "a\0", "a\0b", "\ufeffa", "a/b", "a%2Fb", "a//b", "../a", "a?b", "a*", "a_",
    "a%", "'; DROP TABLE rooms; --", "1", "01", "1.0", "ß", "SS", "ss", "日本語", "\uffff", "\U0010ffff", "x" * 2000,
    "\U0001f469\u200d\U0001f467", "\U0001f469\U0001f467",  # a family, and its members
    "caf\u00e9", "cafe\u0301",  # one word in the forms NFC and NFD
    "\u212b", "\u00c5",  # the sign for Angstrom, and the letter that normalising makes of it
)
# fmt: on
"""Names that some backend, collation or file system takes for one another."""


@pytest.mark.anyio
class StoreContract(PastContract, AuthorsContract):
    """Subclass it in a test module, and say with `open_store` how your store is made."""

    # One room

    async def test_it_is_a_store(self, open_store: Opener) -> None:
        assert isinstance(open_store(), Store)

    async def test_a_room_never_written_is_empty(self, open_store: Opener) -> None:
        async with open_store() as store:
            assert await store.load("room") == NEVER_WRITTEN
            assert await store.load("room") == NEVER_WRITTEN
            assert await listing(store) == []

    async def test_updates_come_back_in_order_numbered_without_a_hole(self, open_store: Opener) -> None:
        updates = [b"update %d" % i for i in range(30)]
        async with open_store() as store:
            for update in updates[:10]:
                await store.append([Entry("room", update, NOW)])
            assert await store.append([Entry("room", update, NOW) for update in updates[10:]]) == list(range(11, 31))
            stored = await store.load("room")
        assert rows_of(stored) == updates
        assert [row.seq for row in stored.rows] == list(range(1, 31))
        assert (stored.epoch, stored.checkpoint, stored.covers, stored.seq) == (1, None, 0, 30)

    async def test_everything_about_a_row_comes_back(self, open_store: Opener) -> None:
        entries = [
            Entry("room", b"\x00\x00", NOW, "ana", Kind.RAW),
            Entry("room", bytes(range(256)), NOW + 0.5, None, Kind.MERGED),
            Entry("room", b"x", 0.0, "", Kind.RAW),
            Entry("room", b"x", -3600.25, "Bjørn \0 👋 '\"", Kind.MERGED),
            Entry("room", b"", 7_258_118_400.25, "a" * 10_000),
        ]
        async with open_store() as store:
            await store.append(entries)
            stored = await store.load("room")
        assert stored.rows == tuple(
            Row(seq, entry.update, entry.time, entry.author, entry.kind) for seq, entry in enumerate(entries, 1)
        )
        assert all(type(row.kind) is Kind and type(row.update) is bytes for row in stored.rows)

    async def test_order_does_not_come_from_the_clock(self, open_store: Opener) -> None:
        times = [NOW, NOW - 3600, NOW + 3600, NOW, NOW, NOW - 7200]
        async with open_store() as store:
            for place, time in enumerate(times):
                await store.append([Entry("room", b"%d" % place, time)])
            stored = await store.load("room")
        assert [row.time for row in stored.rows] == times
        assert rows_of(stored) == [b"%d" % place for place in range(len(times))]

    async def test_a_large_update(self, open_store: Opener) -> None:
        large = random.Random(5).randbytes(5_000_000)
        async with open_store() as store:
            await store.append([Entry("room", b"a", NOW), Entry("room", large, NOW), Entry("room", b"b", NOW)])
        async with open_store() as store:
            assert rows_of(await store.load("room")) == [b"a", large, b"b"]

    async def test_updates_around_every_size_where_a_backend_changes_its_mind(self, open_store: Opener) -> None:
        source = random.Random(7)
        sizes = [edge + by for edge in (1, 255, 1024, 4096, 65536, 1 << 20) for by in (-1, 0, 1)]
        updates = [source.randbytes(size) for size in sizes]
        async with open_store() as store:
            await store.append([Entry("room", update, NOW) for update in updates])
            assert rows_of(await store.load("room")) == updates

    async def test_ten_thousand_rows(self, open_store: Opener) -> None:
        updates = [b"%d" % i for i in range(10_000)]
        async with open_store() as store:
            assert await store.append([Entry("room", update, NOW) for update in updates]) == list(range(1, 10_001))
            assert rows_of(await store.load("room")) == updates
        async with open_store() as store:
            assert rows_of(await store.load("room")) == updates

    # Many rooms

    async def test_room_names_are_exact(self, open_store: Opener) -> None:
        assert len(set(AWKWARD_NAMES)) == len(AWKWARD_NAMES)
        async with open_store() as store:
            for place, name in enumerate(AWKWARD_NAMES):
                assert await store.load(name) == NEVER_WRITTEN
                await store.append([Entry(name, b"%d" % place, NOW)])
        async with open_store() as store:
            assert [info.name for info in await listing(store)] == sorted(AWKWARD_NAMES)
            for place, name in enumerate(AWKWARD_NAMES):
                assert rows_of(await store.load(name)) == [b"%d" % place]
                assert await store.compact(name, b"state %d" % place, covers=1, basis=0)
            for place, name in enumerate(AWKWARD_NAMES):
                assert await store.load(name) == Stored(1, b"state %d" % place, 1, ())

    async def test_each_room_is_numbered_by_itself(self, open_store: Opener) -> None:
        async with open_store() as store:
            entries = [Entry(f"room {i % 3}", b"%d" % i, NOW) for i in range(10)]
            assert await store.append(entries) == [1, 1, 1, 2, 2, 2, 3, 3, 3, 4]
            assert await store.append([Entry("room 2", b"", NOW), Entry("new", b"", NOW)]) == [4, 1]
            assert rows_of(await store.load("room 0")) == [b"0", b"3", b"6", b"9"]

    async def test_rooms_are_listed_by_name(self, open_store: Opener) -> None:
        names = [f"{prefix}{i}" for i in range(300) for prefix in ("b", "a", "é", "Z", "日")]
        async with open_store() as store:
            await store.append([Entry(name, b"xyz", NOW) for name in names])
            infos = await listing(store)
        assert [info.name for info in infos] == sorted(names)
        assert infos[0] == RoomInfo(
            name=min(names), epoch=1, seq=1, covers=0, checkpoint_bytes=0, log_rows=1, log_bytes=3, changed=NOW
        )

    async def test_the_listing_counts(self, open_store: Opener) -> None:
        async with open_store() as store:
            await store.append([Entry("room", b"x" * size, NOW + size) for size in (10, 20, 30)])
            await store.compact("room", b"12345", covers=2, basis=0)
            await store.append([Entry("room", b"x" * 5, NOW + 99)])
        async with open_store() as store:
            (info,) = await listing(store)
        assert info == RoomInfo(
            "room", 1, seq=4, covers=2, checkpoint_bytes=5, log_rows=2, log_bytes=35, changed=NOW + 99
        )

    # Promises about appending

    async def test_what_was_appended_is_there_after_reopening(self, open_store: Opener) -> None:
        async with open_store() as store:
            await store.append([Entry("room", b"one", NOW, "ana"), Entry("other", b"two", NOW)])
        async with open_store() as store:
            assert rows_of(await store.load("room")) == [b"one"]
            assert await store.append([Entry("room", b"three", NOW), Entry("other", b"four", NOW)]) == [2, 2]
        async with open_store() as store:
            assert rows_of(await store.load("room")) == [b"one", b"three"]
            assert rows_of(await store.load("other")) == [b"two", b"four"]

    async def test_appending_nothing(self, open_store: Opener) -> None:
        async with open_store() as store:
            assert await store.append([]) == []
            assert await listing(store) == []

    async def test_all_or_nothing(self, open_store: Opener) -> None:
        impossible = Entry("other", "not bytes", NOW)  # type: ignore[arg-type]
        async with open_store() as store:
            await store.append([Entry("room", b"before", NOW)])
            with pytest.raises(Exception):  # noqa: B017 - which error is the backend's own business
                await store.append([Entry("room", b"lost", NOW), Entry("fresh", b"lost", NOW), impossible])
            assert await store.append([Entry("room", b"after", NOW)]) == [2]
            assert rows_of(await store.load("room")) == [b"before", b"after"]
            assert await store.load("fresh") == NEVER_WRITTEN
            assert await store.load("other") == NEVER_WRITTEN
            assert [info.name for info in await listing(store)] == ["room"]

    async def test_the_caller_may_change_its_list_afterwards(self, open_store: Opener) -> None:
        async with open_store() as store:
            entries = [Entry("room", b"one", NOW)]
            pending = asyncio.ensure_future(store.append(entries))
            await asyncio.sleep(0)
            entries.append(Entry("room", b"two", NOW))
            assert await pending == [1]
            assert rows_of(await store.load("room")) == [b"one"]

    async def test_many_tasks_append_at_once(self, open_store: Opener) -> None:
        taken: dict[str, dict[int, bytes]] = defaultdict(dict)

        async def write(store: Store, task: int) -> None:
            source = random.Random(task)
            for step in range(20):
                rooms = [f"room {source.randrange(5)}" for _ in range(source.randint(1, 4))]
                entries = [Entry(room, b"%d.%d.%d" % (task, step, i), NOW) for i, room in enumerate(rooms)]
                for entry, seq in zip(entries, await store.append(entries), strict=True):
                    assert seq not in taken[entry.room], "two entries got one number"
                    taken[entry.room][seq] = entry.update

        async with open_store() as store:
            await asyncio.gather(*(write(store, task) for task in range(40)))
        async with open_store() as store:
            for room, rows in taken.items():
                assert {row.seq: row.update for row in (await store.load(room)).rows} == rows

    async def test_what_one_task_appends_in_turn_stays_in_turn(self, open_store: Opener) -> None:
        async with open_store() as store:
            pending = [asyncio.ensure_future(store.append([Entry("room", b"%d" % i, NOW)])) for i in range(100)]
            assert await asyncio.gather(*pending) == [[seq] for seq in range(1, 101)]
            assert rows_of(await store.load("room")) == [b"%d" % i for i in range(100)]

    async def test_an_append_is_loaded_as_soon_as_it_returned(self, open_store: Opener) -> None:
        async def write_and_look(store: Store, room: str) -> None:
            for seq in range(1, 11):
                assert await store.append([Entry(room, b"%d" % seq, NOW)]) == [seq]
                assert len((await store.load(room)).rows) == seq

        async with open_store() as store:
            await asyncio.gather(*(write_and_look(store, f"room {i}") for i in range(20)))

    async def test_a_cancelled_caller_harms_nobody(self, open_store: Opener) -> None:
        async with open_store() as store:
            tasks = [asyncio.ensure_future(store.append([Entry("room", b"%d" % i, NOW)])) for i in range(50)]
            await asyncio.sleep(0)
            for task in tasks[::2]:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert all(not task.cancelled() for task in tasks[1::2])
            stored = await store.load("room")
            assert [row.seq for row in stored.rows] == list(range(1, len(stored.rows) + 1))
            assert {b"%d" % i for i in range(1, 50, 2)} <= set(rows_of(stored))
            for i in range(1, 50, 2):
                assert stored.rows[tasks[i].result()[0] - 1].update == b"%d" % i

    # Compaction

    async def test_a_checkpoint_stands_for_the_rows_it_covers(self, open_store: Opener) -> None:
        async with open_store() as store:
            await store.append([Entry("room", b"%d" % i, NOW) for i in range(1, 6)])
            assert await store.compact("room", b"state 3", covers=3, basis=0) is True
            stored = await store.load("room")
            assert (stored.checkpoint, stored.covers, stored.seq) == (b"state 3", 3, 5)
            assert [(row.seq, row.update) for row in stored.rows] == [(4, b"4"), (5, b"5")]
            assert await store.compact("room", b"state 5", covers=5, basis=3) is True
            assert await store.load("room") == Stored(1, b"state 5", 5, ())
            assert await store.append([Entry("room", b"6", NOW)]) == [6]
        async with open_store() as store:
            stored = await store.load("room")
            assert (stored.checkpoint, stored.covers, rows_of(stored)) == (b"state 5", 5, [b"6"])

    async def test_who_comes_second_changes_nothing(self, open_store: Opener) -> None:
        async with open_store() as store:
            await store.append([Entry("room", b"%d" % i, NOW) for i in range(1, 6)])
            assert await store.compact("room", b"first", covers=3, basis=0)
            before = await store.load("room")
            assert await store.compact("room", b"second", covers=4, basis=0) is False
            assert await store.compact("room", b"second", covers=5, basis=2) is False
            assert await store.compact("room", b"second", covers=5, basis=4) is False
            assert await store.load("room") == before

    async def test_two_compactions_at_once(self, open_store: Opener) -> None:
        async with open_store() as store:
            await store.append([Entry("room", b"%d" % i, NOW) for i in range(1, 11)])
            results = await asyncio.gather(
                *(store.compact("room", b"%d" % covers, covers=covers, basis=0) for covers in (4, 7, 10))
            )
            assert sorted(results) == [False, False, True]
            stored = await store.load("room")
            assert stored.checkpoint == b"%d" % stored.covers
            assert [row.seq for row in stored.rows] == list(range(stored.covers + 1, 11))

    async def test_a_checkpoint_may_be_written_anew_at_its_place(self, open_store: Opener) -> None:
        async with open_store() as store:
            await store.append([Entry("room", b"1", NOW), Entry("room", b"2", NOW)])
            assert await store.compact("room", b"state", covers=1, basis=0)
            assert await store.compact("room", b"smaller", covers=1, basis=1)
            assert (await store.load("room")).checkpoint == b"smaller"
            assert rows_of(await store.load("room")) == [b"2"]

    @pytest.mark.parametrize("covers", [-1, 0, 1, 4, 100])
    async def test_a_checkpoint_cannot_cover_what_is_not_there(self, open_store: Opener, covers: int) -> None:
        async with open_store() as store:
            await store.append([Entry("room", b"%d" % i, NOW) for i in range(1, 4)])
            assert await store.compact("room", b"state", covers=2, basis=0)
            before = await store.load("room")
            with pytest.raises(ValueError):
                await store.compact("room", b"wrong", covers=covers, basis=2)
            assert await store.load("room") == before
            with pytest.raises(ValueError):
                await store.compact("never written", b"wrong", covers=covers, basis=0)
            assert await store.load("never written") == NEVER_WRITTEN

    async def test_compacting_one_room_leaves_the_others(self, open_store: Opener) -> None:
        async with open_store() as store:
            await store.append([Entry(room, b"%d" % i, NOW) for i in range(3) for room in ("a", "b", "c")])
            before = await store.load("a"), await store.load("c")
            assert await store.compact("b", b"state", covers=3, basis=0)
            assert (await store.load("a"), await store.load("c")) == before

    async def test_a_large_checkpoint(self, open_store: Opener) -> None:
        large = random.Random(6).randbytes(5_000_000)
        async with open_store() as store:
            await store.append([Entry("room", b"1", NOW)])
            assert await store.compact("room", large, covers=1, basis=0)
        async with open_store() as store:
            assert await store.load("room") == Stored(1, large, 1, ())

    async def test_loading_is_never_torn(self, open_store: Opener) -> None:
        """Whatever is appended and compacted meanwhile: checkpoint and rows of one moment."""

        async def write(store: Store) -> None:
            basis = 0
            for i in range(30):
                numbers = await store.append([Entry("room", b"%d" % i, NOW) for _ in range(200)])
                if i % 3:
                    covers = numbers[-1] - 50
                    assert await store.compact("room", b"%d" % covers, covers=covers, basis=basis)
                    basis = covers

        async def look(store: Store, source: random.Random) -> None:
            seen = 0
            while seen < 6000:
                stored = await store.load("room")
                assert stored.checkpoint == (b"%d" % stored.covers if stored.covers else None)
                assert [row.seq for row in stored.rows] == list(range(stored.covers + 1, stored.seq + 1))
                assert stored.seq >= seen
                seen = stored.seq
                for _ in range(source.randrange(5)):
                    await asyncio.sleep(0)

        async with open_store() as store:
            await asyncio.gather(write(store), *(look(store, random.Random(i)) for i in range(5)))

    # The store as a whole

    async def test_check_is_silent_while_all_is_well(self, open_store: Opener) -> None:
        async with open_store() as store:
            await store.check()
            await store.append([Entry("room", b"1", NOW)])
            await asyncio.gather(*(store.check() for _ in range(10)))
            assert [info.name for info in await listing(store)] == ["room"]

    async def test_an_append_overtaken_by_closing_is_kept_or_refused(self, open_store: Opener) -> None:
        async with open_store() as store:
            tasks = [asyncio.ensure_future(store.append([Entry("room", b"%d" % i, NOW)])) for i in range(20)]
            await asyncio.sleep(0)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, list | Unavailable) for result in results)
        async with open_store() as store:
            kept = rows_of(await store.load("room"))
        assert {b"%d" % i for i, result in enumerate(results) if isinstance(result, list)} <= set(kept)

    async def test_a_closed_store_refuses(self, open_store: Opener) -> None:
        async with open_store() as store:
            pass
        for call in (store.append([Entry("room", b"", NOW)]), store.load("room"), store.check()):
            with pytest.raises(Unavailable):
                await call

    async def test_opened_and_closed_many_times(self, open_store: Opener) -> None:
        for times in range(1, 6):
            async with open_store() as store:
                assert await store.append([Entry("room", b"", NOW)]) == [times]
