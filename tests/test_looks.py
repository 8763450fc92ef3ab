"""What is long is looked through aside, and whatever came behind it is taken in behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from pycrdt import Doc, Text

from collab.errors import BadMessage, BadUpdate
from collab.looks import Looks, is_long
from collab.room import RoomCore
from collab.vetting import LONG
from collab.wire import vet
from collab.wire.lib0 import var_uint
from collab.wire.messages import Awareness, Message, QueryAwareness, SyncStep1, SyncStep2, Update
from tests.support.waiting import until
from tests.test_room import Somebody as Writer

pytestmark = pytest.mark.anyio


def update(size: int) -> bytes:
    doc: Doc[Any] = Doc({"t": Text("x" * size)})
    return doc.get_update()


class House:
    """A hub, an intake and a place that write down what they are told."""

    def __init__(self, refused: Callable[[Message], bool] = lambda message: False) -> None:
        self.said: list[str] = []
        self.taken: list[Message] = []
        self.refused = refused
        self._tasks: set[asyncio.Task[None]] = set()
        self.core = RoomCore("house")
        self.looks = Looks(self, "house", self, self.take, lambda: self.said.append("done"))  # type: ignore[arg-type]

    def find(self, room: str) -> House:
        assert room == "house"
        return self

    def start_soon(self, call: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._tasks.add(asyncio.get_running_loop().create_task(call()))

    def hold(self) -> None:
        self.said.append("hold")

    def let_go(self) -> None:
        self.said.append("let go")

    def take(self, frame: bytes, message: Message) -> bool:
        self.taken.append(message)
        return not self.refused(message)

    async def over(self) -> None:
        await until(lambda: "done" in self.said, "looked through")
        assert self.said == ["hold", "let go", "done"]


@pytest.mark.parametrize("kind", [Update, SyncStep2, SyncStep1])
def test_what_is_long(kind):
    assert is_long(kind(bytes(LONG))) and not is_long(kind(bytes(LONG - 1)))


@pytest.mark.parametrize("message", [Awareness(bytes(LONG)), SyncStep1(bytes(LONG - 1)), QueryAwareness()])
def test_what_is_read_at_once(message):
    assert not is_long(message)


async def test_in_their_order():
    house = House()
    sent: list[Message] = [
        Update(update(LONG)),
        Update(b"1"),
        QueryAwareness(),
        SyncStep2(update(2 * LONG)),
        Update(b"2"),
    ]
    for message in sent:
        house.looks.add(b"", message)
    assert not house.taken, "not before it was looked through"
    await house.over()
    assert house.taken == sent


async def test_what_was_seen_comes_with_it():
    house = House()
    house.looks.add(b"", Update(long := update(LONG)))
    await house.over()
    [taken] = house.taken
    assert isinstance(taken, Update) and taken.vetted == vet.parse(long) == taken.extent()


async def test_the_part_that_fits_is_cut_out_aside(monkeypatch):
    """Of one that builds on what is not there; a document of megabytes would be walked through twice on the loop."""
    house = House()
    theirs = b"\x01\x01\x07\x00\x04\x01\x01t\x01a\x00"
    house.core.join(writer := Writer())
    house.core.receive(writer, Update(theirs), 0)
    house.core.tick(0, 0)
    ranges = LONG // 2
    lacking = b"\x00\x01\x07" + var_uint(ranges + 1) + b"\x00\x01" * ranges + b"\x01\x01"
    house.looks.add(b"", Update(lacking))
    await house.over()
    [taken] = house.taken
    assert isinstance(taken, Update) and taken.fits is not None
    part, extent = taken.fits
    assert set(extent.deletes) == {(7, 0, 1)} and extent == vet.parse(part)
    monkeypatch.setattr(vet, "split", lambda *args: pytest.fail("cut again"))
    house.core.receive(writer, taken, 0)
    house.core.tick(0, 0)
    assert vet.parse(house.core.doc.get_update()).deletes == ((7, 0, 1),) and house.core.gaps.waits(writer)


async def test_what_was_cut_out_for_a_document_that_was_given_up_is_cut_out_again():
    core = RoomCore("anew")
    whole = b"\x01\x02\x07\x00\x04\x01\x01t\x01a\x84\x09\x00\x01b\x00"
    part = b"\x01\x01\x07\x05\x84\x07\x04\x01b\x00"  # of one that had more
    core.join(writer := Writer())
    core.receive(writer, Update(whole, fits=(part, vet.parse(part))), 0)
    core.tick(0, 0)
    assert core.clocks == {7: 1} and len(core.gaps) == 1


async def test_what_is_no_update_is_found_out_once(monkeypatch):
    house = House()
    house.looks.add(b"", Update(b"\x07" * LONG))
    await house.over()
    [taken] = house.taken
    monkeypatch.setattr(vet, "parse", lambda update: pytest.fail("looked at again"))
    assert isinstance(taken, Update)
    with pytest.raises(BadUpdate):
        taken.extent()


async def test_a_state_vector_is_read_aside(monkeypatch):
    house = House()
    known = {2**30 + number: 1 for number in range(LONG // 5)}
    house.looks.add(b"", SyncStep1(vet.state_vector(known)))
    house.looks.add(b"", SyncStep1(b"\xff\x7f" * LONG))
    await house.over()
    monkeypatch.setattr(vet, "parse_state_vector", lambda *args: pytest.fail("looked at again"))
    good, bad = house.taken
    assert isinstance(good, SyncStep1) and good.clocks() == known
    assert isinstance(bad, SyncStep1)
    with pytest.raises(BadMessage):
        bad.clocks()


async def test_nothing_is_taken_in_behind_what_was_refused():
    house = House(refused=lambda message: isinstance(message, SyncStep2))
    for message in (Update(update(LONG)), SyncStep2(b"\x00\x00"), Update(b"behind")):
        house.looks.add(b"", message)
    await house.over()
    assert len(house.taken) == 2 and isinstance(house.taken[-1], SyncStep2)
