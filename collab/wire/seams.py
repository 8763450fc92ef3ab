"""A long string that is to be cut in thousands of places is cut in some of them first (`seams`), or comes in pieces.

yrs copies the rest of a string whenever it cuts one in two. An update that deletes every other letter of a text of two
million, which one paste may be, took it 34 s, in which nobody was served; one that puts a letter at every tenth place
1.7 s. Cut into pieces of a few thousand letters before, it takes 2 s, and 0.06.

What cuts and does nothing else is a deletion of nothing: Yjs and yrs cut where a deleted range begins (yjs/src/utils/
DeleteSet.js, `readAndApplyDeleteSet`), and join what still fits together when the transaction ends.

What comes in the same update cannot be cut before it, so there long strings are made of short ones (`in_pieces`). Yjs
makes the same ones of a string that it cuts (yjs/src/structs/Item.js, `splitItem`), and joins them again.

Structs that have no right origin do not count: to find its place such a one passes every piece that comes after it, so
more pieces make it dearer.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isqrt

from .halves import Pairs
from .lib0 import read_var_string, var_string, var_uint
from .structs import KEY, ORIGIN, RIGHT_ORIGIN, STRING, Extent, Struct, blocks_of

MANY = 100
"""Places from which on it is worth the while."""
PIECE = 4_096
"""Characters of a string that is made of several."""


def cuts_much(extent: Extent) -> bool:
    """Whether there may be something to gain."""
    return len(extent.deletes) + len(extent.before) >= MANY


def seams(extent: Extent, clocks: Mapping[int, int], pairs: Pairs | None) -> bytes | None:
    """An update that cuts a document in some of the places in which another one will, and does nothing else.

    Of n places it is about the square root: as much work then remains in each piece as there was to make the pieces.
    It has to be applied in one transaction with the other one, right before.

    Args:
        extent: The other update's, which fits the document and cuts no character in two.
        clocks: What the document has: client id -> next clock.
        pairs: The second halves of its characters of two code units. None, if they are not known: then it is cut only
            where it is certain that the other update does.

    Returns None when there is nothing to gain.
    """
    if not cuts_much(extent):
        return None
    step = isqrt(len(extent.deletes) + len(extent.before)) | 1  # odd, so that of `before` not all are origins
    places = [(client, start) for client, start, _ in extent.deletes[::step]]
    if pairs is not None:
        places += extent.before[::step]
    mine: dict[int, set[int]] = {}
    for client, clock in places:
        if 0 < clock < clocks.get(client, 0) and (pairs is None or (client, clock) not in pairs):
            mine.setdefault(client, set()).add(clock)
    out = [b"\x00", var_uint(len(mine))]
    for client, cuts in mine.items():
        out += var_uint(client), var_uint(len(cuts)), *(var_uint(clock) + b"\x00" for clock in sorted(cuts))
    return b"".join(out) if mine else None


def in_pieces(update: bytes, extent: Extent) -> bytes:
    """A well-formed update that says the same, where no string is long if it cuts much.

    Args:
        extent: What it covers and needs. That of the answer is another one, unless that is `update` itself.
    """
    if extent.longest <= PIECE or not cuts_much(extent):
        return update
    out = list[bytes]()
    for client, structs in (blocks := blocks_of(update)):
        made = [piece for struct in structs for piece in _pieces(update, client, struct)]
        out += var_uint(len(made)), var_uint(client), var_uint(structs[0].start), *made
    return b"".join([var_uint(len(blocks)), *out, update[blocks[-1][1][-1].to :]])


def _pieces(update: bytes, client: int, struct: Struct) -> list[bytes]:
    if struct.kind != STRING or struct.info & KEY or struct.end - struct.start <= PIECE:
        return [update[struct.at : struct.to]]
    text = read_var_string(update, struct.body)[0]
    right = b"%b%b" % (*map(var_uint, struct.refs[-1]),) if struct.info & RIGHT_ORIGIN else b""
    pieces, clock = [], struct.start
    for at in range(0, len(text), PIECE):
        piece = text[at : at + PIECE]
        if at:
            info = STRING | ORIGIN | struct.info & RIGHT_ORIGIN
            head = b"%c%b%b%b" % (info, var_uint(client), var_uint(clock - 1), right)
        else:
            head = update[struct.at : struct.body]
        pieces.append(head + var_string(piece))
        clock += len(piece.encode("utf-16-le")) // 2
    return pieces
