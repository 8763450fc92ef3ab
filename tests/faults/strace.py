"""What really reached the disk: strace's record of a server, and what it proves.

A reported edit is proved durable when its bytes were written to a file and a later fdatasync (or fsync) of that file
said yes. A sync that says no takes what was written before it along: the kernel may have dropped those pages and
reports so only once ("fsyncgate"), so they must be written again before another sync can vouch for them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.node import missing

ID = re.compile(rb"[a-z]\d\d-\d{6}")

SYSCALLS = "fdatasync,fsync,write,pwrite64"

_CALL = re.compile(rb"^(\d+) +(\w+)\((\d+)<([^>]*)>(.*)$", re.DOTALL)
_RESUMED = re.compile(rb"^(\d+) +<\.\.\. (\w+) resumed>(.*)$", re.DOTALL)
_REPORT = re.compile(rb"=(" + ID.pattern + rb")\\n")
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
    files = {os.fsencode(f"{store}{end}") for end in ("", "-wal", "-journal")}
    written: dict[bytes, set[str]] = defaultdict(set)  # in the kernel's hands, by file
    claimed: dict[tuple[bytes, bytes], set[str]] = {}  # by thread and call: what a sync that runs would make durable
    durable: set[str] = set()
    begun: dict[bytes, tuple[bytes, bytes, bytes]] = {}
    for line in record.read_bytes().splitlines():
        resumed = _RESUMED.match(line)
        if resumed:
            thread, call, rest = resumed.groups()
            if thread not in begun:
                continue
            call, file, content = begun.pop(thread)
        elif match := _CALL.match(line):
            thread, call, _, file, rest = match.groups()
            content = rest
            if file == os.fsencode(pipe) and call == b"write":
                ids = {one.decode() for one in _REPORT.findall(content)}
                proof.unproved |= ids - proof.reported - durable
                proof.reported |= ids
                continue
            if file not in files:
                continue
            if call in (b"fdatasync", b"fsync"):
                claimed[thread, file] = set(written[file])
            if line.endswith(b"<unfinished ...>"):
                begun[thread] = call, file, content
                continue
        else:
            continue
        outcome = _RESULT.search(rest)
        if outcome is None:  # it was killed in there
            continue
        good = int(outcome[1]) >= 0
        if call in (b"fdatasync", b"fsync"):
            proof.syncs += 1
            reached = claimed.pop((thread, file))
            written[file] -= reached
            if good:
                durable |= reached
            else:
                proof.failed_syncs += 1
        elif good:
            proof.writes += 1
            written[file] |= {one.decode() for one in ID.findall(content)}
    return proof
