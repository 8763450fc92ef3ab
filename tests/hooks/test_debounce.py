"""When rooms are due, by a clock that the test moves."""

from __future__ import annotations

from collab.hooks.debounce import Debounce


def test_quiet_rooms_are_due():
    changes = Debounce(2.0, 10.0)
    changes.touch("a", 0.0)
    changes.touch("b", 1.0)
    assert changes.due(1.9) == [] and len(changes) == 2
    assert changes.due(2.0) == ["a"]
    assert changes.due(2.9) == [] and changes.due(3.0) == ["b"] and changes.due(99.0) == []


def test_a_room_that_never_rests_is_due_in_the_end():
    changes = Debounce(2.0, 10.0)
    told = []
    for second in range(31):
        changes.touch("a", float(second))
        told += [second for _ in changes.due(float(second))]
    assert told == [10, 21], "and the wait begins anew with the first change after it"


def test_all_of_them():
    changes = Debounce(2.0, 10.0)
    changes.touch("a", 0.0)
    assert changes.all() == ["a"] and len(changes) == 0


def test_at_once():
    changes = Debounce(0.0, 0.0)
    changes.touch("a", 5.0)
    assert changes.due(5.0) == ["a"]
