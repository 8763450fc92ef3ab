"""Counts of what there may be at once."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collab.errors import TooMany
from collab.limits import Arrivals, Bucket, Gauge, Lobby, Pace, Rates, Refusals, Shares, Warm, block_of


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


def test_each_has_a_share_and_nothing_remains():
    shares = Shares("connections of one user", 2)
    for _ in range(2):
        shares.take("ana")
    with pytest.raises(TooMany) as refused:
        shares.take("ana")
    assert str(refused.value) == "too many connections of one user: the limit is 2"
    shares.take("ben")
    assert (shares.count("ana"), shares.count("ben"), shares.count("eva"), len(shares)) == (2, 1, 0, 2)
    shares.give_back("ana")
    shares.take("ana")
    for who in ("ana", "ana", "ben"):
        shares.give_back(who)
    assert len(shares) == 0
    with pytest.raises(KeyError):
        shares.give_back("ana")


def test_a_bucket_lets_through_a_burst_and_then_the_rate():
    bucket = Bucket(rate=10, burst=5, now=100)
    assert [bucket.take(1, 100) for _ in range(5)] == [0] * 5
    assert bucket.take(1, 100) == pytest.approx(0.1)
    assert bucket.take(4, 100) == pytest.approx(0.5), "debt grows, what was taken counts"
    assert bucket.take(0, 100.5) == pytest.approx(0)
    assert bucket.take(5, 200) == 0 and bucket.level == 0, "it never holds more than the burst"
    assert bucket.take(1, 200) > 0


@given(st.lists(st.tuples(st.floats(0, 3), st.floats(0, 20)), max_size=60), st.floats(1, 50), st.floats(0, 50))
def test_who_waits_as_told_never_gets_more_than_the_rate(steps, rate, burst):
    """Over any time: no more than the burst, the rate, and the one piece that may be owed."""
    bucket, now, taken = Bucket(rate, burst, 0), 0.0, 0.0
    for pause, n in steps:
        now += pause
        taken += n
        now += bucket.take(n, now)
        assert taken <= burst + rate * now + 1e-6 * (1 + taken)


def test_a_clock_that_stands_still_or_a_debt_costs_nothing_else():
    bucket = Bucket(1, 1, 0)
    assert bucket.try_take(1, 0) and not bucket.try_take(1, 0)
    assert not bucket.try_take(1, 0.9) and bucket.try_take(1, 1.0)
    bucket.put(5)
    assert bucket.level == 1


def test_fast_senders_are_slowed_down_and_then_closed():
    pace = Pace((100, 50), (1_000, 10_000), debt_seconds=2, now=0)
    assert [pace.take(10, 0) for _ in range(50)] == [0] * 50
    assert pace.take(10, 0) == pytest.approx(0.01)
    assert pace.take(10, 1) == 0
    assert pace.take(11_000, 60) == pytest.approx(1), "one large message is taken in, and waited for"
    with pytest.raises(TooMany, match="bytes per second: the limit is 1000"):
        pace.take(2_000, 60)
    for _ in range(250):
        pace.take(0, 120)
    with pytest.raises(TooMany, match="messages per second: the limit is 100"):
        pace.take(0, 120)


def test_whoever_waits_as_told_is_never_closed():
    """S07 in numbers: 10,000 messages a second are offered for a minute; reading pauses as it is told."""
    pace, now, taken = Pace((500, 5_000), (1e9, 1e9), 10, 0), 0.0, 0
    while now < 60:
        now += 1e-4 + pace.take(20, now)
        taken += 1
    assert 5_000 + 60 * 500 - 1 <= taken <= 5_000 + 60 * 500 + 2


def test_echoes_are_free():
    """A room with 100 cursors: each client is sent 1,000 changes a second and y-websocket sends each back."""
    pace = Pace((10, 10), (1_000, 1_000), 1, 0)
    for number in range(5_000):
        pace.expect(100)
        assert pace.take(100, number / 1_000) == 0


def test_counting_every_message_is_cheap(figure):
    pace = Pace((1e9, 1e9), (1e9, 1e9), 10, 0)
    rounds, best = 20_000, float("inf")
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(rounds):
            pace.take(20, 1.0)
        best = min(best, (time.perf_counter() - began) / rounds)
    figure(f"one message against two buckets: {1e9 * best:.0f} ns")
    assert best < 5e-6


def test_rates_are_each_ones_own_and_refusals_cost_nothing():
    rates = Rates("new rooms per hour", 2, 2, seconds=3_600)
    for who in ("ana", "ben"):
        rates.take(who, 0)
        rates.take(who, 0)
    for _ in range(100):
        with pytest.raises(TooMany, match="too many new rooms per hour: the limit is 2"):
            rates.take("ana", 0)
    rates.take("ana", 1_800)


def test_rates_remember_so_many_and_no_more():
    rates = Rates("x", 1, 1, size=100)
    for number in range(10_000):
        rates.take(number, 0)
        if number % 50 == 0:
            with pytest.raises(TooMany):
                rates.take(number, 0)
    assert len(rates) == 100


def test_one_address_that_storms_takes_nothing_from_the_others():
    arrivals, refused = Arrivals(100, 10, size=100), 0
    for number in range(10_000):
        try:
            arrivals.come("one", number / 1_000)
        except TooMany as error:
            assert error.what == arrivals.each.what
            refused += 1
    assert refused == pytest.approx(10_000 - 50 - 100, abs=2)
    for number in range(400):
        arrivals.come(str(number % 90), 10)
    with pytest.raises(TooMany) as full:
        for _ in range(200):
            arrivals.come(None, 10)
    assert full.value.what == arrivals.all.what


def lobby(**more: int) -> Lobby:
    return Lobby(**{"total_bytes": 100, "messages": 5, "bytes": 50, "documents": 2, "seconds": 10} | more)


def test_what_is_kept_before_access_is_bounded():
    hall = lobby()
    one, other, third = (hall.visitor(now=0) for _ in range(3))
    one.message(50)
    with pytest.raises(TooMany, match="bytes before access was granted: the limit is 50"):
        one.message(1)
    other.message(45)
    with pytest.raises(TooMany, match="bytes of clients without access: the limit is 100"):
        third.message(6)
    assert hall.held == 95
    one.leave()
    one.leave()
    assert hall.held == 45
    for _ in range(5):
        third.message(1)
    with pytest.raises(TooMany, match="messages before access was granted: the limit is 5"):
        third.message(1)
    third.document()
    third.document()
    with pytest.raises(TooMany, match="documents before access was granted: the limit is 2"):
        third.document()
    other.leave()
    third.leave()
    assert hall.held == 0


def test_the_deadline_is_absolute():
    visitor = lobby().visitor(now=100)
    for second in range(5):
        visitor.message(1)
        assert not visitor.late(100 + 2 * second)
    assert not visitor.late(109.9) and visitor.late(110)


def test_what_counts_as_one_address():
    assert block_of("2001:db8:1:2:3::4") == block_of("2001:db8:1:2:ffff::") == "2001:db8:1:2::/64"
    assert block_of("2001:db8:1:3::4") != block_of("2001:db8:1:2::4")
    assert block_of("::ffff:203.0.113.9") == block_of("203.0.113.9") == "203.0.113.9"
    assert block_of("fe80::1%eth0") == "fe80::/64"
    assert block_of("unknown") == "unknown"


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


def test_what_is_here_of_an_unfinished_message_counts():
    shared = lobby()
    one, other = shared.visitor(0.0), shared.visitor(0.0)
    one.unfinished(40)
    one.unfinished(30)
    assert shared.held == 30
    one.message(45)
    assert shared.held == 45, "it is not counted twice"
    with pytest.raises(TooMany, match="bytes before access was granted: the limit is 50"):
        one.unfinished(6)
    assert shared.held == 45
    other.unfinished(50)
    third = shared.visitor(0.0)
    with pytest.raises(TooMany, match="clients without access: the limit is 100"):
        third.unfinished(6)
    for visitor in (one, other, third):
        visitor.leave()
        visitor.unfinished(0)
    assert shared.held == 0


def test_so_many_of_one_address_are_held():
    refusals = Refusals(10.0, held=2)
    assert [refusals.hold("a") for _ in range(3)] == [True, True, False] and refusals.hold("b")
    refusals.let_go("a")
    assert refusals.hold("a") and not refusals.hold("a")
