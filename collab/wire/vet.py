"""Is this update fit for the document? Reads the structure of a Yjs update (v1) before yrs does.

It answers two questions. Is it well-formed: every length within the data, nothing of length zero, no value nested so
deep that a reader of it overflows its stack (`parse` raises `BadUpdate`)? And what does it cover and need: which
structs, which deletions, and which earlier structs they refer to (`Extent`)? A document that lacks one of those cannot
take the update in whole; `split` cuts out the part that it can.

Source: yjs/src/utils/encoding.js (`writeClientsStructs`), structs/*.js, lib0/encoding.js (`writeAny`):

    update  = varUint #clients • clients × (varUint #structs • varUint client • varUint clock • structs) • deletes
    struct  = byte info • (0: GC | 10: Skip) varUint length
            | byte info • [origin id if 0x80] • [right origin id if 0x40]
              • if neither: (varUint 1 • varString root | varUint 0 • id) • [varString key if 0x20] • content
    deletes = varUint #clients • clients × (varUint client • varUint #ranges • ranges × (varUint clock • varUint len))
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from heapq import heappop, heappush

from ..errors import BadMessage, BadUpdate
from .lib0 import expect_end, read_var_uint, var_uint

MAX_DEPTH = 128
"""How deep a JSON-like value may nest (serde_json's limit, too). Deeper ones overflow the stack of their readers."""

MAX_CLOCK = 2**31 - 1
"""No client writes more characters into one document; yrs counts clocks in 32 bits."""

EMPTY = b"\x00\x00"
"""The update that says nothing: no structs, no deletions."""

GC, STRING, SKIP = 0, 4, 10
_ORIGIN, _RIGHT_ORIGIN, _KEY = 0x80, 0x40, 0x20
_XML_ELEMENT, _XML_HOOK, _XML_TEXT = 3, 5, 6

Range = tuple[int, int, int]
"""(client id, first clock, clock after the last)."""


@dataclass(frozen=True, slots=True)
class Extent:
    """What an update covers and needs.

    Args:
        structs: The runs of structs, in the order of the update; a Skip is a hole between two runs.
        deletes: The ranges that it deletes.
        needs: For each client that the structs refer to, the clock after the last struct that is referred to.
        entwined: Whether structs of one client refer to those of another one in the same update.
    """

    structs: tuple[Range, ...]
    deletes: tuple[Range, ...]
    needs: Mapping[int, int]
    entwined: bool = False

    def lacks(self, clocks: Mapping[int, int]) -> tuple[int, int] | None:
        """What a document that has `clocks` (client id -> next clock) lacks of that which this update builds on.

        Returns the first such thing as (client id, clock that the document must have reached), None when it has all.
        """
        reach: dict[int, int] = {}
        for client, start, end in self.structs:
            known = reach[client] if client in reach else clocks.get(client, 0)
            if start > known:
                return client, start
            reach[client] = end if end > known else known
        for client, clock in self.needs.items():
            if clock > clocks.get(client, 0) and clock > reach.get(client, 0):
                return client, clock
        for client, _, end in self.deletes:
            if end > clocks.get(client, 0) and end > reach.get(client, 0):
                return client, end
        return None

    def missing(self, clocks: Mapping[int, int]) -> bool:
        """Whether a document that has `clocks` lacks something that this update builds on."""
        return self.lacks(clocks) is not None

    def within(self, clocks: Mapping[int, int]) -> bool:
        """The integration rule: whether every struct and delete range lies at or below `clocks`."""
        return all(end <= clocks.get(client, 0) for client, _, end in self.structs) and all(
            end <= clocks.get(client, 0) for client, _, end in self.deletes
        )


@dataclass(frozen=True, slots=True)
class _Struct:
    """One struct in its place: `data[at:to]` is its encoding, `refs` the ids it refers to."""

    start: int
    end: int
    at: int
    to: int
    refs: tuple[tuple[int, int], ...]
    skip: bool


_Blocks = list[tuple[int, list[_Struct]]]
"""The structs of each client, in the order of the update."""


def parse(update: bytes) -> Extent:
    """What `update` covers and needs.

    Raises:
        BadUpdate: It is not a well-formed update of the first version.
    """
    try:
        extent = _parse(update, None)
    except (IndexError, BadMessage) as error:
        if isinstance(error, BadUpdate):
            raise
        raise BadUpdate(
            f"not a Yjs update: {error if isinstance(error, BadMessage) else 'the data end early'}"
        ) from None
    if extent.entwined:
        blocks: _Blocks = []
        _parse(update, blocks)
        have = {client: structs[0].start for client, structs in blocks}
        inside = {client: structs[-1].end for client, structs in blocks}
        if _fit(blocks, have, inside) != [len(structs) for _, structs in blocks]:
            raise BadUpdate("structs wait for each other")  # yrs would keep them, and wait, for ever
    return extent


def parse_state_vector(state_vector: bytes) -> dict[int, int]:
    """The clocks that a state vector names: client id -> next clock.

    yrs makes room for as many clients as the first number announces, before it looks whether they are there.

    Raises:
        BadMessage: It is not a well-formed state vector.
    """
    clocks: dict[int, int] = {}
    count, at = read_var_uint(state_vector, 0)
    for _ in range(count):
        client, at = read_var_uint(state_vector, at)
        clock, at = read_var_uint(state_vector, at)
        if clock > MAX_CLOCK:
            raise BadMessage("a clock is out of range")
        clocks[client] = clock
    expect_end(state_vector, at)
    return clocks


def state_vector(clocks: Mapping[int, int]) -> bytes:
    """The state vector that names `clocks`."""
    out = bytearray(var_uint(len(clocks)))
    for client, clock in clocks.items():
        out += var_uint(client) + var_uint(clock)
    return bytes(out)


def split(update: bytes, clocks: Mapping[int, int]) -> bytes:
    """The part of a well-formed `update` that a document with `clocks` can take in now; `EMPTY` when there is none.

    Structs are cut where they stand, byte for byte: each client's run up to the first struct that is out of order, or
    skips or refers to what is not there. Deletions are kept as far as their targets are there.
    """
    blocks: _Blocks = []
    extent = _parse(update, blocks)
    have = dict(clocks)
    taken = _fit(blocks, have)
    used = [(client, structs[:count]) for (client, structs), count in zip(blocks, taken, strict=True) if count]
    out = bytearray(var_uint(len(used)))
    for client, structs in used:
        out += var_uint(len(structs)) + var_uint(client) + var_uint(structs[0].start)
        out += update[structs[0].at : structs[-1].to]
    deletes: dict[int, list[tuple[int, int]]] = {}
    for client, start, end in extent.deletes:
        end = min(end, have.get(client, 0))
        if start < end:
            deletes.setdefault(client, []).append((start, end - start))
    out += var_uint(len(deletes))
    for client, ranges in deletes.items():
        out += var_uint(client) + var_uint(len(ranges))
        for start, length in ranges:
            out += var_uint(start) + var_uint(length)
    return bytes(out)


def _fit(blocks: _Blocks, have: dict[int, int], inside: Mapping[int, int] | None = None) -> list[int]:
    """How many structs of each block fit one after the other, beginning with the clocks in `have`, which move on.

    With `inside` (client id -> clock) all that is not before those clocks counts as there, and so does what is skipped.

    A struct of one client may wait for one of another, which stands later in the update. A block is looked at again
    only when the clock that it waits for is reached: whoever writes an update must not choose how long this takes.
    """
    taken = [0] * len(blocks)
    waiting: dict[int, list[tuple[int, int]]] = {}
    ready = list(range(len(blocks)))
    while ready:
        number = ready.pop()
        client, structs = blocks[number]
        known = have.get(client, 0)
        while taken[number] < len(structs):
            struct = structs[taken[number]]
            if (struct.end if struct.skip and inside is None else struct.start) > known:
                break
            for ref, clock in struct.refs:
                if clock >= have.get(ref, 0) and (inside is None or clock < inside.get(ref, 0)):
                    heappush(waiting.setdefault(ref, []), (clock, number))
                    break
            else:
                taken[number] += 1
                have[client] = known = max(known, struct.end)
                continue
            break
        heap = waiting.get(client, [])
        while heap and heap[0][0] < known:
            ready.append(heappop(heap)[1])
    return taken


def _parse(data: bytes, blocks: _Blocks | None) -> Extent:
    """The walk over an update; every struct is also noted in `blocks` when that is wanted (it costs twice the time)."""
    runs, deletes = list[Range](), list[Range]()
    needs: dict[int, int] = {}
    foreign, seen = set[int](), set[int]()
    clients, at = read_var_uint(data, 0)
    for _ in range(clients):
        count, at = read_var_uint(data, at)
        client, at = read_var_uint(data, at)
        clock, at = read_var_uint(data, at)
        if not count:
            raise BadUpdate("a client without structs")
        if client in seen:  # yrs reads on where Yjs begins anew
            raise BadUpdate("a client comes twice")
        seen.add(client)
        begin = clock
        structs: list[_Struct] = []
        for _ in range(count):
            first = at
            info = data[at]
            at += 1
            kind = info & 31
            refs: tuple[tuple[int, int], ...] = ()
            if info == GC or info == SKIP:
                length, at = read_var_uint(data, at)
            else:
                if info & 0xC0:
                    ids = 2 if info & 0xC0 == 0xC0 else 1
                else:
                    named, at = read_var_uint(data, at)
                    if named == 1:
                        at = _text(data, at)
                    elif named:
                        raise BadUpdate("a parent is neither named nor an item")
                    ids = 1 - named
                for _ in range(ids):
                    ref, at = read_var_uint(data, at)
                    ref_clock, at = read_var_uint(data, at)
                    if ref != client:
                        foreign.add(ref)
                    elif ref_clock >= clock:
                        raise BadUpdate("a struct refers to one that comes after it")
                    if ref_clock >= needs.get(ref, 0):
                        needs[ref] = ref_clock + 1
                    refs += ((ref, ref_clock),)
                if info & (_KEY | 0xC0) == _KEY:
                    at = _text(data, at)
                if kind == STRING:
                    length, at = _string(data, at)
                else:
                    length, at = _content(kind, data, at)
            if not length:
                raise BadUpdate("a struct of length zero")
            end = clock + length
            if end > MAX_CLOCK:
                raise BadUpdate("a clock is out of range")
            if blocks is not None:
                structs.append(_Struct(clock, end, first, at, refs, kind == SKIP))
            if kind == SKIP:
                if clock > begin:
                    runs.append((client, begin, clock))
                begin = end
            clock = end
        if clock > begin:
            runs.append((client, begin, clock))
        if blocks is not None:
            blocks.append((client, structs))
    clients, at = read_var_uint(data, at)
    for _ in range(clients):
        client, at = read_var_uint(data, at)
        count, at = read_var_uint(data, at)
        for _ in range(count):
            clock, at = read_var_uint(data, at)
            length, at = read_var_uint(data, at)
            if clock + length > MAX_CLOCK:
                raise BadUpdate("a deleted range is out of range")
            if not length:
                raise BadUpdate("a deleted range of length zero")
            deletes.append((client, clock, clock + length))
    if at != len(data):
        raise BadUpdate(f"{len(data) - at} bytes follow the update")
    return Extent(tuple(runs), tuple(deletes), needs, not foreign.isdisjoint(seen))


def _span(data: bytes, at: int) -> tuple[int, int]:
    """Where the bytes of a var-length value begin and end."""
    length, at = read_var_uint(data, at)
    end = at + length
    if end > len(data):
        raise BadUpdate("a length is larger than the data")
    return at, end


def _text(data: bytes, at: int) -> int:
    """Passes over a varString; returns the index after it."""
    return _string(data, at)[1]


def _string(data: bytes, at: int) -> tuple[int, int]:
    """Passes over a varString; returns its length in UTF-16 code units, as Yjs counts, and the index after it."""
    at, end = _span(data, at)
    raw = data[at:end]
    if raw.isascii():
        return end - at, end
    try:
        return len(raw.decode().encode("utf-16-le")) // 2, end
    except UnicodeDecodeError:
        raise BadUpdate("a string is not UTF-8") from None


def _content(kind: int, data: bytes, at: int) -> tuple[int, int]:
    """Passes over the content of an item; returns its length in clocks and the index after it."""
    match kind:
        case 1:  # DELETED
            return read_var_uint(data, at)
        case 7:  # TYPE
            type_ref, at = read_var_uint(data, at)
            if type_ref == _XML_ELEMENT:
                at = _text(data, at)
            elif type_ref == _XML_HOOK or type_ref > _XML_TEXT:  # yrs passes over a hook's name and reads it as structs
                raise BadUpdate(f"shared type {type_ref} is not understood here")
            return 1, at
        case 8:  # ANY
            count, at = read_var_uint(data, at)
            for _ in range(count):
                at = _any(data, at)
            return count, at
        case 6:  # FORMAT
            return 1, _text(data, _text(data, at))
        case 5:  # EMBED
            return 1, _text(data, at)
        case 3:  # BINARY
            return 1, _span(data, at)[1]
        case 2:  # JSON, which Yjs wrote before version 13; yrs reads one string more than there are
            raise BadUpdate("JSON content of Yjs before version 13 is not understood here")
        case 9:  # DOC
            return 1, _any(data, _text(data, at))
        case _:
            raise BadUpdate(f"unknown content {kind}")


def _any(data: bytes, at: int) -> int:
    """Passes over one JSON-like value (lib0 `writeAny`) without recursion; returns the index after it."""
    open_: list[tuple[int, bool]] = []  # for each value around this one: how many are still to come, and whether keyed
    while True:
        tag = data[at]
        at += 1
        match tag:
            case 127 | 126 | 121 | 120:  # undefined, null, false, true
                pass
            case 125:  # varInt
                start = at
                while data[at] > 127:
                    at += 1
                at += 1
                if at - start > 10:
                    raise BadUpdate("a number is longer than ten bytes")
            case 124:
                at += 4
            case 123 | 122:
                at += 8
            case 119:
                at = _text(data, at)
            case 116:
                at = _span(data, at)[1]
            case 118 | 117:  # object, array
                count, at = read_var_uint(data, at)
                if len(open_) >= MAX_DEPTH:
                    raise BadUpdate(f"a value is nested more than {MAX_DEPTH} deep")
                open_.append((count, tag == 118))
            case _:
                raise BadUpdate(f"unknown value {tag}")
        while open_ and not open_[-1][0]:
            open_.pop()
        if at > len(data):
            raise BadUpdate("the data end inside a value")
        if not open_:
            return at
        left, keyed = open_[-1]
        open_[-1] = (left - 1, keyed)
        if keyed:
            at = _text(data, at)
