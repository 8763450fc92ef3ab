"""Counts of what there may be at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collab.errors import TooMany
from collab.limits import Gauge, Refusals


def test_as_many_as_there_may_be():
    gauge = Gauge("connections", 2)
    gauge.take()
    gauge.take()
    with pytest.raises(TooMany) as refused:
        gauge.take()
    assert str(refused.value) == "too many connections: the limit is 2"
    assert gauge.count == 2, "a refusal takes no place"
    gauge.give_back()
    gauge.take()


def test_back_within_the_window():
    refusals = Refusals(window=30)
    assert not refusals.again("ana", now=100)
    assert refusals.again("ana", now=130)
    assert not refusals.again("ben", now=130)
    assert not refusals.again("ana", now=161), "the window begins anew with each refusal, and has passed"


@given(st.lists(st.tuples(st.integers(0, 20), st.floats(0, 5)), max_size=200))
def test_memory_is_bounded_and_the_newest_are_remembered(arrivals):
    refusals, now, last = Refusals(window=1e9, size=5), 0.0, list[int]()
    for who, pause in arrivals:
        now += pause
        assert refusals.again(who, now) == (who in last)
        last = ([other for other in last if other != who] + [who])[-5:]
