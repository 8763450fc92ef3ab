"""Two sequences side by side."""

from __future__ import annotations

import random
import time

from collab.history.alignment import MOST, aligned


def check(old: list[int], new: list[int]) -> int:
    """The blocks make up both; returns how much is shared."""
    blocks = list(aligned(old, new, lambda one: one))
    assert [one for block in blocks for one in block.old] == old
    assert [one for block in blocks for one in block.new] == new
    for block in blocks:
        assert not block.same or list(block.old) == list(block.new)
    return sum(len(block.old) for block in blocks if block.same)


def test_random_ones():
    chance = random.Random(1)
    for _ in range(300):
        old = [chance.randrange(9) for _ in range(chance.randrange(30))]
        new = [one for one in old if chance.random() < 0.8] + [chance.randrange(9) for _ in range(chance.randrange(5))]
        check(old, new)


def test_long_ones_take_no_time(figure):
    chance = random.Random(2)
    old = list(range(100_000))
    new = [one for one in old if one % 100]
    for _ in range(1_000):
        new.insert(chance.randrange(len(new)), -1)
    began = time.perf_counter()
    shared = check(old, new)
    figure(f"two sequences of 100,000 with 2,000 changes: {time.perf_counter() - began:.2f} s")
    assert shared == 99_000


def test_long_ones_without_a_tie_count_as_replaced():
    size = int(MOST**0.5) + 1
    old, new = [1, 2] * size, [2, 1] * size
    blocks = list(aligned(old, new, lambda one: one))
    assert [block.same for block in blocks] == [False]


def test_nothing():
    assert list(aligned([], [], lambda one: one)) == []
    assert check([1], []) == 0
