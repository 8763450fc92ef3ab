"""What was revoked, kept in a folder beside the store until nothing that it covers could count any more.

`collab revoke` writes there, beside a running server or without one; a server reads it at its start and follows it. A
store without a file has no such folder: what its server revokes lasts as long as that process.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import anyio
import anyio.to_thread

from .auth import Grant
from .auth.revocation import Revocations
from .errors import CollabError, SettingsError, TooMany
from .log import get_logger
from .notes import LOOK_SECONDS, Followed, files, folder_beside, name_of, read, write
from .store import Store

log = get_logger(__name__)

LASTS_SECONDS = 10 * 365 * 24 * 3600.0
"""How long an entry is kept when nobody says how long the tokens that it covers may live."""
KINDS = ("subject", "token")


@dataclass(frozen=True, slots=True)
class Entry:
    """One revocation.

    Args:
        kind: `subject` or `token`.
        name: The subject, or the token's `jti`.
        at: When, in seconds since the epoch; of a subject, what was issued up to then counts no more.
        until: When the last of what it covers will have expired, likewise.
    """

    kind: str
    name: str
    at: float
    until: float

    @property
    def file(self) -> str:
        """The name of its file."""
        return name_of(self.kind, self.name)


def folder_of(store: Store) -> Path | None:
    """Where the revocations of the tokens for what is in `store` are kept."""
    return folder_beside(store, "revoked")


def entries(folder: Path) -> list[Entry]:
    """All that is revoked, oldest first.

    Raises:
        SettingsError: A note cannot be read; to go on without it could let somebody in again.
    """
    found = []
    for file in files(folder, KINDS):
        try:
            found.append(Entry(**read(file)))
        except FileNotFoundError:
            continue  # swept away in this moment
        except (OSError, ValueError, TypeError) as error:
            raise SettingsError(f"{file} cannot be read ({error}): repair it, or delete it and revoke again") from None
    return sorted(found, key=lambda entry: entry.at)


def note(folder: Path, entry: Entry, *, size: int = Revocations().size) -> None:
    """Keep a revocation, on the disk when this returns; and let go of those whose time has come.

    Raises:
        TooMany: There are as many as a server would take.
        SettingsError: A note cannot be read.
    """
    folder.mkdir(exist_ok=True)
    kept = []
    for other in entries(folder):
        if other.until < entry.at:
            (folder / other.file).unlink(missing_ok=True)
        elif other.file == entry.file:
            entry = Entry(entry.kind, entry.name, max(entry.at, other.at), max(entry.until, other.until))
        elif other.kind == entry.kind:
            kept.append(other)
    if len(kept) >= size:
        raise TooMany(f"revoked {entry.kind}s", size)
    write(folder / entry.file, asdict(entry))


class Revoked:
    """What counts no more on one server, and the folder in which that is kept."""

    def __init__(self) -> None:
        self._revocations = Revocations()
        self._folder: Path | None = None

    def covers(self, grant: Grant) -> bool:
        """Whether the grant counts no more."""
        return self._revocations.covers(grant)

    def open(self, store: Store) -> None:
        """Take in what is kept beside `store`.

        Raises:
            SettingsError: A note cannot be read.
        """
        self._folder = folder_of(store)
        if self._folder is not None:
            self._take(entries(self._folder))

    async def add(self, entry: Entry) -> None:
        """Revoke: at once here, and kept when this returns, where there is a folder.

        Raises:
            TooMany: The list is full.
            SettingsError: A note cannot be read.
        """
        self._take([entry])
        if self._folder is not None:
            await anyio.to_thread.run_sync(note, self._folder, entry)

    async def follow(self, changed: Callable[[], None]) -> None:
        """Take in what others write into the folder, for ever, and call `changed` after it."""
        if self._folder is None:
            return
        followed = Followed(self._folder)
        while True:
            await anyio.sleep(LOOK_SECONDS / 4)
            if followed.changed(time.monotonic()):
                try:
                    self._take(await anyio.to_thread.run_sync(entries, self._folder))
                except CollabError as error:
                    log.error("revocations not followed", error=str(error))
                else:
                    changed()

    def _take(self, found: list[Entry]) -> None:
        for entry in found:
            if entry.kind == "token":
                self._revocations.revoke_token(entry.name, entry.until)
            else:
                self._revocations.revoke_subject(entry.name, entry.at, entry.until)
        self._revocations.forget(time.time())
