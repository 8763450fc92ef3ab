"""Who edited when."""

from __future__ import annotations

from collab.history.activity import Session, activity
from collab.store import Kind, Row
from tests.history.histories import PEOPLE, SHORT, Crowd


def row(seq: int, minute: float, author: str | None, kind: Kind = Kind.RAW) -> Row:
    return Row(seq, b"1234", minute * 60, author, kind)


def test_sessions_end_with_a_pause():
    rows = [row(1, 0, "ana"), row(2, 1, "ben"), row(3, 9, "ana"), row(4, 12, "ben"), row(5, 19.5, "ana")]
    assert activity(rows) == [
        Session("ana", 0.0, 540.0, 1, 3, 2, 8),
        Session("ben", 60.0, 60.0, 2, 2, 1, 4),
        Session("ben", 720.0, 720.0, 4, 4, 1, 4),
        Session("ana", 1170.0, 1170.0, 5, 5, 1, 4),
    ]
    assert [one.edits for one in activity(rows, gap=60)] == [3, 2]


def test_merged_rows_are_nobody_s():
    assert activity([row(1, 0, "ana", Kind.MERGED), row(2, 0, None)]) == [Session(None, 0.0, 0.0, 1, 2, 2, 8)]


def test_a_clock_that_is_set_back():
    assert activity([row(1, 5, "ana"), row(2, 3, "ana")]) == [Session("ana", 180.0, 300.0, 1, 2, 2, 8)]


def test_every_row_is_in_one_session():
    for seed in range(SHORT):
        rows = Crowd(seed).rows
        found = activity(rows, gap=3 / 60)
        assert sum(one.edits for one in found) == len(rows)
        assert sum(one.bytes for one in found) == sum(len(one.update) for one in rows)
        assert [one.first for one in found] == sorted(one.first for one in found)
        for person in PEOPLE:
            own = [one for one in found if one.author == person]
            assert all(later.begin - earlier.end > 3 for earlier, later in zip(own, own[1:], strict=False))


def test_nothing():
    assert activity([]) == []
