"""The document at a moment: a stored state, and the rows of the log that came after it.

What is read here is read as a room is read when it opens (`collab.recovery`): each row vetted, behind the fence, and
never half of what was stored. The order of a document is that of its sequence numbers; time only says where to stop.
"""

from __future__ import annotations

from collections.abc import Sequence

from .. import recovery
from ..errors import DamagedRoom
from ..fence import fenced
from ..store import Row, State, Stored

EMPTY = State(None, 0)
"""A room before its first row."""
ROW_BYTES = 256
"""What a row counts for beside its bytes: it is vetted by itself, and that takes as long as so much of a document."""


def weight(rows: Sequence[Row], *states: bytes | None) -> int:
    """How much work these are, in bytes of a document."""
    return sum((len(row.update) + ROW_BYTES for row in rows), sum(len(state or b"") for state in states))


def until(rows: Sequence[Row], *, seq: int | None = None, time: float | None = None) -> list[Row]:
    """The rows up to number `seq`, or before the first that came after `time` (seconds since the epoch)."""
    found = []
    for row in rows:
        if (seq is not None and row.seq > seq) or (time is not None and row.time > time):
            break
        found.append(row)
    return found


async def state_at(
    room: str, start: State, rows: Sequence[Row], *, seq: int | None = None, time: float | None = None
) -> State:
    """The document after row `seq`, or at `time` (seconds since the epoch); without either after the last of `rows`.

    Args:
        room: Its name, for errors.
        start: A state from before.
        rows: What came after that, in order; those that `start` covers are passed over.
        seq: The last row to take.
        time: A moment; the first row from after it, and all that follow, are not taken.

    Raises:
        DamagedRoom: What is stored does not add up to a document.
    """
    taken = until([row for row in rows if row.seq > start.covers], seq=seq, time=time)
    for place, row in enumerate(taken, start.covers + 1):
        if row.seq != place:
            raise DamagedRoom(room, f"row {place} is missing")
    if not taken:
        return start
    loaded = await recovery.build(room, Stored(1, start.update, start.covers, tuple(taken)))
    return State(fenced(loaded.doc.get_update), taken[-1].seq, loaded.poison)


async def proved_state(room: str, stored: Stored) -> bytes:
    """The full state of a room, proved to be it. Raises as `recovery.build` and `recovery.proved`."""
    return await recovery.proved(room, await recovery.build(room, stored))
