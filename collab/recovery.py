"""From what the store holds to a document, and back: loading, compaction, verification.

Rows are read behind a fence. Each is vetted before yrs sees it, and a row that yrs cannot take does not take the room
with it as long as everything else finds its place without it. A document is never half of what was stored: when
something is missing the room is refused (`DamagedRoom`), and nothing is written over it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from anyio.lowlevel import checkpoint as let_others_run
from pycrdt import Doc

from . import telemetry, vetting
from .apart import Apart
from .draft import SLICE, Draft, from_checkpoint
from .errors import BadMessage, BadUpdate, DamagedRoom
from .fence import Panic, fenced
from .store import Row, Store, Stored
from .wire import halves, vet
from .wire.keyed import Keyed
from .wire.lib0 import read_var_uint, var_uint
from .wire.nesting import Nesting
from .wire.structs import ANY, DELETED, GC, ORIGIN, RIGHT_ORIGIN, SKIP, STRING, Extent, Struct, blocks_of

LARGE = 2**20
"""Bytes from which on a checkpoint is made in a process of its own. yrs holds the interpreter for 20 ms when it takes
in so much, twice for each checkpoint; the process costs half a second of another core."""
MANY = 200
"""A room with more rows than this that cannot be read is damaged; it is not searched for more."""
JOINED = (GC, DELETED, STRING, ANY)
"""Kinds of structs of which yrs makes one out of two."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A room as it was stored.

    Args:
        doc: Its document.
        bytes: About how large it is.
        rows: How many rows of the log it took, after the checkpoint.
        log_bytes: How large these are.
        poison: The sequence numbers of rows that yrs does not take and that nothing builds on.
        nesting: How deep its shared types are nested.
        keyed: Where it has values of keys.
    """

    doc: Doc[Any]
    bytes: int
    rows: int
    log_bytes: int
    poison: tuple[int, ...]
    nesting: Nesting
    keyed: Keyed


async def build(room: str, stored: Stored) -> Loaded:
    """The document that `stored` adds up to. It can be read, and written down again.

    Raises:
        DamagedRoom: Something does not apply, and something else builds on it; or a row builds on what is not there.
    """
    draft = await from_checkpoint(room, stored.checkpoint)
    poison: list[int] = []
    if not await draft.take_plain(stored.checkpoint, stored.rows):
        draft = await _look_closely(room, stored, poison)
    await let_others_run()
    log_bytes = sum([len(row.update) for row in stored.rows])
    size = len(stored.checkpoint or b"") + log_bytes
    return Loaded(draft.doc, size, len(stored.rows), log_bytes, tuple(sorted(poison)), draft.nesting, draft.keyed)


async def opened(store: Store, room: str) -> Loaded:
    """The document that is stored of `room`, for people to work on. Raises as `build`."""
    with telemetry.span("room.open", room=room) as span:
        loaded = await verify(store, room)
        span.set(rows=loaded.rows, bytes=loaded.bytes)
        return loaded


async def _look_closely(room: str, stored: Stored, poison: list[int]) -> Draft:
    """The same for any log; the numbers of rows that are left out join `poison`."""
    draft = await from_checkpoint(room, stored.checkpoint)
    good: list[tuple[Row, Extent]] = []
    for start in range(0, len(stored.rows), SLICE):
        good += await _vetted(stored.rows[start : start + SLICE], poison)
        await let_others_run()
    checkpoint, *updates = await _whole([stored.checkpoint or vet.EMPTY, *(row.update for row, _ in good)])
    if checkpoint != (stored.checkpoint or vet.EMPTY):
        draft = await from_checkpoint(room, checkpoint)
    sound = True
    for start in range(0, len(good), SLICE):
        slice_ = [(row.seq, extent) for row, extent in good[start : start + SLICE]]
        try:
            fenced(draft.take_all, slice_, updates[start : start + SLICE], poison)
        except Panic:
            sound = False
            break
        await let_others_run()
    if not sound or not draft.can_be_written():
        numbers = [row.seq for row, _ in good]
        draft = await _without_poison(room, checkpoint, list(zip(numbers, updates, strict=True)), poison)
    clocks = vet.parse_state_vector(fenced(draft.doc.get_state))
    unread = f" (rows {', '.join(map(str, sorted(poison)))} cannot be read)" if poison else ""
    for row, extent in good:
        if row.seq not in poison and not extent.within(clocks):
            raise DamagedRoom(room, f"row {row.seq} builds on something that is not there{unread}")
    if poison and not clocks:
        raise DamagedRoom(room, f"nothing of it can be read{unread}")
    return draft


async def _whole(updates: list[bytes]) -> list[bytes]:
    """The same, where no character is cut in two by another (`wire/halves.py`)."""
    return await vetting.aside(sum(map(len, updates)), halves.whole, updates)


async def _vetted(rows: tuple[Row, ...], poison: list[int]) -> list[tuple[Row, Extent]]:
    good = []
    for row in rows:
        try:
            good.append((row, await vetting.extent(row.update)))
        except BadUpdate:
            poison.append(row.seq)
    return good


async def guilty(room: str, doc: Doc[Any], updates: Sequence[bytes]) -> set[int]:
    """Which of `updates`, by their place, a document like `doc` does not survive or does not take.

    Raises:
        DamagedRoom: They are too many to tell.
    """
    poison: list[int] = []
    await _without_poison(room, fenced(doc.get_update), list(enumerate(updates)), poison)
    return set(poison)


async def _without_poison(
    room: str, checkpoint: bytes | None, updates: list[tuple[int, bytes]], poison: list[int]
) -> Draft:
    """A document of all `updates` but those that break it; their numbers join `poison`.

    A document in which yrs panicked is not used again. The update at which that shows is not always the one to blame:
    what an earlier one left behind may break a later one, or the writing down at the end. So the shortest beginning
    that breaks is looked for, and its last update is left out; then all is tried again.
    """
    while len(poison) <= MANY:
        clean = [(number, update) for number, update in updates if number not in poison]
        draft = await from_checkpoint(room, checkpoint)
        broken = 0
        for place, (number, update) in enumerate(clean, 1):
            try:
                fenced(draft.take, update)
            except Panic as panic:
                if panic.cause not in ("ValueError", "BadUpdate"):
                    broken = place
                    break
                poison.append(number)  # it was refused, and the document is what it was
            if place % SLICE == 0:
                await let_others_run()
        if not broken:
            if draft.can_be_written():
                return draft
            broken = len(clean)
        clean = [(number, update) for number, update in clean[:broken] if number not in poison]
        if not clean:
            raise DamagedRoom(room, "its checkpoint cannot be read")
        sound, unsound = 0, len(clean)  # the first so many do no harm; so many do
        while unsound - sound > 1:
            middle = (sound + unsound) // 2
            if await _is_sound(room, checkpoint, [update for _, update in clean[:middle]]):
                sound = middle
            else:
                unsound = middle
        poison.append(clean[unsound - 1][0])
    raise DamagedRoom(room, f"more than {MANY} rows cannot be read")


async def _is_sound(room: str, checkpoint: bytes | None, updates: list[bytes]) -> bool:
    await let_others_run()
    draft = await from_checkpoint(room, checkpoint)
    try:
        for update in updates:
            fenced(draft.take, update)
    except Panic:
        return False
    return draft.can_be_written()


async def compact(store: Store, room: str, *, keep: bool = True, apart: Apart | None = None) -> int:
    """Put the log of `room` behind a checkpoint; returns its size in bytes, 0 when there was nothing to do.

    The checkpoint is proved to hold the document (`proved`). Runs beside a live room: it reads what is stored.

    Args:
        keep: Whether the rows stay as the room's history.
        apart: Where a large one (`LARGE`) is made, so that it holds nobody up; here by default.

    Raises:
        DamagedRoom: The stored rows do not add up, or what yrs makes of them does not; they stay as they are.
    """
    with telemetry.span("room.compact", room=room) as span:
        stored = await store.load(room)
        span.set(rows=len(stored.rows))
        if not stored.rows:
            return 0
        make: Callable[[], Awaitable[bytes]] = partial(checkpoint_of, room, stored)
        size = len(stored.checkpoint or b"") + sum(len(row.update) for row in stored.rows)
        if apart is None or size < LARGE:
            state = await make()
        else:
            state = await apart.run(make)
        done = await store.compact(room, state, covers=stored.seq, basis=stored.covers, keep=keep)
        span.set(bytes=len(state))
        return len(state) if done else 0


async def checkpoint_of(room: str, stored: Stored) -> bytes:
    """The full state that `stored` adds up to, proved to be it (`proved`).

    Raises:
        DamagedRoom: It does not add up, or what yrs makes of it does not.
    """
    loaded = await build(room, stored)
    if loaded.poison:
        numbers = ", ".join(map(str, loaded.poison))
        raise DamagedRoom(room, f"rows {numbers} cannot be read, so they are not compacted")
    return await proved(room, loaded)


async def proved(room: str, loaded: Loaded) -> bytes:
    """The full state of a room, proved to be it.

    It is loaded into another document, which must have the same state vector, the same deletions and the same content.

    Raises:
        DamagedRoom: It does not.
    """
    try:
        state = fenced(loaded.doc.get_update)
        await let_others_run()
        proof: Doc[Any] = Doc()
        fenced(proof.apply_update, state)
        await let_others_run()
        clocks = [vet.parse_state_vector(fenced(doc.get_state)) for doc in (loaded.doc, proof)]
        again = fenced(proof.get_update)
        alike = clocks[0] == clocks[1] and await vetting.aside(len(state), same, state, again)
    except (BadMessage, Panic) as error:
        raise DamagedRoom(room, f"a checkpoint made of it cannot be read back ({error})") from error
    if not alike:
        raise DamagedRoom(room, "a checkpoint made of it does not hold the same document")
    return state


def same(one: bytes, other: bytes) -> bool:
    """Whether two full states, as yrs writes them, hold the same structs with the same content, and the same deletions.

    Two things are no difference: yrs joins neighbours (two letters typed one after the other) when it happens to look
    at them, and it writes the keys of a JSON object in another order each time.
    """
    if one == other:
        return True
    mine, theirs = _joined(one), _joined(other)
    return _deleted(one) == _deleted(other) and len(mine) == len(theirs) and all(map(_alike, mine, theirs))


@dataclass(slots=True)
class _Run:
    """One struct, or neighbours that could be one: `head` is what they refer to, `content` what they hold."""

    client: int
    start: int
    end: int
    kind: int
    head: tuple[bytes, bytes, bytes]
    content: bytes


def _alike(one: _Run, other: _Run) -> bool:
    if one == other:
        return True
    content, one.content = one.content, other.content
    return one == other and one.kind != STRING and sorted(content) == sorted(other.content)


def _joined(update: bytes) -> list[_Run]:
    runs: list[_Run] = []
    for client, structs in blocks_of(update):
        last: _Run | None = None
        for struct in structs:
            run = _run(update, client, struct)
            before = var_uint(client) + var_uint(run.start - 1) if run.start else b""
            if last is not None and run.kind == last.kind and run.kind in JOINED:
                if run.kind == GC or (run.head[0] == before and run.head[1:] == (last.head[1], b"")):
                    last.end = run.end
                    last.content += run.content
                    continue
            runs.append(run)
            last = run
    return runs


def _run(update: bytes, client: int, struct: Struct) -> _Run:
    kind, info = struct.kind, struct.info
    if kind in (GC, SKIP):
        return _Run(client, struct.start, struct.end, kind, (b"", b"", b""), b"")
    parts = [b"", b"", b""]
    at = struct.at + 1
    for nth, bit in enumerate((ORIGIN, RIGHT_ORIGIN)):
        if info & bit:
            begin = at
            at = read_var_uint(update, read_var_uint(update, at)[1])[1]
            parts[nth] = update[begin:at]
    if not info & (ORIGIN | RIGHT_ORIGIN):
        parts[2] = update[at : struct.body]
    at = struct.body
    if kind == DELETED:
        at = struct.to
    elif kind in JOINED:  # what a string or a list begins with is its length
        at = read_var_uint(update, at)[1]
    return _Run(client, struct.start, struct.end, kind, (parts[0], parts[1], parts[2]), update[at : struct.to])


def _deleted(update: bytes) -> list[tuple[int, int, int]]:
    found: list[tuple[int, int, int]] = []
    for client, start, end in sorted(vet.parse(update).deletes):
        if found and found[-1][0] == client and found[-1][2] >= start:
            start, end = found[-1][1], max(end, found.pop()[2])
        found.append((client, start, end))
    return found


async def verify(store: Store, room: str) -> Loaded:
    """Read all that is stored of `room` and build its document.

    Raises:
        DamagedRoom: What is wrong with it.
    """
    stored = await store.load(room)
    loaded = await build(room, stored)
    rows = list(stored.rows)
    del stored
    while rows:  # to let go of 100,000 at once takes 20 ms
        del rows[-SLICE:]
        await let_others_run()
    return loaded
