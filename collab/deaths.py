"""What was in hand when servers ended, what follows from it, and the files in which both are kept.

Beside the store lies a folder. In it `hand` is the recorder's (`recorder.py`); `deaths.json` says what was in hand at
the last deaths; and each other file is one entry of the quarantine. An entry is gone when its file is.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from .errors import BadUpdate
from .log import get_logger
from .notes import files, folder_beside, name_of, read, write
from .recorder import digest_of
from .store import Store
from .wire import vet
from .wire.vet import Range

log = get_logger(__name__)

REMEMBERED_SECONDS = 24 * 3600.0
REMEMBERED = 200
"""For how long, and of how many deaths, it is remembered what was in hand."""
DEATHS, DEATHS_KILLED = 2, 3
"""After how many deaths something is set aside; and when every one was a SIGKILL, which is mostly somebody else's."""
OF_UPDATES = ("tick", "reload")
"""The steps that are about updates."""


@dataclass(frozen=True, slots=True)
class Death:
    """One thing that was in hand when a server ended. `at`: seconds since the epoch."""

    room: str
    step: str
    cause: str
    at: float
    author: str | None
    digests: tuple[str, ...]
    ranges: tuple[Range, ...]

    def without(self, updates: Sequence[bytes]) -> Death | None:
        """What is still under suspicion when `updates` proved harmless; None when nothing is."""
        if self.step not in OF_UPDATES:
            return None
        harmless = set(map(digest_of, updates))
        digests = tuple(one for one in self.digests if one not in harmless)
        ranges = self.ranges
        for update in updates:
            for one in structs_of(update):
                ranges = tuple(rest for each in ranges for rest in _minus(each, one))
        return replace(self, digests=digests, ranges=ranges) if digests or ranges else None


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that is set aside.

    Args:
        kind: `room`, `update` or `compaction`.
        room: The room's name.
        step: What the server was doing with it.
        why: A sentence without a subject.
        at: When, in seconds since the epoch.
        author: Who sent the update, if that is known.
        digests: What the updates are called (`recorder.digest_of`).
        ranges: The structs they add: (client id, first clock, clock after the last).
        update: The update, in hexadecimal, if it was small enough to be noted.
    """

    kind: str
    room: str
    step: str
    why: str
    at: float
    author: str | None = None
    digests: tuple[str, ...] = ()
    ranges: tuple[Range, ...] = ()
    update: str | None = None

    @property
    def file(self) -> str:
        """The name of its file."""
        return name_of(self.kind, [self.kind, self.room, self.digests, self.ranges])


def folder_of(store: Store) -> Path | None:
    """Where the notes about what is in `store` are kept."""
    return folder_beside(store, "crashes")


def entries(folder: Path) -> list[Entry]:
    """All that is set aside, oldest first."""
    found = []
    for file in files(folder, ("room", "update", "compaction")):
        try:
            found.append(_entry(read(file)))
        except (OSError, ValueError, TypeError, KeyError):
            log.warning("entry of the quarantine not read", file=file.name)
    return sorted(found, key=lambda entry: entry.at)


def release(folder: Path, room: str) -> list[Entry]:
    """Serve all of `room` again, and forget what ended the server there; returns what was set aside."""
    released = [entry for entry in entries(folder) if entry.room == room]
    for entry in released:
        (folder / entry.file).unlink(missing_ok=True)
    write(folder / "deaths.json", [asdict(death) for death in deaths_in(folder) if death.room != room])
    return released


def verdict(death: Death, earlier: Iterable[Death], updates: Iterable[bytes]) -> Entry | None:
    """What is to be set aside after `death`, if it is the last of enough deaths with the same thing in hand."""
    digests, ranges = set(death.digests), death.ranges
    causes = [death.cause]
    of_updates = death.step in OF_UPDATES
    for other in sorted(earlier, key=lambda one: one.at, reverse=True):
        if other.room != death.room or (other.step in OF_UPDATES) != of_updates:
            continue
        if not of_updates:
            if other.step == death.step:
                causes.append(other.cause)
            continue
        both = common(ranges, other.ranges)
        if both or digests & set(other.digests):
            ranges = both
            digests &= set(other.digests)
            causes.append(other.cause)
    if len(causes) < (DEATHS_KILLED if set(causes) == {"SIGKILL"} else DEATHS):
        return None
    how = ", ".join(dict.fromkeys(cause or "cause not known" for cause in causes))
    now = time.time()
    if of_updates:
        why = f"the server ended {len(causes)} times while it applied it ({how})"
        known = [update.hex() for update in updates if not ranges or common(ranges, structs_of(update))]
        update = known[0] if len(known) == 1 else None
        return Entry("update", death.room, death.step, why, now, death.author, tuple(sorted(digests)), ranges, update)
    kind = "compaction" if death.step == "compaction" else "room"
    doing = {"load": "read it from the store", "compaction": "compacted it"}.get(death.step, "read it")
    return Entry(kind, death.room, death.step, f"the server ended {len(causes)} times while it {doing} ({how})", now)


def structs_of(update: bytes) -> tuple[Range, ...]:
    """The structs that `update` adds; none that are known when today's rules do not let it in."""
    try:
        return vet.parse(update).structs
    except BadUpdate:
        return ()


def common(some: Iterable[Range], others: Iterable[Range]) -> tuple[Range, ...]:
    """Where two lists of ranges overlap."""
    others = tuple(others)
    return tuple(
        (client, max(start, first), min(end, last))
        for client, start, end in some
        for other, first, last in others
        if other == client and max(start, first) < min(end, last)
    )


def _minus(one: Range, other: Range) -> list[Range]:
    """What of `one` lies outside `other`."""
    client, start, end = one
    if client != other[0]:
        return [one]
    parts = [(client, start, min(end, other[1])), (client, max(start, other[2]), end)]
    return [part for part in parts if part[1] < part[2]]


def deaths_in(folder: Path) -> list[Death]:
    """What was in hand at the last deaths, oldest first."""
    try:
        found = read(folder / "deaths.json")
        deaths = [Death(**{**one, **_tuples(one)}) for one in found]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, KeyError):
        log.warning("notes about earlier deaths not read", file="deaths.json")
        return []
    return [death for death in deaths if time.time() - death.at < REMEMBERED_SECONDS]


def _entry(fields: dict[str, Any]) -> Entry:
    return Entry(**{**fields, **_tuples(fields)})


def _tuples(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {"digests": tuple(fields["digests"]), "ranges": tuple(tuple(one) for one in fields["ranges"])}
