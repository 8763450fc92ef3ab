"""Where rooms are kept: the promise every backend makes, and how one is chosen by its URL.

A store keeps, for each room, the *log* of updates, one *checkpoint* (a full state that covers everything up to a
sequence number, so that loading reads only the log's tail after it) and *snapshots* (full states that somebody wanted
to keep). Rows that the checkpoint covers stay as the room's history until they are forgotten. A store is told what to
keep by `collab.journal` and never looks inside an update.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from importlib.metadata import entry_points
from typing import NamedTuple, Protocol, Self, runtime_checkable
from urllib.parse import urlsplit

from ..errors import SettingsError
from ..wire.vet import EMPTY


class Kind(IntEnum):
    """What a row of the log is."""

    RAW = 0
    """One sender's update, as it came: it says who wrote and who deleted what."""
    MERGED = 1
    """A difference between two states, made when the journal could not keep up: content without its history."""


class Entry(NamedTuple):
    """One update on its way into the log.

    Args:
        room: The room's exact name.
        update: A Yjs update, v1 encoding.
        time: When the server took it in, in seconds since the epoch. Never used for order.
        author: The user, or None when nobody is known.
        kind: What the row is.
    """

    room: str
    update: bytes
    time: float
    author: str | None = None
    kind: Kind = Kind.RAW


class Row(NamedTuple):
    """One row of the log, as it was read back. `seq` is its place in its room: 1, 2, 3, ... without a hole."""

    seq: int
    update: bytes
    time: float
    author: str | None
    kind: Kind


@dataclass(frozen=True, slots=True)
class Stored:
    """All that the store holds of one room.

    Args:
        epoch: The room's generation; it grows when a room is deleted and made anew.
        checkpoint: A full state as one update, or None.
        covers: The sequence number up to which `checkpoint` holds everything; 0 without one.
        rows: The log after `covers`, in order.
    """

    epoch: int
    checkpoint: bytes | None
    covers: int
    rows: tuple[Row, ...]

    @property
    def seq(self) -> int:
        """The last sequence number in use; 0 for a room that holds nothing."""
        return self.rows[-1].seq if self.rows else self.covers


class Reason(StrEnum):
    """Why a snapshot was made."""

    MANUAL = "manual"
    SCHEDULED = "scheduled"
    ACTIVITY = "activity"
    BEFORE_RESTORE = "before restore"
    BEFORE_IMPORT = "before import"
    BASE = "base"
    """What the history that is kept begins with: the rows before it were forgotten."""


@dataclass(frozen=True, slots=True)
class SnapshotInfo:
    """What is known of a snapshot without reading it.

    Args:
        id: Its number; grows with each snapshot of the store and is never used again.
        room: The room's exact name.
        covers: The sequence number up to which it holds everything.
        time: When it was made, in seconds since the epoch. Never used for order.
        label: A name for people; may be empty.
        note: More about it; may be empty.
        author: Who made it, or None when the server did by itself or nobody is known.
        reason: Why it was made.
        pinned: Whether it stays until somebody deletes it.
        size: The size of its state, in bytes.
        checksum: The SHA-256 of its state, in hex.
    """

    id: int
    room: str
    covers: int
    time: float
    label: str
    note: str
    author: str | None
    reason: Reason
    pinned: bool
    size: int
    checksum: str


def draft(
    room: str,
    covers: int,
    time: float,
    reason: Reason,
    *,
    label: str = "",
    note: str = "",
    author: str | None = None,
    pinned: bool = False,
) -> SnapshotInfo:
    """A snapshot that is about to be kept: its id, size and checksum are found by doing so."""
    return SnapshotInfo(0, room, covers, time, label, note, author, reason, pinned, 0, "")


@dataclass(frozen=True, slots=True)
class State:
    """A whole document.

    Args:
        update: All of it as one update; None when nothing was written yet.
        covers: The sequence number of the last row that it holds.
        poison: The rows on the way to it that the document library does not take and that nothing builds on. A store
            knows of none.
    """

    update: bytes | None
    covers: int
    poison: tuple[int, ...] = ()

    @property
    def whole(self) -> bytes:
        """The document as an update, be it empty."""
        return self.update or EMPTY


class Reach(NamedTuple):
    """How far back a room can be looked at.

    Args:
        seq: The last sequence number in use; 0 for a room that holds nothing.
        covers: The sequence number that the checkpoint holds; 0 without one.
        forgotten: The last row that is not kept any more; 0 when all are there.
    """

    seq: int
    covers: int
    forgotten: int


class Erased(NamedTuple):
    """What there was of a room that is gone: rows of its log, and snapshots."""

    rows: int
    snapshots: int


class Unsigned(NamedTuple):
    """What does not say any more who made it: rows of logs, and snapshots."""

    rows: int
    snapshots: int


@dataclass(frozen=True, slots=True)
class RoomInfo:
    """One line of a listing: sizes in bytes, `changed` in seconds since the epoch.

    `log_rows` and `log_bytes` are those of the tail that the checkpoint does not cover; rows from `forgotten` + 1 on
    are kept.
    """

    name: str
    epoch: int
    seq: int
    covers: int
    checkpoint_bytes: int
    log_rows: int
    log_bytes: int
    changed: float
    forgotten: int = 0


@runtime_checkable
class Store(Protocol):
    """What every backend promises. `collab.store.contract` is the same as tests; run it on a backend of your own.

    - An `append` that returned is durable and ordered: it survives the death of the process and of the machine.
    - An `append` that raised may have been kept or not; the caller appends again, and Yjs updates are idempotent.
    - `load` never answers with less than what was appended: it raises `DamagedRoom` when rows fail their checksum or
      are missing, `Unavailable` when it cannot tell. Only a room that was never written is empty.
    - What `erase` has taken away is gone: no other tool finds it in the store's files either.
    - Calls may come at once from many tasks of one event loop. Nothing is promised to two processes.

    Raises, everywhere: `Unavailable` when the backend does not answer, which may pass by itself.
    """

    async def __aenter__(self) -> Self:
        """Open; raises `SettingsError` when the place is unusable, `StoreLocked` when another process has it."""

    async def __aexit__(self, *exc: object) -> None:
        """Finish what was begun, then close."""

    async def append(self, entries: Sequence[Entry]) -> list[int]:
        """Commit all entries at once, or none; returns each one's sequence number in its room.

        Raises `DamagedRoom`, with nothing kept, when one of the rooms cannot take a row any more; the others can.
        """

    async def load(self, room: str) -> Stored:
        """The room's checkpoint and the log after it.

        `Stored(n, None, 0, ())` when it was never written, where n is 1 until a room of this store is erased.
        """

    async def compact(self, room: str, state: bytes, *, covers: int, basis: int, keep: bool = True) -> bool:
        """Replace the checkpoint at `basis` by `state`, in one transaction. All rows up to `covers` become history;
        with `keep` false they go, and whatever history there was before them.

        A checkpoint at which the history begins (rows up to `basis` are forgotten, and no snapshot stands there) stays
        as a snapshot, `Reason.BASE`: the rows after it say nothing without it.

        False, with nothing changed, when the room's checkpoint no longer stands at `basis`: someone was faster.
        Raises `DamagedRoom` when the room cannot be written, ValueError unless `max(basis, 1) <= covers` and `covers`
        is in use.
        """

    def rooms(self) -> AsyncIterator[RoomInfo]:
        """Every room, ordered by name."""

    async def room(self, room: str) -> RoomInfo | None:
        """One room's line of that list; None when it was never written."""

    async def reach(self, room: str) -> Reach:
        """How far back the room can be looked at; `Reach(0, 0, 0)` when it was never written."""

    async def history(self, room: str, after: int = 0, until: int | None = None) -> list[Row]:
        """The rows that are kept from `after` + 1 to `until` (None: the last), in order and without a hole.

        They begin later than `after` + 1 where earlier ones were forgotten. Raises `DamagedRoom` as `load` does.
        """

    async def seq_at(self, room: str, time: float) -> int:
        """The number of the last row before the first kept one that came after `time` (seconds since the epoch).

        Where all kept rows came later, that is what was `forgotten`.
        """

    async def forget(self, room: str, upto: int) -> int:
        """Delete the rows up to `upto`; returns how many there were. Snapshots stay, also those before `upto`, but of
        the kind `Reason.BASE` only the last one up to `upto`.

        Raises ValueError when the checkpoint does not cover `upto`: the document could not be built without these rows.
        """

    async def erase(self, room: str) -> Erased:
        """Delete all there is of a room, so that no tool finds it again; also one that is damaged.

        It may be written again at once, from row 1; its epoch is then a new one.
        """

    async def unsign(self, author: str, room: str | None = None) -> Unsigned:
        """Forget that `author` made what he made: in one room, or in all. What he wrote stays.

        No tool finds the name again in what the store keeps of authors. A row whose checksum fails stays one.
        """

    async def state_at(self, room: str, seq: int) -> State:
        """The newest stored state from which row `seq` is reached: a snapshot, the checkpoint, or nothing at all.

        Snapshots that are damaged are passed over, as long as there is another way. Raises `DamagedSnapshot` when there
        is none, `Forgotten` when the history does not reach back so far, ValueError unless `0 <= seq` is in use.
        """

    async def add_snapshot(
        self,
        room: str,
        state: bytes,
        *,
        covers: int,
        time: float,
        reason: Reason,
        label: str = "",
        note: str = "",
        author: str | None = None,
        pinned: bool = False,
    ) -> SnapshotInfo:
        """Keep `state`, which holds everything up to row `covers`.

        Raises `NoSuchRoom` for a room that was never written, ValueError unless `0 <= covers` is in use.
        """

    async def snapshots(self, room: str, *, before: int | None = None, limit: int = 100) -> list[SnapshotInfo]:
        """The newest snapshots, the latest first; of those whose id is lower than `before`, to go on after a page."""

    async def snapshot(self, room: str, id: int) -> tuple[SnapshotInfo, bytes]:
        """A snapshot and its state, which was compared with its checksum.

        Raises `NoSuchSnapshot`; `DamagedSnapshot` when the state or what is said of it is not what was kept.
        """

    async def change_snapshot(
        self, room: str, id: int, *, label: str | None = None, note: str | None = None, pinned: bool | None = None
    ) -> SnapshotInfo:
        """Change what is not None. Raises `NoSuchSnapshot`, `DamagedSnapshot`."""

    async def delete_snapshots(self, room: str, ids: Collection[int]) -> int:
        """Delete those that there are; returns how many."""

    async def check(self) -> None:
        """Raise `Unavailable` unless the store could take a write right now."""


def open_store(url: str) -> Store:
    """The store behind a URL, not yet opened (`async with` opens it).

    `memory:`, `sqlite:///relative/path`, `sqlite:////absolute/path` (as SQLAlchemy writes them). Other schemes come
    from installed packages: an entry point in the group `collab.stores`, named like the scheme, is called with the URL.

    Raises:
        SettingsError: The scheme is not known, or the URL is malformed.
    """
    scheme = urlsplit(url).scheme
    factory: Callable[[str], Store]
    match scheme:
        case "memory":
            from .memory import MemoryStore

            return MemoryStore()
        case "sqlite":
            from .sqlite import SQLiteStore

            return SQLiteStore.from_url(url)
        case _:
            for point in entry_points(group="collab.stores", name=scheme):
                factory = point.load()
                return factory(url)
    raise SettingsError(
        f"COLLAB_STORE__URL: no store is known for {scheme or url!r}; use memory:, sqlite:///path, "
        "or install the package that brings this scheme"
    )
