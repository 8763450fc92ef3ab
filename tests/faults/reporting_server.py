"""The server, told on: it says into a pipe which edits its store has committed, and does what the harness asks of it.

    python reporting_server.py --port P --store FILE --reports FIFO --control FIFO [--faults JSON]

It runs the real server on the real `SQLiteStore`. Around that store stands a wrapper which writes the ids of the edits
into the pipe *after* `append` returned: the harness, which keeps the pipe open when the server dies, so knows what was
reported committed up to the very last instant. Edits are told by an id of the form `w03-000123` inside the update.

Lines in the pipe:

    @PID            the server's process
    ?ID  =ID  ~     the ids of an append that begins; those of one that returned; one that failed
    *STEP           the failpoint at which the process is about to be killed, or at which it was made to fail
    !NUMBER         what the harness asked for holds from now on

What can be asked for (one JSON object per line on the control pipe; only what it names changes) stands in `Faults`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from collab import log
from collab.errors import CollabError
from collab.settings import load_settings
from collab.store import Entry, Stored
from collab.store.sqlite import SQLiteStore
from collab.web.server import run

ID = re.compile(rb"[a-z]\d\d-\d{6}")

ERRORS = {
    "EIO": ("disk I/O error", sqlite3.SQLITE_IOERR),
    "ENOSPC": ("database or disk is full", sqlite3.SQLITE_FULL),
    "BUSY": ("database is locked", sqlite3.SQLITE_BUSY),
}


class Reports:
    """The writing end of the pipe."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY)
        self._lock = threading.Lock()

    def write(self, *lines: str) -> None:
        content = "".join(f"{line}\n" for line in lines).encode()
        with self._lock:
            while content:
                content = content[os.write(self._file, content) :]


class Faults:
    """What is wrong on purpose. Changed by the control thread, looked at by the store's thread and the event loop."""

    def __init__(self, reports: Reports) -> None:
        self.reports = reports
        self.kill_at = ""  # the failpoint at which the process kills itself,
        self.kill_after = 1  # the how-many-th time that it is reached from now on
        self.fail_nth = 0  # the how-many-th store operation from now on fails (0: none),
        self.fail_times = 1  # and so many from there on
        self.fail_steps: list[str] = []  # only these failpoints count (empty: all)
        self.error = "EIO"
        self.hang = False  # store operations wait until this is false again
        self.slow_append = 0.0  # seconds before an append reaches the store
        self.slow_load = 0.0
        self.slow_compact = 0.0  # seconds between what compaction read and what it writes
        self.clock_offset = 0.0  # seconds that the wall clock is off
        self.clock_frozen = 0.0  # the time that the wall clock shows for ever (0: it runs)
        self.lie = False  # report appends before they are committed: what the harness must notice

    def set(self, wanted: dict[str, Any]) -> None:
        for name, value in wanted.items():
            if not hasattr(self, name):
                raise ValueError(f"no fault is called {name!r}")
            setattr(self, name, value)

    def at(self, step: str) -> None:
        """The store's failpoint."""
        if step == self.kill_at:
            self.kill_after -= 1
            if self.kill_after <= 0:
                self.reports.write(f"*{step}")
                os.kill(os.getpid(), signal.SIGKILL)
        while self.hang:
            time.sleep(0.005)
        if self.fail_nth and (not self.fail_steps or step in self.fail_steps):
            self.fail_nth -= 1
            if not self.fail_nth:
                self.fail_times -= 1
                self.fail_nth = 1 if self.fail_times > 0 else 0
                self.reports.write(f"*{step}")
                text, code = ERRORS[self.error]
                failure = sqlite3.OperationalError(text)
                failure.sqlite_errorcode = code
                raise failure


class ReportingStore(SQLiteStore):
    """A store that reports."""

    def __init__(self, path: str, faults: Faults, reports: Reports) -> None:
        super().__init__(path, failpoint=faults.at)
        self.faults = faults
        self.reports = reports

    async def append(self, entries: Sequence[Entry]) -> list[int]:
        ids = [one.decode() for entry in entries for one in ID.findall(entry.update)]
        self.reports.write(*(f"?{one}" for one in ids))
        if self.faults.lie:
            self.reports.write(*(f"={one}" for one in ids))
        if self.faults.slow_append:
            await asyncio.sleep(self.faults.slow_append)
        try:
            numbers = await super().append(entries)
        except BaseException:
            self.reports.write("~")
            raise
        if not self.faults.lie:
            self.reports.write(*(f"={one}" for one in ids))
        return numbers

    async def load(self, room: str) -> Stored:
        if self.faults.slow_load:
            await asyncio.sleep(self.faults.slow_load)
        return await super().load(room)

    async def compact(self, room: str, state: bytes, *, covers: int, basis: int, keep: bool = True) -> bool:
        if self.faults.slow_compact:
            await asyncio.sleep(self.faults.slow_compact)
        return await super().compact(room, state, covers=covers, basis=basis, keep=keep)


def bend_the_clock(faults: Faults) -> None:
    """From now on the wall clock of this process shows what `faults` say."""
    real, real_ns = time.time, time.time_ns

    def shown() -> float:
        return faults.clock_frozen or real() + faults.clock_offset

    def shown_ns() -> int:
        return int(faults.clock_frozen * 1e9) or real_ns() + int(faults.clock_offset * 1e9)

    time.time = shown
    time.time_ns = shown_ns


def obey(path: str, faults: Faults, reports: Reports) -> None:
    """Read the control pipe for ever."""
    with open(os.open(path, os.O_RDWR), encoding="utf-8") as control:  # also written by us, so that it never ends
        for line in control:
            wanted = json.loads(line)
            number = wanted.pop("number")
            faults.set(wanted)
            reports.write(f"!{number}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--reports", required=True)
    parser.add_argument("--control", required=True)
    parser.add_argument("--faults", type=json.loads, default={})
    options = parser.parse_args()
    reports = Reports(options.reports)
    reports.write(f"@{os.getpid()}")
    faults = Faults(reports)
    faults.set(options.faults)
    bend_the_clock(faults)
    threading.Thread(target=obey, args=(options.control, faults, reports), daemon=True).start()
    settings = load_settings({"server": {"port": options.port}, "store": {"url": f"sqlite:///{options.store}"}})
    log.configure(settings.log.level, settings.log.format)
    store = ReportingStore(options.store, faults, reports)
    try:
        return run(settings, store=store)
    except CollabError as error:
        print(error, file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
