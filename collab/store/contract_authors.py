"""The part of the contract that speaks of who made what, and of forgetting it; and of one room's line of the list.

Subclass `collab.store.contract.StoreContract`, which has it all.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from ..errors import Unavailable
from . import Entry, Kind, Reason, Store, Unsigned
from .contract_past import NOW, Opener, keep, listing, write


async def signed(store: Store, room: str) -> list[str | None]:
    """Who made the rows and the snapshots of a room, in order."""
    rows = [row.author for row in await store.history(room)]
    return rows + [info.author for info in reversed(await store.snapshots(room))]


@pytest.mark.anyio
class AuthorsContract:
    """See `collab.store.contract.StoreContract`."""

    async def test_one_rooms_line(self, open_store: Opener) -> None:
        async with open_store() as store:
            assert await store.room("room") is None
            await write(store, 5)
            await write(store, 3, "room ")
            await store.compact("room", b"state 4", covers=4, basis=0)
            await store.forget("room", 2)
            lines = await listing(store)
            assert [await store.room(info.name) for info in lines] == lines and len(lines) == 2
            assert await store.room("roo") is None
            await store.erase("room")
            assert await store.room("room") is None
        async with open_store() as store:
            assert await store.room("room ") == lines[1]

    async def test_an_author_is_forgotten_and_what_he_wrote_stays(self, open_store: Opener) -> None:
        async with open_store() as store:
            for room in ("one", "two"):
                await store.append(
                    [
                        Entry(room, b"%d" % n, NOW + n, who)
                        for n, who in enumerate(["ana", "ben", "ana", None, "Ana"], 1)
                    ]
                )
                await store.append([Entry(room, b"6", NOW + 6, "ana", Kind.MERGED)])
                await store.compact(room, b"state 4", covers=4, basis=0)
                for who in ("ana", "ben"):
                    await store.add_snapshot(
                        room, b"state 2", covers=2, time=NOW, reason=Reason.MANUAL, label="ana", author=who
                    )
            before = await store.load("one"), await store.history("one"), await store.snapshots("one")
            assert await store.unsign("ana", "one") == Unsigned(3, 1)
            assert await signed(store, "one") == [None, "ben", None, None, "Ana", None, None, "ben"]
            assert (await signed(store, "two")).count("ana") == 4
            for row, old in zip(await store.history("one"), before[1], strict=True):
                assert row._replace(author=old.author) == old
            for info, was in zip(await store.snapshots("one"), before[2], strict=True):
                assert replace(info, author=was.author) == was, "what people wrote on it is not who made it"
                assert (await store.snapshot("one", info.id))[1] == b"state 2"
            assert (await store.load("one")).checkpoint == before[0].checkpoint
            assert await store.unsign("ana", "one") == Unsigned(0, 0)
            assert await store.unsign("nobody") == Unsigned(0, 0)
            assert await store.unsign("ana") == Unsigned(3, 1)
        async with open_store() as store:
            assert "ana" not in await signed(store, "one") + await signed(store, "two")
            await store.append([Entry("one", b"7", NOW, "ana")])
            assert await signed(store, "one") == [None, "ben", None, None, "Ana", None, "ana", None, "ben"]

    async def test_many_rows_of_one_author(self, open_store: Opener) -> None:
        async with open_store() as store:
            for room in ("one", "two"):
                await store.append([Entry(room, b"x", NOW, ("ana", "ben")[n % 2]) for n in range(3_000)])
            await keep(store, 10, "one")
            assert await store.unsign("ana") == Unsigned(3_000, 0)
            assert (await signed(store, "one")).count("ben") == 1_500

    async def test_a_closed_store_forgets_nobody(self, open_store: Opener) -> None:
        async with open_store() as store:
            await write(store, 1)
        with pytest.raises(Unavailable):
            await store.unsign("ana")
        with pytest.raises(Unavailable):
            await store.room("room")
