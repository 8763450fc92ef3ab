"""What waits for what it builds on: how much, until when, and whom to ask for it."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collab.errors import CollabError
from collab.gaps import ASK_MAX_SECONDS, ASK_SECONDS, HELD_BYTES, Gaps, Incoming
from collab.peers import Tick
from collab.wire import vet
from collab.wire.vet import Extent


class Somebody:
    """A peer, told nothing."""

    backstage = False
    author: str | None = None
    may_write = True

    def take(self, tick: Tick) -> None: ...

    def ask(self, state_vector: bytes) -> None: ...

    def refuse(self, error: CollabError) -> None: ...


ANA, BEN = Somebody(), Somebody()
PLENTY = 10**6
"""Bytes."""


def after(client: int, clock: int, *, size: int = 10, sender: Somebody | None = ANA) -> Incoming:
    """An update that needs `client` to have reached `clock`."""
    return Incoming(bytes(size), Extent((), (), {client: clock}), sender)


def taken(*items: Incoming) -> int:
    """What `items` take while they wait."""
    return sum(HELD_BYTES + len(item.update) + vet.weight(item.extent) for item in items)


def test_an_update_waits_until_it_fits():
    gaps = Gaps(10, PLENTY)
    first, second, both = after(1, 5), after(2, 3), Incoming(b"", Extent((), ((2, 0, 9),), {1: 5}), ANA)
    for item in (first, second, both):
        gaps.hold(item, {})
    assert (len(gaps), gaps.total) == (3, 3)
    assert gaps.closed({1: 4, 2: 2}) == []
    assert gaps.closed({1: 5}) == [first]
    assert gaps.closed({1: 5}) == []
    assert gaps.closed({1: 5, 2: 8}) == [second]
    assert gaps.closed({1: 6, 2: 9}) == [both]
    assert (len(gaps), gaps.total) == (0, 3)


def test_what_fits_comes_out_in_the_order_in_which_it_came():
    gaps = Gaps(100, PLENTY)
    items = [after(1, clock) for clock in (5, 3, 4, 1, 2, 5)]
    for item in items:
        gaps.hold(item, {})
    assert gaps.closed({1: 9}) == items


@pytest.mark.parametrize("gaps", [Gaps(3, PLENTY), Gaps(100, 3 * taken(after(1, 5)))], ids=["updates", "bytes"])
def test_past_the_limit_the_oldest_is_let_go(gaps):
    items = [after(1, 5) for _ in range(5)]
    for item in items:
        gaps.hold(item, {})
    assert len(gaps) == 3
    assert gaps.closed({1: 5}) == items[2:]


def test_one_that_is_too_large_never_waits_but_its_sender_is_asked():
    large = after(1, 5, size=101)
    gaps = Gaps(10, taken(large) - 1)
    gaps.hold(large, {})
    assert len(gaps) == 0 and gaps.senders() == {ANA}
    gaps.hold(after(1, 5, size=100, sender=BEN), {})
    gaps.hold(large, {})
    assert len(gaps) == 1, "for what is too large nothing else is let go, and it is not counted"
    assert gaps.bytes == taken(large) - 1


def test_what_is_known_of_an_update_counts_with_it():
    """Two bytes for each range in the update, a hundred for each in memory."""
    ranges = Incoming(bytes(2_000), Extent((), tuple((1, at, at + 1) for at in range(1_000)), {}), ANA)
    gaps = Gaps(10, 50_000)
    gaps.hold(ranges, {})
    assert (len(gaps), gaps.bytes) == (0, 0) and gaps.waits(ANA)


def test_nobody_drives_out_what_others_sent():
    gaps = Gaps(10, PLENTY)
    honest = after(1, 5)
    gaps.hold(honest, {})
    for clock in range(100):
        gaps.hold(after(2, 5 + clock, sender=BEN), {})
    assert len(gaps) == 10 and gaps.closed({1: 5}) == [honest]


class Counted(dict[int, int]):
    """Clocks that count how often they are looked at."""

    looks = 0

    def get(self, *args: Any) -> Any:
        self.looks += 1
        return super().get(*args)


def test_a_letter_costs_one_look_however_much_waits():
    gaps = Gaps(1_000, 2**30)
    many = tuple((1, at, at + 1) for at in range(5_000, 0, -1))
    for number in range(300):
        gaps.hold(Incoming(b"", Extent((), many, {2: number + 1, 3: 9}), ANA), {})
    clocks = Counted()
    for clock in range(1, 4_999):
        clocks[1] = clock
        assert gaps.closed(clocks, (1,)) == []
    assert clocks.looks == 4_998
    clocks |= {1: 5_001, 2: 150, 3: 9}
    assert len(gaps.closed(clocks)) == 150


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=200, deadline=None)
def test_what_it_waits_for_is_what_it_lacks(seed):
    """What is left of an extent (`vet.wants`) says the same of any document."""
    dice = random.Random(seed)

    def ranges() -> tuple[tuple[int, int, int], ...]:
        begins = [(dice.randrange(3), dice.randrange(8)) for _ in range(dice.randrange(4))]
        return tuple((client, start, start + dice.randrange(1, 5)) for client, start in begins)

    needs = {dice.randrange(3): dice.randrange(1, 12) for _ in range(2)}
    extent = Extent(tuple(sorted(ranges())), ranges(), needs)
    wanted = vet.wants(extent)
    for _ in range(20):
        clocks = {client: dice.randrange(12) for client in range(3)}
        assert extent.missing(clocks) == any(clock > clocks[client] for client, clock in wanted.items())


class Told:
    """A receipt that writes down what it hears."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def settled(self) -> None:
        self.heard.append("settled")

    def adrift(self) -> None:
        self.heard.append("adrift")


def test_who_wants_to_know_hears_that_an_update_was_let_go():
    gaps = Gaps(2, PLENTY)
    items = [after(1, 5) for _ in range(4)]
    told = [Told() for _ in items]
    for item, receipt in zip(items, told, strict=True):
        item.receipt = receipt
        gaps.hold(item, {})
    assert gaps.closed({1: 5}) == items[2:]
    assert [receipt.heard for receipt in told] == [["adrift"], ["adrift"], [], []], "the room settles the others"


def test_whether_something_waits():
    gaps = Gaps(1, PLENTY)
    assert not gaps.waits(ANA)
    gaps.hold(after(1, 5), {})
    assert gaps.waits(ANA) and not gaps.waits(BEN)
    gaps.hold(after(1, 6, sender=BEN), {})
    assert gaps.waits(ANA), "let go, and not asked since"
    gaps.due(ANA, 0)
    assert not gaps.waits(ANA) and gaps.waits(BEN)
    gaps.closed({1: 9})
    assert not gaps.waits(BEN)


def test_who_was_let_go_is_asked_once_more():
    gaps = Gaps(1, PLENTY)
    gaps.hold(after(1, 5), {})
    gaps.hold(after(1, 5, sender=BEN), {})
    assert gaps.senders() == {ANA, BEN}
    assert gaps.due(ANA, 0)
    assert gaps.senders() == {BEN}
    gaps.hold(after(1, 6, sender=BEN), {})
    gaps.forget(BEN)
    assert gaps.senders() == {BEN}  # what it sent still waits
    gaps.closed({1: 9})
    assert gaps.senders() == set()


def test_what_nobody_sent_waits_too():
    gaps = Gaps(1, PLENTY)
    gaps.hold(after(1, 5, sender=None), {})
    gaps.hold(after(1, 6, sender=None), {})
    assert gaps.senders() == set()
    assert len(gaps.closed({1: 6})) == 1


def test_a_peer_is_asked_later_and_later():
    gaps = Gaps(10, PLENTY)
    asked = [now for now in range(200) if gaps.due(ANA, now)]
    waits = [later - earlier for earlier, later in zip(asked, asked[1:], strict=False)]
    assert asked[0] == 0
    assert waits[:5] == [ASK_SECONDS * 2**n for n in range(5)]
    assert set(waits[5:]) == {ASK_MAX_SECONDS}
    assert gaps.due(BEN, 200)  # each has their own time


def test_who_closed_a_gap_is_asked_at_once_next_time():
    gaps = Gaps(10, PLENTY)
    gaps.hold(after(1, 5), {})
    assert gaps.due(ANA, 0) and not gaps.due(ANA, 0.5)
    gaps.closed({1: 5})
    assert gaps.due(ANA, 0.6)


def test_one_who_comes_back_is_asked_at_once():
    gaps = Gaps(10, PLENTY)
    assert gaps.due(ANA, 0) and not gaps.due(ANA, 0.5)
    gaps.forget(ANA)
    assert gaps.due(ANA, 0.6)


@given(seed=st.integers(0, 2**32 - 1), limit=st.integers(1, 60), named=st.booleans())
@settings(max_examples=100, deadline=None)
def test_everything_comes_out_once_or_is_let_go(seed, limit, named):
    """Against a model that looks at every update each time."""
    dice = random.Random(seed)
    most = 60_000
    gaps = Gaps(limit, most)
    model: list[Incoming] = []
    clocks = {client: 0 for client in range(4)}
    for _ in range(80):
        if dice.random() < 0.6:
            needs = {client: clocks[client] + dice.randrange(4) for client in dice.sample(range(4), 2)}
            item = Incoming(bytes(dice.randrange(3_000)), Extent((), (), needs), dice.choice((ANA, BEN, None)))
            if item.extent.missing(clocks):
                gaps.hold(item, clocks)
                model.append(item)
                while len(model) > limit or taken(*model) > most:
                    of = {sender: [held for held in model if held.sender is sender] for sender in (ANA, BEN, None)}
                    model.remove(max(of.values(), key=lambda held: taken(*held))[0])
        else:
            moved = dice.randrange(4)
            clocks[moved] += dice.randrange(3)
            ready = gaps.closed(clocks, (moved,) if named else None)
            assert ready == [held for held in model if not held.extent.missing(clocks)]
            model = [held for held in model if held.extent.missing(clocks)]
        assert (len(gaps), gaps.bytes) == (len(model), taken(*model))
        assert {held.sender for held in model if held.sender} <= gaps.senders()
