"""Counts of what there may be at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collab.errors import TooMany
from collab.limits import Gauge, Refusals, Warm


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


def test_warm_things_go_least_recently_needed_first():
    warm = Warm(max_count=2, max_bytes=100)
    assert not warm.over
    warm.put("one", 10)
    warm.put("two", 10)
    assert not warm.over
    warm.put("three", 10)
    assert warm.over and list(warm) == ["one", "two", "three"]
    warm.take("one")
    assert not warm.over and list(warm) == ["two", "three"]
    warm.put("two", 90)
    assert not warm.over and list(warm) == ["two", "three"], "it grew where it lies"
    warm.put("two", 91)
    assert warm.over
    warm.take("two")
    warm.take("two")
    assert (len(warm), warm.bytes) == (1, 10)


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.none() | st.integers(0, 50)), max_size=100))
def test_warm_counts_what_is_there(events):
    warm, model = Warm(3, 60), dict[str, int]()
    for name, size in events:
        if size is None:
            warm.take(name)
            model.pop(name, None)
        else:
            warm.put(name, size)
            model[name] = size
        assert list(warm) == list(model) and warm.bytes == sum(model.values())
        assert warm.over == (len(model) > 3 or sum(model.values()) > 60)
