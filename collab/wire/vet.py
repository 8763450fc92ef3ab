"""Is this update fit for the document? Reads the structure of a Yjs update (v1) before yrs does.

It answers two questions. Is it well-formed: every length within the data, nothing of length zero, no value nested so
deep that a reader of it overflows its stack (`parse` raises `BadUpdate`)? And what does it cover and need: which
structs, which deletions, and which earlier structs they refer to (`Extent`)? A document that lacks one of those cannot
take the update in whole; `split` cuts out the part that it can.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from heapq import heappop, heappush

from ..errors import BadMessage, BadUpdate
from . import keystroke
from .contents import MAX_DEPTH
from .lib0 import expect_end, read_var_uint, var_uint
from .structs import DELETED, GC, MAX_CLOCK, SKIP, Blocks, Extent, Most, Point, Range, blocks_of, walk

__all__ = ["EMPTY", "MAX_CLIENTS", "MAX_CLOCK", "MAX_DEPTH", "MOST", "Extent", "Range", "as_it_is", "crowded"]
__all__ += ["measured", "parse", "parse_state_vector", "split", "state_vector", "wants", "weight"]

MAX_CLIENTS = 100_000
"""How many clients may have written in a document. Real ones have some thousands at most, and each costs whoever joins:
to tell two documents apart both sides name all of their clients."""

EMPTY = b"\x00\x00"
"""The update that says nothing: no structs, no deletions."""


MOST = Most(clients=MAX_CLIENTS, structs=4_000_000, ranges=1_000_000)
"""What a client may send. No real document of 16 MiB has as much, and each takes a hundred bytes of memory and more."""


def crowded(extent: Extent, clocks: Mapping[int, int]) -> bool:
    """Whether more clients than `MAX_CLIENTS` would have written in a document with `clocks`, new ones among them."""
    if len(clocks) + len(extent.structs) <= MAX_CLIENTS:
        return False
    new = {client for client, _, _ in extent.structs if client not in clocks}
    return bool(new) and len(clocks) + len(new) > MAX_CLIENTS


def parse(update: bytes, most: Most | None = None) -> Extent:
    """What `update` covers and needs.

    Raises:
        BadUpdate: It is not a well-formed update of the first version, or has more than `most`.
    """
    try:
        extent = keystroke.read(update) or walk(update, most=most)
    except (IndexError, BadMessage) as error:
        if isinstance(error, BadUpdate):
            raise
        raise BadUpdate(
            f"not a Yjs update: {error if isinstance(error, BadMessage) else 'the data end early'}"
        ) from None
    if extent.values:
        # Yjs joins old values of a key once they are deleted. Of living ones that somebody cuts, yrs forgets all but
        # the last: they outlive the map that they stand in, and yrs follows them into memory that it has given back.
        raise BadUpdate("the value of a key is longer than one")
    if extent.foundlings:
        _look_at_parents(blocks_of(update), extent.foundlings)
    if extent.entwined:
        blocks = blocks_of(update)
        have = {client: structs[0].start for client, structs in blocks}
        inside = {client: structs[-1].end for client, structs in blocks}
        if _fit(blocks, have, inside) != [len(structs) for _, structs in blocks]:
            raise BadUpdate("structs wait for each other")  # yrs would keep them, and wait, for ever
    return extent


def _look_at_parents(blocks: Blocks, parents: Iterable[Point]) -> None:
    """A struct may lie in one that was deleted since; letters and values have no children (yrs breaks off in there)."""
    wanted: dict[int, set[int]] = {}
    for client, clock in parents:
        wanted.setdefault(client, set()).add(clock)
    for client, structs in blocks:
        clocks = sorted(wanted.get(client, ()), reverse=True)
        for struct in structs:
            while clocks and clocks[-1] < struct.end:
                if clocks.pop() >= struct.start and struct.kind not in (GC, DELETED, SKIP):
                    raise BadUpdate("a parent is no shared type")


def parse_state_vector(state_vector: bytes, most: int | None = None) -> dict[int, int]:
    """The clocks that a state vector names: client id -> next clock.

    yrs makes room for as many clients as the first number announces, before it looks whether they are there.

    Args:
        state_vector: Its bytes.
        most: How many clients it may name; None where nobody else wrote it.

    Raises:
        BadMessage: It is not a well-formed state vector, or names too many.
    """
    clocks: dict[int, int] = {}
    count, at = read_var_uint(state_vector, 0)
    if most is not None and count > most:
        raise BadMessage(f"a state vector names {count} clients, and {most} are the most that a document may have")
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
    blocks: Blocks = []
    extent = walk(update, blocks)
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


def wants(extent: Extent) -> dict[int, int]:
    """What a document must have before an update fits it in whole (`Extent.lacks`): client id -> clock."""
    reach: dict[int, int] = {}
    found: dict[int, int] = {}
    for client, start, end in extent.structs:
        if start > reach.get(client, 0):
            found[client] = start  # a run begins behind all before it
            reach[client] = end
        elif end > reach.get(client, 0):
            reach[client] = end
    for client, clock in extent.needs.items():
        if clock > reach.get(client, 0) and clock > found.get(client, 0):
            found[client] = clock
    for client, _, clock in extent.deletes:
        if clock > reach.get(client, 0) and clock > found.get(client, 0):
            found[client] = clock
    return found


def weight(extent: Extent) -> int:
    """About how many bytes of memory an extent takes, rather too many: 40 times what the update says, at the worst."""
    ranges = len(extent.structs) + len(extent.deletes) + len(extent.values) + len(extent.keyed)
    points = len(extent.foundlings) + len(extent.before) + len(extent.marks)
    return 136 * ranges + 104 * points + 320 * len(extent.after) + 240 * len(extent.needs)


def _fit(blocks: Blocks, have: dict[int, int], inside: Mapping[int, int] | None = None) -> list[int]:
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
            if (struct.end if struct.kind == SKIP and inside is None else struct.start) > known:
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


def measured(change: Callable[[bytes], bytes], state: bytes) -> tuple[bytes, Extent]:
    """The update that `change` makes of a document, and what it covers.

    Raises:
        BadUpdate: It makes none.
    """
    update = change(state)
    return update, parse(update)


def as_it_is(update: bytes, state: bytes) -> bytes:
    """The change of any document by an update that is there already."""
    return update
