"""A short cut for what people do all day: one character, or a few, in one place; or one deletion.

`structs.walk` reads any update; nine of ten are of these two shapes, and a regular expression reads them in a third of
the time. What it does not recognise, or would have to refuse, is left to `walk`, whose word is the only one that
counts: `read` answers None or just what `walk` would.
"""

from __future__ import annotations

import re

from .lib0 import read_var_uint
from .structs import MAX_CLOCK, Extent

_V = rb"([\x80-\xff]{1,6}[\x01-\x7f]|[\x00-\x7f])"
"""A varUint as short as it can be, of at most 49 bits: larger client ids than that are nobody's."""

_INSERTION = re.compile(
    rb"\x01\x01" + _V + _V + rb"(?:[\x84\x44]" + _V + _V + rb"|\xc4" + _V + _V + _V + _V + rb")" + _V, re.DOTALL
).match
"""One struct with a string that stands beside something (`structs`: 0x80 origin, 0x40 right origin), up to its text."""

_DELETION = re.compile(rb"\x01" + _V + rb"\x01" + _V + _V, re.DOTALL).fullmatch
"""The deletions, when they are one range."""

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
    """What `update` covers and needs, if it is of one of the two shapes and there is nothing wrong with it."""
    found = _INSERTION(update)
    if found is None:
        if update[:1] != b"\x00":
            return None
        deletion = _deletion(update[1:])
        return None if deletion is None else Extent((), (deletion,), {})
    client_id, first, beside, at, left, left_at, right, right_at, size = found.groups()
    client, clock = _number(client_id), _number(first)
    begin = found.end()
    end = begin + _number(size)
    text = update[begin:end]
    if text.isascii():
        after = clock + len(text)
    else:
        try:
            after = clock + len(text.decode().encode("utf-16-le")) // 2
        except UnicodeDecodeError:
            return None
    if end >= len(update) or after == clock or after > MAX_CLOCK:
        return None
    if beside is not None:
        needs = {_number(beside): _number(at) + 1}
    else:
        ref, needed = _number(left), _number(left_at) + 1
        needs = {ref: needed}
        other, also = _number(right), _number(right_at) + 1
        if other != ref or also > needed:
            needs[other] = also
    if needs.get(client, 0) > clock:  # it refers to itself
        return None
    if update[end:] == b"\x00":
        return Extent(((client, clock, after),), (), needs)
    deletion = _deletion(update[end:])
    return None if deletion is None else Extent(((client, clock, after),), (deletion,), needs)


def _deletion(deletes: bytes) -> tuple[int, int, int] | None:
    found = _DELETION(deletes)
    if found is None:
        return None
    client, start, length = map(_number, found.groups())
    return (client, start, start + length) if length and start + length <= MAX_CLOCK else None
