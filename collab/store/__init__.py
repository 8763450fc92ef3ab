"""Where rooms are kept: the promise every backend makes, and how one is chosen by its URL.

A store keeps, for each room, one *checkpoint* (a full state that covers everything up to a sequence number) and the
*log* of updates after it. It is told what to keep by `collab.journal` and never looks inside an update.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from importlib.metadata import entry_points
from typing import NamedTuple, Protocol, Self, runtime_checkable
from urllib.parse import urlsplit

from ..errors import SettingsError


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


@dataclass(frozen=True, slots=True)
class Row:
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


@dataclass(frozen=True, slots=True)
class RoomInfo:
    """One line of a listing: sizes in bytes, `changed` in seconds since the epoch."""

    name: str
    epoch: int
    seq: int
    covers: int
    checkpoint_bytes: int
    log_rows: int
    log_bytes: int
    changed: float


@runtime_checkable
class Store(Protocol):
    """What every backend promises. `collab.store.contract` is the same as tests; run it on a backend of your own.

    - An `append` that returned is durable and ordered: it survives the death of the process and of the machine.
    - An `append` that raised may have been kept or not; the caller appends again, and Yjs updates are idempotent.
    - `load` never answers with less than what was appended: it raises `DamagedRoom` when rows fail their checksum or
      are missing, `Unavailable` when it cannot tell. Only a room that was never written is empty.
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
        """All that is kept of a room; `Stored(1, None, 0, ())` when it was never written."""

    async def compact(self, room: str, state: bytes, *, covers: int, basis: int) -> bool:
        """Replace the checkpoint at `basis` and all rows up to `covers` by `state`, in one transaction.

        False, with nothing changed, when the room's checkpoint no longer stands at `basis`: someone was faster.
        Raises `DamagedRoom` when the room cannot be written, ValueError unless `max(basis, 1) <= covers` and `covers`
        is in use.
        """

    def rooms(self) -> AsyncIterator[RoomInfo]:
        """Every room, ordered by name."""

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
