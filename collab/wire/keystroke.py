"""A short cut for what people do all day: a few characters in one place, or one deletion; and many who do so at once.

`structs.walk` reads any update; nine of ten are of this shape, and a regular expression reads them in a third of the
time. What it does not recognise, or would have to refuse, is left to `walk`, whose word is the only one that
counts: `read` answers None or just what `walk` would.
"""

from __future__ import annotations

import re

from .lib0 import read_var_uint, var_uint
from .structs import MAX_CLOCK, ORIGIN, RIGHT_ORIGIN, STRING, Extent, Point, Range

_V = rb"([\x80-\xff]{1,6}[\x01-\x7f]|[\x00-\x7f])"
"""A varUint as short as it can be, of at most 49 bits: larger client ids than that are nobody's."""

_INSERTION = re.compile(
    rb"\x01" + _V + _V + rb"(?:[\x84\x44]" + _V + _V + rb"|\xc4" + _V + _V + _V + _V + rb")" + _V, re.DOTALL
).match
"""One client's one struct, with a string that stands beside something (`structs`: 0x80 origin, 0x40 right origin), up
to its text."""

_AFTER = 0x84
"""The first byte of a string that stands after something, and before nothing."""

_LETTERS = re.compile(
    rb"\x01\x01" + _V + _V + rb"\x84" + _V + _V + rb"([\x01-\x7f])([\x00-\x7f]+)\x00", re.DOTALL
).fullmatch
"""All of an update that only adds a few letters of ASCII after something: that is, most of them."""

_N = rb"(?:[\x80-\xff]{1,6}[\x01-\x7f]|[\x00-\x7f])"
_TEXT = re.compile(
    rb"\x01\x01" + _N + _N + rb"(?:\x84(%b)|\xc4(%b)(%b)|\x44(%b))" % ((_N + _N,) * 4) + _V + rb"(.+)\x00", re.DOTALL
).fullmatch
"""All of an update that only adds text beside something, if its size is right."""

_DELETION = re.compile(rb"\x01" + _V + rb"\x01" + _V + _V, re.DOTALL).fullmatch
"""The deletions, when they are one range."""

_MOST_CLIENTS = 127
"""Of more than that a tick has seldom to tell."""

_new = tuple.__new__
"""Makes an `Extent` in a third of the time that its constructor takes."""

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
    if update[0] == 1 and (found := _LETTERS(update)) is not None:
        return _letters(update, found)
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
    longest = max([end - clock for _, clock, end in runs], default=0)
    return Extent(tuple(runs), deleted, needs, entwined, 0, (), (), (), tuple(after), tuple(before), (), longest)


def _letters(update: bytes, found: re.Match[bytes]) -> Extent | None:
    """The same for that shape alone, in half the time: no list is made of what there is one of."""
    client_id, first, beside, beside_at, size, text = found.groups()
    known = _known.get
    client = known(client_id)
    if client is None:
        client = _number(client_id)
    clock = known(first) or _number(first)
    ref = known(beside)
    if ref is None:
        ref = _number(beside)
    needed = known(beside_at) or _number(beside_at)
    end = clock + len(text)
    if size[0] != len(text) or end > MAX_CLOCK or (ref == client and needed >= clock):
        return None
    after = (((client, clock, end), (ref, needed)),)
    return _new(
        Extent, (((client, clock, end),), (), {ref: needed + 1}, False, 0, (), (), (), after, (), (), len(text))
    )


def _deletion(deletes: bytes) -> tuple[int, int, int] | None:
    found = _DELETION(deletes)
    if found is None:
        return None
    client, start, length = map(_number, found.groups())
    return (client, start, start + length) if length and start + length <= MAX_CLOCK else None


class _Run:
    """Letters of one client, one after the other, and what they stand between."""

    __slots__ = ("client", "end", "left", "right", "start", "text")

    def __init__(self, client: bytes, start: int, end: int, left: bytes, right: bytes, text: bytes) -> None:
        self.client = client
        self.start = start
        self.end = end
        self.left = left
        self.right = right
        self.text = [text]

    def __bytes__(self) -> bytes:
        """The struct that holds them."""
        text = b"".join(self.text)
        info = STRING | (ORIGIN if self.left else 0) | (RIGHT_ORIGIN if self.right else 0)
        return b"%c%b%b%b%b" % (info, self.left, self.right, var_uint(len(text)), text)


class Typed:
    """Updates that only add letters, on their way to become one.

    A letter whose origin is the one that its client typed just before, and whose right origin is the same, is what Yjs
    makes one struct of, too (yjs/src/structs/Item.js, `mergeWith`): wherever somebody typed between the two, a document
    cuts that in two again.

    Attributes:
        updates: How many there are.
    """

    __slots__ = ("_runs", "updates")

    def __init__(self) -> None:
        self.updates = 0
        self._runs: dict[int, list[_Run]] = {}

    def __bool__(self) -> bool:
        return self.updates > 0

    def add(self, update: bytes, client: int, start: int, end: int) -> bool:
        """Add a well-formed update, whose one struct is of that client and has these clocks, if it adds letters beside
        something and does nothing else.

        Returns whether it is such an update. Of each client all that is added has to follow on what was added before.
        """
        found = _TEXT(update)
        if found is None or _number(found[5]) != len(found[6]):
            return False
        left, right = found[1] or found[2] or b"", found[3] or found[4] or b""
        runs = self._runs.setdefault(client, [])
        if runs and (last := runs[-1]).right == right and left == last.client + var_uint(start - 1):
            last.text.append(found[6])
            last.end = end
        else:
            runs.append(_Run(var_uint(client), start, end, left, right, found[6]))
        self.updates += 1
        return True

    def follow(self, update: bytes) -> tuple[int, int] | None:
        """Add an update that does nothing but continue what its client typed just before, with letters of ASCII.

        It needs no other look: it is well-formed, and fits and harms as little as what it continues.

        Returns its client and the clock after it; None, when it is not one of those, and nothing was done.
        """
        found = _LETTERS(update)
        if found is None:
            return None
        client_id, first, beside, beside_at, size, text = found.groups()
        client = _number(client_id)
        runs = self._runs.get(client)
        if not runs or beside != client_id or size[0] != len(text):
            return None
        last = runs[-1]
        end = last.end + len(text)
        if last.right or first != var_uint(last.end) or beside_at != var_uint(last.end - 1) or end > MAX_CLOCK:
            return None
        last.text.append(text)
        last.end = end
        self.updates += 1
        return client, end

    def joined(self) -> bytes:
        """One update that says what all of them say. Larger client ids come first, as Yjs writes them."""
        out = [var_uint(len(self._runs))]
        for client in sorted(self._runs, reverse=True):
            runs = self._runs[client]
            out += var_uint(len(runs)), runs[0].client, var_uint(runs[0].start), *map(bytes, runs)
        return b"".join(out) + b"\x00"
