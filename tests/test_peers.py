"""The lag rule: what waits is bounded, and nothing that was owed is ever lost."""

from __future__ import annotations

import random
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collab.peers import Backlog


def vector(begun: Mapping[int, int]) -> bytes:
    """The state vector of a room in which client 7 had done so much."""
    return b"%d" % begun[7]


def never(begun: Mapping[int, int]) -> bytes:
    raise AssertionError("nobody needs to know")


def test_what_waits_comes_out_in_order():
    backlog: Backlog[bytes] = Backlog(100)
    assert not backlog
    for number, item in enumerate((b"one", b"two", b"three")):
        assert not backlog.add(item, len(item), {7: number}, never)
    assert backlog and backlog.bytes == 11
    assert [backlog.pop(len) for _ in range(3)] == [b"one", b"two", b"three"]
    assert not backlog and backlog.bytes == 0 and backlog.since is None


def test_the_state_before_is_asked_for_only_when_it_is_owed():
    """It costs: a state vector has an entry for every client that ever wrote."""
    backlog: Backlog[bytes] = Backlog(100)
    backlog.add(b"a", 1, {7: 0}, never)
    backlog.add(b"b", 1, {7: 1}, never)
    backlog.pop(len)
    backlog.add(b"c", 1, {7: 2}, never)
    backlog.owe(b"since")
    backlog.add(b"d", 1, {7: 3}, never)


@pytest.mark.parametrize(("size", "over"), [(10, False), (11, True)])
def test_one_too_many_is_owed_as_a_difference(size, over):
    backlog: Backlog[str] = Backlog(30)
    backlog.add("first", 10, {7: 1}, never)
    backlog.add("second", 10, {7: 2}, never)
    assert backlog.add("third", size, {7: 3}, vector) == over
    assert backlog.since == (b"1" if over else None)
    assert backlog.bytes == (0 if over else 30) and len(backlog.items) == (0 if over else 3)
    assert backlog


def test_the_clocks_of_all_that_waited_count():
    """Each as it was when the first of its ticks moved it."""
    backlog: Backlog[str] = Backlog(3)
    asked: list[Mapping[int, int]] = []
    for begun in ({7: 1}, {8: 5}, {7: 2, 9: 0}, {8: 6}):
        backlog.add("x", 1, begun, lambda begun: asked.append(dict(begun)) or b"")  # type: ignore[func-returns-value]
    assert asked == [{7: 1, 8: 5, 9: 0}]


def test_an_item_larger_than_everything_is_owed_at_once():
    backlog: Backlog[str] = Backlog(30)
    assert backlog.add("huge", 31, {7: 1}, vector)
    assert (backlog.since, len(backlog.items), backlog.bytes) == (b"1", 0, 0)
    assert not backlog.add("more", 31, {7: 2}, never)  # it was said once
    assert (backlog.since, len(backlog.items), backlog.bytes) == (b"1", 0, 0)


def test_once_given_it_begins_anew():
    backlog: Backlog[str] = Backlog(10)
    backlog.add("huge", 31, {7: 1}, vector)
    backlog.since = None  # the difference was given
    backlog.add("a", 5, {7: 2}, never)
    assert backlog.add("b", 6, {7: 3}, vector)
    assert backlog.since == b"2"


def test_all_can_be_taken_at_once():
    backlog: Backlog[str] = Backlog(10)
    backlog.add("a", 5, {7: 1}, never)
    backlog.add("b", 5, {7: 2}, never)
    assert backlog.take() == ["a", "b"] and not backlog and backlog.bytes == 0
    backlog.add("c", 5, {7: 3}, never)
    assert backlog.add("d", 6, {7: 4}, vector) and backlog.since == b"3"


def test_ids_wait_beside_what_is_owed():
    backlog: Backlog[str] = Backlog(10)
    backlog.ids.update((1, 2, 2))
    assert backlog
    backlog.owe(b"since")
    assert backlog.ids == {1, 2}
    backlog.clear()
    assert not backlog and not backlog.ids and backlog.since is None


@given(seed=st.integers(0, 2**32 - 1), limit=st.integers(1, 50))
@settings(max_examples=200, deadline=None)
def test_nothing_is_lost_and_memory_is_bounded(seed, limit):
    """The room is a number that grows; a difference since N is every number from N on. Frames carry one number each.

    The peer takes things now and then, one at a time, as it likes. It must hear of every number, in order, and may
    hear of some twice.
    """
    dice = random.Random(seed)
    backlog: Backlog[tuple[int, int]] = Backlog(limit)
    heard: list[int] = []
    length, lagged = 0, 0
    for _ in range(300):
        if dice.random() < 0.6:
            before, length = length, length + 1
            size = dice.randrange(1, 12)
            lagged += backlog.add((before, size), size, {7: before}, vector)
        elif backlog.since is not None:
            heard += range(int(backlog.since), length)
            backlog.since = None
        elif backlog.items:
            heard.append(backlog.pop(lambda item: item[1])[0])
        assert backlog.bytes == sum(size for _, size in backlog.items) <= limit
        assert backlog.since is None or not backlog.items
        owed = (
            set(range(int(backlog.since), length))
            if backlog.since is not None
            else {number for number, _ in backlog.items}
        )
        assert set(heard) | owed == set(range(length))
    if not lagged:
        assert heard == sorted(set(heard))
