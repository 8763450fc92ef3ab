"""Documents of some size, made up of many pieces, as many people leave them behind."""

from __future__ import annotations

import functools
import random
from typing import Any

from pycrdt import Doc

from tests.support.raw import var, var_bytes

from .wire import MARK

AUTHORS = 10
FIRST_AUTHOR = (1 << 28) + 8_192
"""Beyond all who type while something is measured."""
RUN_BYTES = 24


@functools.cache
def words() -> list[str]:
    """2,000 made-up words: what compresses as prose does, roughly."""
    chance = random.Random(1)
    letters = "etaoinshrdlucmfwypvbgk"
    weights = range(len(letters) + 4, 4, -1)
    return ["".join(chance.choices(letters, weights, k=chance.randint(2, 9))) for _ in range(2_000)]


def prose(size: int, seed: int = 2) -> bytes:
    """Text of `size` bytes; frequent words are far more frequent, as in a language."""
    chance = random.Random(seed)
    weights = [1 / rank for rank in range(1, 2_001)]
    return " ".join(chance.choices(words(), weights, k=size // 3)).encode()[:size]


@functools.cache
def patchwork(size: int) -> tuple[bytes, int]:
    """A text whose state is about `size` bytes, written by ten authors who jumped about in it.

    Returns: the update that holds all of it, and how many marks are in that: one for each piece.
    """
    chance = random.Random(3)
    text = prose(size)
    doc: Doc[Any] = Doc()
    clocks = [0] * AUTHORS
    order: list[tuple[int, int, int]] = []  # (author, first clock, length), as they stand in the text
    made, at = 0, 0
    batch: list[bytes] = []
    while made < size:
        content = MARK + text[at : at + chance.randint(4, 2 * RUN_BYTES - 4)]
        at += len(content) - len(MARK)
        author = chance.randrange(AUTHORS)
        place = chance.randint(0, len(order))
        left = order[place - 1] if place else None
        right = order[place] if place < len(order) else None
        info = 4 | (0x80 if left else 0) | (0x40 if right else 0)
        piece = b"\x01\x01" + var(FIRST_AUTHOR + author) + var(clocks[author]) + bytes((info,))
        if left:
            piece += var(FIRST_AUTHOR + left[0]) + var(left[1] + left[2] - 1)
        if right:
            piece += var(FIRST_AUTHOR + right[0]) + var(right[1])
        if not left and not right:
            piece += b"\x01\x04text"
        piece += var_bytes(content) + b"\x00"
        order.insert(place, (author, clocks[author], len(content)))
        clocks[author] += len(content)
        made += len(piece) - 8
        batch.append(piece)
    with doc.transaction():
        for piece in batch:
            doc.apply_update(piece)
    whole = doc.get_update()
    return whole, whole.count(MARK)
