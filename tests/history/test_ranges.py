"""Sets of clocks, against sets of numbers."""

from __future__ import annotations

import random

from collab.history.ranges import Owned, Ranges

Points = set[tuple[int, int]]


def some(chance: random.Random) -> list[tuple[int, int, int]]:
    found = []
    for _ in range(chance.randrange(8)):
        start = chance.randrange(40)
        found.append((chance.randrange(3), start, start + chance.randint(1, 9)))
    return found


def points(ranges: list[tuple[int, int, int]]) -> Points:
    return {(client, clock) for client, start, end in ranges for clock in range(start, end)}


def test_they_are_sets():
    chance = random.Random(1)
    for _ in range(500):
        one, other = some(chance), some(chance)
        mine, theirs = Ranges(one), Ranges(other)
        assert points(list(mine)) == points(one)
        assert points(list(mine.minus(theirs))) == points(one) - points(other)
        assert points(list(theirs.minus(mine))) == points(other) - points(one)
        for point in [(client, clock) for client in range(4) for clock in range(60)]:
            assert (point in mine) == (point in points(one))
        runs = list(mine)
        for (client, _, end), (next_client, start, _) in zip(runs, runs[1:], strict=False):
            assert client != next_client or end < start


def test_a_claim_says_what_is_new():
    chance = random.Random(2)
    for _ in range(500):
        known = some(chance)
        ranges, seen = Ranges(known), points(known)
        for client, start, end in some(chance):
            new = ranges.claim(client, start, end)
            assert points(new) == points([(client, start, end)]) - seen
            assert sorted(new) == new
            seen |= points([(client, start, end)])
            assert points(list(ranges)) == seen
            assert list(Ranges(ranges)) == sorted(ranges)


def test_the_first_owner_keeps_it():
    chance = random.Random(3)
    for _ in range(500):
        owned = Owned()
        expected: dict[tuple[int, int], int] = {}
        for owner in range(6):
            for client, start, end in some(chance):
                owned.claim(client, start, end, owner)
                for point in points([(client, start, end)]):
                    expected.setdefault(point, owner)
        for point in [(client, clock) for client in range(4) for clock in range(60)]:
            assert owned.of(point) == expected.get(point)
        assert {point: owner for range_, owner in owned for point in points([range_])} == expected
