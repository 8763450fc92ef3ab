from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collab.store.seal import checkpoint_seal, checksum, row_seal, snapshot_seal, to_nanoseconds, to_seconds

int64 = st.integers(-(2**63), 2**63 - 1)
rows = st.tuples(
    st.binary(max_size=20), int64, int64, st.none() | st.binary(max_size=20), int64, st.integers(0, 255), st.binary()
)
checkpoints = st.tuples(st.binary(max_size=20), int64, int64, int64, st.binary())


def test_the_packing_does_not_change():
    """A store written by any earlier version must still pass."""
    assert row_seal("räum".encode(), 7, 1, b"ana", 1_760_000_000_123_456_789, 1, b"\x00\x01\x02") == 3012048228
    assert row_seal("räum".encode(), 7, 1, None, 1_760_000_000_123_456_789, 0, b"") == 1546198349
    assert checkpoint_seal(b"room", 1, 500, 1_760_000_000_123_456_789, b"state") == 4057966797


@given(rows, rows)
def test_two_rows_that_differ_anywhere_have_two_seals(one, other):
    assert (row_seal(*one) == row_seal(*other)) == (one == other)


@given(checkpoints, checkpoints)
def test_two_checkpoints_that_differ_anywhere_have_two_seals(one, other):
    assert (checkpoint_seal(*one) == checkpoint_seal(*other)) == (one == other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((b"ab", 1, 1, b"c", 0, 0, b"d"), (b"a", 1, 1, b"bc", 0, 0, b"d")),
        ((b"a", 1, 1, b"bc", 0, 0, b"d"), (b"a", 1, 1, b"b", 0, 0, b"cd")),
        ((b"a", 1, 1, b"", 0, 0, b"d"), (b"a", 1, 1, None, 0, 0, b"d")),
    ],
)
def test_bytes_cannot_move_from_one_field_into_the_next(one, other):
    assert row_seal(*one) != row_seal(*other)


@given(st.floats(1e8, 9e9))
def test_times_of_our_centuries_come_back_to_the_bit(seconds):
    assert to_seconds(to_nanoseconds(seconds)) == seconds


@given(st.floats(-9e9, 9e9))
def test_all_times_come_back_to_the_nanosecond(seconds):
    assert abs(to_seconds(to_nanoseconds(seconds)) - seconds) <= 1e-9


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_clock_that_is_far_off_still_gives_a_number_that_fits(seconds):
    assert -(2**63) <= to_nanoseconds(seconds) < 2**63


@pytest.mark.parametrize("seconds", [math.nan, math.inf, -math.inf])
def test_what_is_no_time_is_refused(seconds):
    with pytest.raises(ValueError):
        to_nanoseconds(seconds)


def test_a_snapshot_is_sealed_with_all_that_is_said_of_it():
    whole: list[Any] = [b"room", 7, 1, 5, 99, False, 10, b"abc", b"label", b"note", b"ana", b"manual"]
    others: list[Any] = [b"other", 8, 2, 6, 98, True, 11, b"abd", b"lab", b"not", None, b"base"]
    changed = [[*whole[:place], other, *whole[place + 1 :]] for place, other in enumerate(others)]
    changed.append([*whole[:8], b"labe", b"lnote", *whole[10:]])  # the same letters, cut elsewhere
    changed.append([*whole[:10], b"", *whole[11:]])  # nobody is not somebody without a name
    seals = {snapshot_seal(*one) for one in [whole, *changed]}
    assert len(seals) == 1 + len(changed)


def test_a_checksum_that_people_can_compare():
    assert checksum(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
