"""A short cut for what people do all day: a few characters in one place, or one deletion; and many who do so at once.

`structs.walk` reads any update; nine of ten are of this shape, and a regular expression reads them in a third of the
time. What it does not recognise, or would have to refuse, is left to `walk`, whose word is the only one that
counts: `read` answers None or just what `walk` would.
"""

from __future__ import annotations

import re

from .lib0 import read_var_uint
from .structs import MAX_CLOCK, Extent, Point, Range

_V = rb"([\x80-\xff]{1,6}[\x01-\x7f]|[\x00-\x7f])"
"""A varUint as short as it can be, of at most 49 bits: larger client ids than that are nobody's."""

_INSERTION = re.compile(
    rb"\x01" + _V + _V + rb"(?:[\x84\x44]" + _V + _V + rb"|\xc4" + _V + _V + _V + _V + rb")" + _V, re.DOTALL
).match
"""One client's one struct, with a string that stands beside something (`structs`: 0x80 origin, 0x40 right origin), up
to its text."""

_AFTER = 0x84
"""The first byte of a string that stands after something, and before nothing."""

_DELETION = re.compile(rb"\x01" + _V + rb"\x01" + _V + _V, re.DOTALL).fullmatch
"""The deletions, when they are one range."""

_MOST_CLIENTS = 127
"""Of more than that a tick has seldom to tell."""

_known: dict[bytes, int] = {}
"""What short varUints mean. The same few client ids and clocks come again and again."""
_MOST_KNOWN = 100_000


def _number(raw: bytes) -> int:
    number = _known.get(raw)
    if number is None:
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        number = _known[raw] = read_var_uint(raw, 0)[0]
    return number


def read(update: bytes) -> Extent | None:
    """What `update` covers and needs, if it is of that shape and there is nothing wrong with it."""
    if not update or update[0] > _MOST_CLIENTS:
        return None
    runs: list[Range] = []
    needs: dict[int, int] = {}
    foreign: set[int] = set()
    after: list[tuple[Range, Point]] = []
    before: list[Point] = []
    at = 1
    for _ in range(update[0]):
        found = _INSERTION(update, at)
        if found is None:
            return None
        client_id, first, beside, beside_at, left, left_at, right, right_at, size = found.groups()
        client, clock = _number(client_id), _number(first)
        begin = found.end()
        at = begin + _number(size)
        text = update[begin:at]
        if text.isascii():
            end = clock + len(text)
        else:
            try:
                end = clock + len(text.decode().encode("utf-16-le")) // 2
            except UnicodeDecodeError:
                return None
        if at >= len(update) or end == clock or end > MAX_CLOCK:
            return None
        if beside is not None:
            points = ((_number(beside), _number(beside_at)),)
        else:
            points = (_number(left), _number(left_at)), (_number(right), _number(right_at))  # type: ignore[assignment]
        for ref, needed in points:
            if ref != client:
                foreign.add(ref)
            elif needed >= clock:  # it refers to itself
                return None
            if needed >= needs.get(ref, 0):
                needs[ref] = needed + 1
        run = (client, clock, end)
        if beside is not None and update[found.start(3) - 1] == _AFTER:
            after.append((run, points[0]))
        else:
            before += points
        runs.append(run)
    entwined = False
    if len(runs) > 1:
        clients = {run[0] for run in runs}
        if len(clients) < len(runs):
            return None
        entwined = not foreign.isdisjoint(clients)
    deletes = update[at:]
    deletion = None
    if deletes != b"\x00":
        deletion = _deletion(deletes)
        if deletion is None:
            return None
    elif not runs:
        return None
    deleted = () if deletion is None else (deletion,)
    return Extent(tuple(runs), deleted, needs, entwined, 0, (), (), (), tuple(after), tuple(before))


def _deletion(deletes: bytes) -> tuple[int, int, int] | None:
    found = _DELETION(deletes)
    if found is None:
        return None
    client, start, length = map(_number, found.groups())
    return (client, start, start + length) if length and start + length <= MAX_CLOCK else None
