"""What really reached the disk: strace's record of a server, and what it proves.

A reported edit is proved durable when its bytes were written to a file and a later fdatasync (or fsync) of that file
said yes. A sync that says no takes what was written before it along: the kernel may have dropped those pages and
reports so only once ("fsyncgate"), so they must be written again before another sync can vouch for them. In a
write-ahead log they even take along what comes behind them: a reader stops at the first frame that is not whole. So
nothing in a log with such a hole counts until the hole is filled or the log is begun anew.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.node import missing

ID = re.compile(rb"[a-z]\d\d-\d{6}")

SYSCALLS = "fdatasync,fsync,write,pwrite64,ftruncate"

_CALL = re.compile(rb"^(\d+) +(\w+)\((\d+)<([^>]*)>(.*)$", re.DOTALL)
_RESUMED = re.compile(rb"^(\d+) +<\.\.\. (\w+) resumed>(.*)$", re.DOTALL)
_REPORT = re.compile(rb"=(" + ID.pattern + rb")\\n")
_PLACE = re.compile(rb", (\d+), (\d+)(?:\)| <unfinished)[^\"]*$")
_RESULT = re.compile(rb"= (-?\d+)[^=]*$")


def strace(record: Path, *more: str, calls: str = SYSCALLS) -> list[str]:
    """The command prefix that runs a server under strace; the end of the test where that cannot be."""
    binary = shutil.which("strace")
    if binary is None:
        missing("strace is not installed")
    tried = subprocess.run([binary, "-f", "-o", os.devnull, "true"], capture_output=True, text=True)
    if tried.returncode:
        missing(f"strace does not work here ({tried.stderr.strip()[:200]})")
    return [binary, "-f", "-y", "-s", "1000000", "-e", f"trace={calls}", "-o", str(record), *more]


@dataclass
class Proof:
    """What a record shows.

    Attributes:
        reported: the edits that were reported committed.
        unproved: those of them that were not on the disk by then.
        writes, syncs, failed_syncs: calls on the store's files.
    """

    reported: set[str] = field(default_factory=set)
    unproved: set[str] = field(default_factory=set)
    writes: int = 0
    syncs: int = 0
    failed_syncs: int = 0

    def __str__(self) -> str:
        return (
            f"{len(self.reported)} edits reported committed, {len(self.unproved)} of them before a successful "
            f"fdatasync of what holds them; {self.writes} writes, {self.syncs} syncs, {self.failed_syncs} failed"
        )


def prove(record: Path, store: Path, pipe: Path) -> Proof:
    """Read a record: `store` is the database file (its log stands beside it), `pipe` the one for reports."""
    proof = Proof()
    files = {os.fsencode(f"{store}{end}"): _File(end == "-wal") for end in ("", "-wal", "-journal")}
    durable: set[str] = set()
    begun: dict[bytes, tuple[bytes, bytes, bytes]] = {}
    for line in record.read_bytes().splitlines():
        if resumed := _RESUMED.match(line):
            thread, _, rest = resumed.groups()
            if thread not in begun:
                continue
            call, name, content = begun.pop(thread)
        elif match := _CALL.match(line):
            thread, call, _, name, content = match.groups()
            rest = content
            if name == os.fsencode(pipe) and call == b"write":
                ids = {one.decode() for one in _REPORT.findall(content)}
                proof.unproved |= ids - proof.reported - durable
                proof.reported |= ids
                continue
            if name not in files:
                continue
            if call in (b"fdatasync", b"fsync"):
                files[name].claim(thread)
            if line.endswith(b"<unfinished ...>"):
                begun[thread] = call, name, content
                continue
        else:
            continue
        outcome = _RESULT.search(rest)
        if outcome is None:  # it was killed in there
            continue
        file, good = files[name], int(outcome[1]) >= 0
        if call in (b"fdatasync", b"fsync"):
            proof.syncs += 1
            proof.failed_syncs += not good
            durable |= file.synced(thread, good)
        elif call == b"ftruncate":
            file.begun_anew()
        elif good:
            proof.writes += 1
            place = _PLACE.search(content)
            assert place is not None, content[-80:]
            file.wrote(int(place[2]), int(place[1]), {one.decode() for one in ID.findall(content)})
    return proof


class _File:
    """What the kernel holds of one file and has not been vouched for."""

    def __init__(self, is_log: bool) -> None:
        self._is_log = is_log
        self._dirty: dict[tuple[int, int], set[str]] = {}  # (offset, bytes) -> the ids in there
        self._claims: dict[bytes, list[tuple[int, int]]] = {}
        self._holes: set[tuple[int, int]] = set()

    def wrote(self, offset: int, size: int, ids: set[str]) -> None:
        self._dirty[offset, size] = ids
        self._holes.discard((offset, size))

    def claim(self, thread: bytes) -> None:
        """A sync begins: it is about what was written until now."""
        self._claims[thread] = list(self._dirty)

    def synced(self, thread: bytes, good: bool) -> set[str]:
        """A sync ended: the ids that are durable by it."""
        places = self._claims.pop(thread)
        ids = set[str]().union(*(self._dirty.pop(place, set()) for place in places))
        if not good:
            self._holes.update(places)
        return ids if good and not (self._is_log and self._holes) else set()

    def begun_anew(self) -> None:
        self._dirty.clear()
        self._holes.clear()
