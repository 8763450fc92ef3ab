"""The server of `reporting_server.py`, and the pipe in which it says what it has committed."""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.support.server import Exit, Server
from tests.support.waiting import until

SCRIPT = Path(__file__).with_name("reporting_server.py")


class Reports:
    """The reading end of the pipe, held open whatever becomes of the server; emptied by a thread of its own."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self.committed: set[str] = set()
        self.begun: list[set[str]] = []
        """The ids of each append that reached the store, in order; the last one may have been cut short."""
        self.failed = 0
        self.steps: list[str] = []
        self.heard: set[int] = set()
        self.pid = 0
        self._file = os.open(path, os.O_RDWR | os.O_NONBLOCK)  # also for writing: so it never ends
        self.interrupted = False
        """Whether the last server died in the middle of an append."""
        self._rest = b""
        self._last = ""
        self._appending = False
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._empty, daemon=True)
        self._thread.start()

    def _empty(self) -> None:
        while not self._closed:
            if select.select([self._file], [], [], 0.05)[0]:
                self.settle()

    def settle(self) -> None:
        """Read all that is in the pipe."""
        with self._lock:
            while not self._closed:
                try:
                    chunk = os.read(self._file, 1 << 20)
                except BlockingIOError:
                    return
                *lines, self._rest = (self._rest + chunk).split(b"\n")
                self._note([line.decode() for line in lines])

    def last_words(self) -> None:
        """The server is dead: read what it still said. A line that it could not finish does not count."""
        self.settle()
        self._rest = b""
        self._last = ""
        self.interrupted = self._appending
        self._appending = False

    def _note(self, lines: Sequence[str]) -> None:
        for line in lines:
            kind, what = line[0], line[1:]
            if kind == "?":
                if self._last != "?":
                    self.begun.append(set())
                self.begun[-1].add(what)
                self._appending = True
            elif kind == "=":
                self.committed.add(what)
                self._appending = False
            elif kind == "~":
                self.failed += 1
                self._appending = False
            elif kind == "*":
                self.steps.append(what)
            elif kind == "!":
                self.heard.add(int(what))
            elif kind == "@":
                self.pid = int(what)
            self._last = kind

    def close(self) -> None:
        self._closed = True
        self._thread.join()
        os.close(self._file)


class Told(Server):
    """A `Server` on a reporting store.

    Args:
        folder: where its store, pipes and logs are kept.
        faults: what is wrong from the start (see `reporting_server.Faults`).
        prefix: a command that runs it, such as strace with its options.
    """

    def __init__(
        self,
        folder: Path,
        *,
        env: Mapping[str, str | None] | None = None,
        faults: Mapping[str, Any] | None = None,
        prefix: Sequence[str] = (),
        python: str = sys.executable,
        file: Path | None = None,
    ) -> None:
        super().__init__(env=env, folder=folder, python=python)
        self.file = file or folder / "rooms.sqlite3"
        self.reports = Reports(folder / "reports")
        self.faults = dict(faults or {})
        self._control = folder / "control"
        os.mkfifo(self._control)
        self._control_file = os.open(self._control, os.O_RDWR)
        self._asked = 0
        self.prefix = list(prefix)

    def start(self, *, wait: bool = True) -> Told:
        command = [*self.prefix, self.python, str(SCRIPT), "--port", "{port}", "--store", str(self.file)]
        command += ["--reports", str(self.reports.path), "--control", str(self._control)]
        self._command = [*command, "--faults", json.dumps(self.faults)]
        super().start(wait=wait)
        return self

    async def up(self) -> None:
        """`start()` without blocking the event loop."""
        await asyncio.to_thread(self.start)

    async def down(self) -> Exit:
        """kill -9, and read the last of what it reported."""
        ended = await asyncio.to_thread(self.kill)
        self.reports.last_words()
        return ended

    async def died(self, within: float = 20.0) -> Exit:
        """Wait until it has ended by itself (a failpoint), and read the last of what it reported."""
        ended = await self.exited(within)
        self.reports.last_words()
        return ended

    async def ask(self, **faults: Any) -> None:
        """Change what is wrong; returns when it holds."""
        self._asked += 1
        number = self._asked
        os.write(self._control_file, (json.dumps({**faults, "number": number}) + "\n").encode())
        await until(lambda: number in self.reports.heard, f"the server to take {faults}")

    def kill_inner(self) -> None:
        """kill -9 for the server itself, where `prefix` runs it."""
        os.kill(self.reports.pid, signal.SIGKILL)

    async def all_committed(self, ids: set[str], within: float = 10.0) -> None:
        """Wait until all of `ids` were reported committed."""
        await until(lambda: ids <= self.reports.committed, lambda: f"{len(ids - self.reports.committed)} edits", within)

    async def committed_or_dead(self, ids: set[str], least: int, within: float = 20.0) -> None:
        """Wait until so many of `ids` were reported committed, or the server has ended."""
        reports = self.reports
        await until(lambda: len(ids & reports.committed) >= least or not self.running, f"{least} commits", within)

    def close(self) -> None:
        super().close()
        if self._control_file >= 0:
            os.close(self._control_file)
            self._control_file = -1
            self.reports.close()

    def __enter__(self) -> Told:
        super().__enter__()
        return self

    async def __aenter__(self) -> Told:
        try:
            await self.up()
        except BaseException:
            self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, at)
