"""The bytes of awareness updates: where the newest state of each client stands, and nothing else is looked at."""

from __future__ import annotations

import pytest

from collab.errors import BadMessage, TooLarge
from collab.wire.awareness import entry, joined, newest, read_text


def test_the_newest_of_each_counts():
    said = [entry(7, 1, "[1]"), entry(8, 4, "{}"), entry(7, 3, "[3]"), entry(7, 2, "not json"), entry(8, 4, None)]
    update = joined(said)
    found = newest(update, 5)
    assert {client: (clock, read_text(update, *where)) for client, (clock, *where) in found.items()} == {
        7: (3, "[3]"),
        8: (4, "null"),
    }


def test_of_two_with_one_clock_the_first_counts_unless_it_is_gone():
    update = joined([entry(7, 1, "[1]"), entry(7, 1, "[2]")])
    assert read_text(update, *newest(update, 2)[7][1:]) == "[1]"


def test_a_clock_that_no_browser_can_count_is_left_out():
    update = joined([entry(7, 2**53, "{}"), entry(8, 2**53 - 1, "{}")])
    assert list(newest(update, 2)) == [8]


def test_more_than_there_may_be():
    update = joined([entry(number, 1, "{}") for number in range(5)])
    assert len(newest(update, 5)) == 5
    with pytest.raises(TooLarge) as caught:
        newest(update, 4)
    assert "5 states" in str(caught.value)


@pytest.mark.parametrize("update", ["", "01", "017f", "0107", "010701", "01070102", "0107010000", "ffffff7f", "0007"])
def test_what_is_cut_off_or_too_long(update):
    with pytest.raises(BadMessage):
        newest(bytes.fromhex(update), 10_000)


def test_what_is_no_text():
    update = b"\x01\x07\x01\x02\xff\xff"
    with pytest.raises(BadMessage):
        read_text(update, *newest(update, 1)[7][1:])
