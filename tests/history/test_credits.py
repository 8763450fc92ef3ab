"""Whose each part of a document is."""

from __future__ import annotations

from collab.history.credits import BEFORE, Credits, author_of
from collab.history.items import Layer
from collab.store import Kind, Row, State
from tests.history.histories import PEOPLE, Crowd
from tests.support.histories import applied, clocks


def test_every_clock_and_every_deletion_has_its_row():
    for seed in range(30):
        crowd = Crowd(seed)
        half = len(crowd.rows) // 2
        start = State(applied(row.update for row in crowd.rows[:half]).get_update(), half)
        credits = Credits(
            start, crowd.rows, State(None, len(crowd.rows))
        )  # those that the state covers are passed over
        doc = applied([start.whole])
        known = clocks(doc)
        assert {owner for _, owner in credits.written} >= {BEFORE}
        for row in crowd.rows[half:]:
            doc.apply_update(row.update)
            for client, end in clocks(doc).items():
                for clock in range(known.get(client, 0), end):
                    assert credits.writer((client, clock)) == row
                known[client] = end
        assert credits.writer((0, 0)) is None
        layer = Layer.of(doc.get_update())
        for item in credits.items(layer):
            inside = {credits.written.of((item.client, clock)) for clock in range(item.start, item.end)}
            assert len(inside) == 1 and inside != {None}  # parts are cut where authors change
            ender = credits.deleter(item.id)
            assert ender is None or ender.seq > half and ender.author in PEOPLE


def test_a_row_that_no_room_takes_has_no_part_in_it():
    crowd = Crowd(1)
    rows = [Row(nth, row.update, 1.0, "ben", Kind.RAW) for nth, row in enumerate(crowd.rows, 2)]
    rows = [Row(1, b"no update", 1.0, "ana", Kind.RAW), *rows]
    credits = Credits(State(None, 0), rows, State(None, len(rows), poison=(len(rows),)))
    assert len(credits.layers) == len(rows) - 1
    places = {owner for _, owner in credits.written}
    assert 0 not in places and len(rows) - 1 not in places
    assert list(credits.of(credits.written, set())) == []


def test_rows_from_after_the_document_do_not_count():
    crowd = Crowd(1)
    credits = Credits(State(None, 0), crowd.rows, State(None, 5))
    assert {owner for _, owner in credits.written} <= {BEFORE, 0, 1, 2, 3, 4}


def test_whose_a_row_is():
    assert author_of(Row(1, b"", 1.0, "ana", Kind.RAW)) == "ana"
    assert author_of(Row(1, b"", 1.0, "ana", Kind.MERGED)) is None
    assert author_of(None) is None
