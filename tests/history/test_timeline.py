"""The document at a moment."""

from __future__ import annotations

import random

import pytest

from collab.errors import DamagedRoom
from collab.history.timeline import EMPTY, state_at, until
from collab.store import Kind, Row, State
from collab.wire import vet
from tests.history.histories import covered, crowds, seen
from tests.support.histories import applied

pytestmark = pytest.mark.anyio


async def test_any_moment_equals_a_full_replay(full, figure):
    did, moments = [], 0
    for nth, crowd in enumerate(crowds(full)):
        did.append(crowd.did)
        chance = random.Random(nth)
        stored = chance.randint(0, len(crowd.rows))
        for seq in {0, len(crowd.rows), *(chance.randint(0, len(crowd.rows)) for _ in range(3))}:
            replay = applied(row.update for row in crowd.rows[:seq])
            start = EMPTY
            if stored <= seq:  # a snapshot that is on the way
                start = State(applied(row.update for row in crowd.rows[:stored]).get_update(), stored)
            for found in (
                await state_at("a room", start, crowd.rows, seq=seq),
                await state_at("a room", EMPTY, crowd.rows, time=seq + 0.5),
            ):
                assert found.covers == seq
                assert seen(applied([found.whole])) == seen(replay)
                assert applied([found.whole]).get_state() == applied([replay.get_update()]).get_state()
            moments += 2
    figure(f"{len(did)} histories, {moments} moments equal to a full replay: {covered(did)}")


async def test_nothing_after_a_moment():
    start = State(b"\x00\x00", 7)
    assert await state_at("a room", start, [], seq=9) == start
    assert EMPTY.whole == vet.EMPTY


def row(seq: int, time: float, update: bytes = vet.EMPTY) -> Row:
    return Row(seq, update, time, "ana", Kind.RAW)


def test_time_stops_at_the_first_row_from_after_it():
    rows = [row(1, 10.0), row(2, 30.0), row(3, 20.0), row(4, 40.0)]
    assert [one.seq for one in until(rows, time=10.0)] == [1]
    assert [one.seq for one in until(rows, time=25.0)] == [1]
    assert [one.seq for one in until(rows, time=30.0)] == [1, 2, 3]
    assert [one.seq for one in until(rows, seq=2, time=99.0)] == [1, 2]
    assert until(rows) == rows


async def test_a_missing_row_is_no_document():
    with pytest.raises(DamagedRoom, match="row 2 is missing"):
        await state_at("a room", EMPTY, [row(1, 1.0), row(3, 3.0)])


async def test_a_row_that_cannot_be_read_is_named():
    crowd = next(crowds(False))
    rows = [*crowd.rows, row(len(crowd.rows) + 1, 99.0, b"no update")]
    found = await state_at("a room", EMPTY, rows)
    assert found.poison == (len(rows),)
    assert seen(applied([found.whole])) == seen(applied(one.update for one in crowd.rows))


async def test_what_builds_on_something_that_is_not_there_is_refused():
    crowd = next(crowds(False))
    rows = [Row(nth, one.update, 1.0, None, Kind.RAW) for nth, one in enumerate(crowd.edits[5:], 1)]
    with pytest.raises(DamagedRoom):
        await state_at("a room", EMPTY, rows)
