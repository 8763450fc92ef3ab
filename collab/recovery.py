"""From what the store holds to a document, and back: loading, compaction, verification.

Rows are read behind a fence. Each is vetted before yrs sees it, and a row that yrs cannot take does not take the room
with it as long as everything else finds its place without it. A document is never half of what was stored: when
something is missing the room is refused (`DamagedRoom`), and nothing is written over it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from anyio.lowlevel import checkpoint as let_others_run
from pycrdt import Doc, Snapshot

from .errors import BadUpdate, DamagedRoom
from .fence import Panic, fenced
from .store import Row, Store, Stored
from .wire import vet
from .wire.vet import Extent

SLICE = 200
"""Rows applied between two turns of the event loop: about a millisecond."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A room as it was stored.

    Args:
        doc: Its document.
        bytes: About how large it is.
        rows: How many rows of the log it took, after the checkpoint.
        log_bytes: How large these are.
        poison: The sequence numbers of rows that yrs does not take and that nothing builds on.
    """

    doc: Doc[Any]
    bytes: int
    rows: int
    log_bytes: int
    poison: tuple[int, ...]


async def build(room: str, stored: Stored) -> Loaded:
    """The document that `stored` adds up to.

    Raises:
        DamagedRoom: Something does not apply, and something else builds on it; or a row builds on what is not there.
    """
    doc: Doc[Any] = Doc()
    if stored.checkpoint is not None:
        try:
            fenced(doc.apply_update, stored.checkpoint)
        except Panic as error:
            raise DamagedRoom(room, f"its checkpoint cannot be read ({error})") from error
    poison: list[int] = []
    extents: list[tuple[int, Extent]] = []
    for start in range(0, len(stored.rows), SLICE):
        rows = stored.rows[start : start + SLICE]
        good = _vetted(rows, poison)
        extents += [(row.seq, extent) for row, extent in good]
        try:
            fenced(_apply_all, doc, [row for row, _ in good])
        except Panic:
            doc = await _without_poison(room, stored, start, poison)
        await let_others_run()
    clocks = vet.parse_state_vector(fenced(doc.get_state))
    for seq, extent in extents:
        if seq not in poison and not extent.within(clocks):
            what = f"row {seq} builds on something that is not there"
            raise DamagedRoom(room, f"{what} (rows {', '.join(map(str, poison))} cannot be read)" if poison else what)
    log_bytes = sum(len(row.update) for row in stored.rows)
    size = len(stored.checkpoint or b"") + log_bytes
    return Loaded(doc, size, len(stored.rows), log_bytes, tuple(poison))


def _vetted(rows: tuple[Row, ...], poison: list[int]) -> list[tuple[Row, Extent]]:
    good = []
    for row in rows:
        try:
            good.append((row, vet.parse(row.update)))
        except BadUpdate:
            poison.append(row.seq)
    return good


def _apply_all(doc: Doc[Any], rows: list[Row]) -> None:
    with doc.transaction():
        for row in rows:
            doc.apply_update(row.update)


async def _without_poison(room: str, stored: Stored, start: int, poison: list[int]) -> Doc[Any]:
    """A document of everything up to the slice at `start`, row by row, leaving out what breaks it.

    A document in which yrs panicked is not used again: a new one is made from the start for each row that does that.
    """
    while True:
        doc: Doc[Any] = Doc()
        if stored.checkpoint is not None:
            fenced(doc.apply_update, stored.checkpoint)
        for row in stored.rows[: start + SLICE]:
            if row.seq in poison:
                continue
            try:
                fenced(doc.apply_update, row.update)
                if row.seq > stored.rows[start].seq:
                    fenced(doc.get_update, doc.get_state())
            except Panic:
                poison.append(row.seq)
                break
        else:
            return doc
        if len(poison) > SLICE:
            raise DamagedRoom(room, f"more than {SLICE} rows cannot be read")
        await let_others_run()


async def compact(store: Store, room: str) -> int:
    """Replace the log of `room` by a checkpoint; returns its size in bytes, 0 when there was nothing to do.

    What goes is only what the new checkpoint is proved to hold: it is loaded into another document, which must have the
    same state vector, the same deletions and the same content. Runs beside a live room: it reads what is stored.

    Raises:
        DamagedRoom: The stored rows do not add up; they stay as they are.
    """
    stored = await store.load(room)
    if not stored.rows:
        return 0
    loaded = await build(room, stored)
    if loaded.poison:
        raise DamagedRoom(room, f"rows {', '.join(map(str, loaded.poison))} cannot be read, so they are not compacted")
    state = fenced(loaded.doc.get_update)
    await let_others_run()
    proof: Doc[Any] = Doc()
    fenced(proof.apply_update, state)
    await let_others_run()
    if not same(loaded.doc, proof):
        raise DamagedRoom(room, "a checkpoint made of it does not hold the same document")
    done = await store.compact(room, state, covers=stored.seq, basis=stored.covers)
    return len(state) if done else 0


def same(one: Doc[Any], other: Doc[Any]) -> bool:
    """Whether two documents hold the same: state vector and deletions (their `Snapshot`), and content."""
    return (
        vet.parse_state_vector(one.get_state()) == vet.parse_state_vector(other.get_state())
        and Snapshot.from_doc(one).encode() == Snapshot.from_doc(other).encode()
        and one.get_update() == other.get_update()
    )


async def verify(store: Store, room: str) -> Loaded:
    """Read all that is stored of `room` and build its document.

    Raises:
        DamagedRoom: What is wrong with it.
    """
    return await build(room, await store.load(room))
