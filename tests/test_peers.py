"""The lag rule: what waits is bounded, and nothing that was owed is ever lost."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collab.peers import Backlog


def vector(number: int) -> Callable[[], bytes]:
    """Gives the state vector of a room in which so much has happened."""
    return lambda: b"%d" % number


def never() -> bytes:
    raise AssertionError("nobody needs to know")


def test_what_waits_comes_out_in_order():
    backlog: Backlog[bytes] = Backlog(100)
    assert not backlog
    for number, item in enumerate((b"one", b"two", b"three")):
        assert not backlog.add(item, len(item), vector(number))
    assert backlog and backlog.bytes == 11
    assert [backlog.pop(len) for _ in range(3)] == [b"one", b"two", b"three"]
    assert not backlog and backlog.bytes == 0 and backlog.since is None


def test_before_is_asked_for_only_when_nothing_waits():
    """It costs: a state vector has an entry for every client that ever wrote."""
    backlog: Backlog[bytes] = Backlog(100)
    backlog.add(b"a", 1, lambda: b"sv")
    backlog.add(b"b", 1, never)
    backlog.pop(len)
    backlog.add(b"c", 1, never)
    backlog.owe(b"since")
    backlog.add(b"d", 1, never)


@pytest.mark.parametrize(("size", "over"), [(10, False), (11, True)])
def test_one_too_many_is_owed_as_a_difference(size, over):
    backlog: Backlog[str] = Backlog(30)
    backlog.add("first", 10, lambda: b"before the first")
    backlog.add("second", 10, never)
    assert backlog.add("third", size, never) == over
    assert backlog.since == (b"before the first" if over else None)
    assert backlog.bytes == (0 if over else 30) and len(backlog.items) == (0 if over else 3)
    assert backlog


def test_an_item_larger_than_everything_is_owed_at_once():
    backlog: Backlog[str] = Backlog(30)
    assert backlog.add("huge", 31, lambda: b"before")
    assert (backlog.since, len(backlog.items), backlog.bytes) == (b"before", 0, 0)
    assert not backlog.add("more", 31, never)  # it was said once
    assert (backlog.since, len(backlog.items), backlog.bytes) == (b"before", 0, 0)


def test_once_given_it_begins_anew():
    backlog: Backlog[str] = Backlog(10)
    backlog.add("huge", 31, lambda: b"early")
    backlog.since = None  # the difference was given
    backlog.add("a", 5, lambda: b"late")
    assert backlog.add("b", 6, never)
    assert backlog.since == b"late"


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
            lagged += backlog.add((before, size), size, vector(before))
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
