"""What waits for what it builds on: how much, until when, and whom to ask for it."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collab.errors import CollabError
from collab.gaps import ASK_MAX_SECONDS, ASK_SECONDS, Gaps, Incoming
from collab.peers import Tick
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


def after(client: int, clock: int, *, size: int = 10, sender: Somebody | None = ANA) -> Incoming:
    """An update that needs `client` to have reached `clock`."""
    return Incoming(bytes(size), Extent((), (), {client: clock}), sender)


def test_an_update_waits_until_it_fits():
    gaps = Gaps(10, 1_000)
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
    gaps = Gaps(100, 10_000)
    items = [after(1, clock) for clock in (5, 3, 4, 1, 2, 5)]
    for item in items:
        gaps.hold(item, {})
    assert gaps.closed({1: 9}) == items


@pytest.mark.parametrize("gaps", [Gaps(3, 1_000), Gaps(100, 30)], ids=["updates", "bytes"])
def test_past_the_limit_the_oldest_is_let_go(gaps):
    items = [after(1, 5) for _ in range(5)]
    for item in items:
        gaps.hold(item, {})
    assert len(gaps) == 3
    assert gaps.closed({1: 5}) == items[2:]


def test_one_that_is_too_large_never_waits_but_its_sender_is_asked():
    gaps = Gaps(10, 100)
    gaps.hold(after(1, 5, size=101), {})
    assert len(gaps) == 0 and gaps.senders() == {ANA}
    gaps.hold(after(1, 5, size=100, sender=BEN), {})
    assert len(gaps) == 1  # what was too large left no trace in the count of bytes


class Told:
    """A receipt that writes down what it hears."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def settled(self) -> None:
        self.heard.append("settled")

    def adrift(self) -> None:
        self.heard.append("adrift")


def test_who_wants_to_know_hears_that_an_update_was_let_go():
    gaps = Gaps(2, 1_000)
    items = [after(1, 5) for _ in range(4)]
    told = [Told() for _ in items]
    for item, receipt in zip(items, told, strict=True):
        item.receipt = receipt
        gaps.hold(item, {})
    assert gaps.closed({1: 5}) == items[2:]
    assert [receipt.heard for receipt in told] == [["adrift"], ["adrift"], [], []], "the room settles the others"


def test_whether_something_waits():
    gaps = Gaps(1, 1_000)
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
    gaps = Gaps(1, 1_000)
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
    gaps = Gaps(1, 1_000)
    gaps.hold(after(1, 5, sender=None), {})
    gaps.hold(after(1, 6, sender=None), {})
    assert gaps.senders() == set()
    assert len(gaps.closed({1: 6})) == 1


def test_a_peer_is_asked_later_and_later():
    gaps = Gaps(10, 1_000)
    asked = [now for now in range(200) if gaps.due(ANA, now)]
    waits = [later - earlier for earlier, later in zip(asked, asked[1:], strict=False)]
    assert asked[0] == 0
    assert waits[:5] == [ASK_SECONDS * 2**n for n in range(5)]
    assert set(waits[5:]) == {ASK_MAX_SECONDS}
    assert gaps.due(BEN, 200)  # each has their own time


def test_who_closed_a_gap_is_asked_at_once_next_time():
    gaps = Gaps(10, 1_000)
    gaps.hold(after(1, 5), {})
    assert gaps.due(ANA, 0) and not gaps.due(ANA, 0.5)
    gaps.closed({1: 5})
    assert gaps.due(ANA, 0.6)


def test_one_who_comes_back_is_asked_at_once():
    gaps = Gaps(10, 1_000)
    assert gaps.due(ANA, 0) and not gaps.due(ANA, 0.5)
    gaps.forget(ANA)
    assert gaps.due(ANA, 0.6)


@given(seed=st.integers(0, 2**32 - 1), limit=st.integers(1, 60))
@settings(max_examples=100, deadline=None)
def test_everything_comes_out_once_or_is_let_go(seed, limit):
    """Against a model that looks at every update each time."""
    dice = random.Random(seed)
    gaps = Gaps(limit, 400)
    model: list[Incoming] = []
    clocks = {client: 0 for client in range(4)}
    for _ in range(80):
        if dice.random() < 0.6:
            needs = {client: clocks[client] + dice.randrange(4) for client in dice.sample(range(4), 2)}
            item = Incoming(bytes(dice.randrange(30)), Extent((), (), needs), dice.choice((ANA, BEN, None)))
            if item.extent.missing(clocks):
                gaps.hold(item, clocks)
                model.append(item)
                while len(model) > limit or sum(len(held.update) for held in model) > 400:
                    model.pop(0)
        else:
            clocks[dice.randrange(4)] += dice.randrange(3)
            ready = gaps.closed(clocks)
            assert ready == [held for held in model if not held.extent.missing(clocks)]
            model = [held for held in model if held.extent.missing(clocks)]
        assert len(gaps) == len(model)
        assert {held.sender for held in model if held.sender} <= gaps.senders()
