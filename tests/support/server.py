"""The server under test, as its users run it: a process of its own.

    with Server() as server:                      # scratch SQLite store, free port, waits for /health
        server.url                                # "ws://127.0.0.1:40123"
        server.kill(); server.restart()           # kill -9, then the same port and the same store

Nothing here imports `collab`: what is tested is the command line. The interpreter can be chosen (`python=`), so that
one test file serves several Python versions.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import http.client
import itertools
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
from prometheus_client.parser import text_string_to_metric_families

REPO = Path(__file__).resolve().parents[2]

# Settings of whoever runs the tests must not leak into the server under test.
FOREIGN = ("COLLAB_", "WS_", "JWT_", "DEBUG")

_alive: set[Server] = set()


@atexit.register
def _reap() -> None:
    for server in list(_alive):
        server.close()


def free_port() -> int:
    """A TCP port on 127.0.0.1 that was free a moment ago.

    Not one of those that the system gives out (from 32768 on): another test's client could have it a moment later.
    Tests that run in processes side by side look in places of their own.
    """
    mine = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 5
    for _ in range(PORTS):
        port = FIRST_PORT + mine * PORTS + next(_ports) % PORTS
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("no port is free")


FIRST_PORT, PORTS = 10_000, 4_000
_ports = itertools.count(random.randrange(PORTS))


@dataclass(frozen=True)
class Exit:
    """How a server process ended: exit code (negative: the signal) and seconds since it was told to."""

    code: int
    seconds: float


class Metrics:
    """One scrape of /metrics."""

    def __init__(self, text: str) -> None:
        self.samples = [s for family in text_string_to_metric_families(text) for s in family.samples]

    def get(self, name: str, **labels: str) -> float:
        """The sum of all samples of `name` that carry these labels; 0.0 when there are none."""
        return sum(s.value for s in self.samples if s.name == name and labels.items() <= s.labels.items())

    def names(self) -> set[str]:
        return {s.name for s in self.samples}


class Server:
    """`python -m collab serve` on 127.0.0.1.

    Args:
        store: a store URL; by default a SQLite file in the scratch folder.
        env: more environment variables (`COLLAB_...`); None as a value removes one.
        args: more arguments for `serve`.
        python: the interpreter to run it with.
        port: a port of your choice; by default a free one, kept over `restart()`.
        folder: working folder for store and logs; by default a scratch one, removed by `close()`.
        command: a complete other command instead of `python -m collab serve ...` (`{port}` is filled in), for
            running the same test against another server.
        health: the path that answers 200 when the server is up; None: an open port is enough.
        ready_timeout: seconds until the server must be up.
    """

    def __init__(
        self,
        *,
        store: str | None = None,
        env: Mapping[str, str | None] | None = None,
        args: Sequence[str] = (),
        python: str = sys.executable,
        port: int | None = None,
        folder: Path | None = None,
        command: Sequence[str] | None = None,
        health: str | None = "/health",
        ready_timeout: float = 40.0,
    ) -> None:
        self.folder = folder or Path(tempfile.mkdtemp(prefix="collab-test-"))
        self._scratch = folder is None
        self.store = store or f"sqlite:///{self.folder / 'rooms.sqlite3'}"
        self.port = port or free_port()
        self.host = "127.0.0.1"
        self.env = dict(env or {})
        self.args = list(args)
        self.python = python
        self._command = command
        self._health = health
        self.ready_timeout = ready_timeout
        self.process: subprocess.Popen[bytes] | None = None
        self.starts = 0
        self._told_at = 0.0

    # -- addresses

    @property
    def url(self) -> str:
        """What a y-websocket provider takes as its server URL."""
        return f"ws://{self.host}:{self.port}"

    @property
    def http_url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def pid(self) -> int:
        assert self.process is not None, "the server was never started"
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    # -- life

    def start(self, *, wait: bool = True) -> Server:
        """Start the process and, unless told otherwise, wait until it answers.

        Raises:
            AssertionError: it ended, or did not answer within `ready_timeout`; the message holds its last log lines.
        """
        assert not self.running, "already running"
        self.starts += 1
        env = {k: v for k, v in os.environ.items() if not k.startswith(FOREIGN)}
        env["PYTHONPATH"] = os.pathsep.join(p for p in (str(REPO), env.get("PYTHONPATH", "")) if p)
        env["PYTHONUNBUFFERED"] = "1"
        env["COLLAB_SERVER__SUPERVISOR"] = "no"  # so that `pid` is the server's; its own tests turn it on
        for key, value in self.env.items():
            if value is None:
                env.pop(key, None)
            else:
                env[key] = value
        if self._command is None:
            command = [self.python, "-m", "collab", "serve", "--host", self.host, "--port", str(self.port)]
            command += ["--store", self.store, *self.args]
        else:
            command = [part.replace("{port}", str(self.port)) for part in self._command]
        with open(self.stdout_path, "ab") as out, open(self.stderr_path, "ab") as err:
            self.process = subprocess.Popen(command, cwd=self.folder, env=env, stdout=out, stderr=err)
        _alive.add(self)
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self) -> None:
        deadline = time.monotonic() + self.ready_timeout
        while not self._answers():
            if not self.running:
                raise AssertionError(f"the server ended with code {self._code()} at its start\n{self.tail()}")
            if time.monotonic() > deadline:
                raise AssertionError(f"the server did not answer within {self.ready_timeout:g} s\n{self.tail()}")
            time.sleep(0.02)

    def kill(self) -> Exit:
        """SIGKILL, and wait until the process is gone."""
        self.signal(signal.SIGKILL)
        return self.wait(10)

    def terminate(self) -> None:
        """SIGTERM; follow with `wait()` or `exited()`."""
        self.signal(signal.SIGTERM)

    def signal(self, number: int) -> None:
        assert self.process is not None, "the server was never started"
        self._told_at = time.monotonic()
        self.process.send_signal(number)

    def wait(self, within: float = 30.0) -> Exit:
        """Block until the process has ended.

        Raises:
            AssertionError: it still runs `within` seconds later.
        """
        assert self.process is not None, "the server was never started"
        try:
            code = self.process.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the server still runs {within:g} s later\n{self.tail()}") from None
        _alive.discard(self)
        return Exit(code, time.monotonic() - self._told_at)

    async def exited(self, within: float = 30.0) -> Exit:
        """`wait()` without blocking the event loop."""
        return await asyncio.to_thread(self.wait, within)

    def restart(self, *, hard: bool = False) -> Server:
        """Start again on the same port and store; a running server is told SIGTERM first, or killed if `hard`."""
        if self.running:
            if hard:
                self.kill()
            else:
                self.terminate()
                self.wait()
        return self.start()

    def close(self) -> None:
        """End the process if it still runs, and remove the scratch folder. Harmless when repeated."""
        if self.running and self.process is not None:
            self.process.kill()
            self.process.wait()
        _alive.discard(self)
        if self._scratch:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Server:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is not None:  # pytest shows it under "Captured stdout"
            print(f"--- the server's last log lines ---\n{self.tail()}")
        self.close()

    # -- what it says

    @property
    def stdout_path(self) -> Path:
        return self.folder / "stdout.log"

    @property
    def stderr_path(self) -> Path:
        return self.folder / "stderr.log"

    def logs(self) -> str:
        """Everything written to stdout and stderr since the first start."""
        return "".join(p.read_text(errors="replace") for p in (self.stdout_path, self.stderr_path) if p.exists())

    def json_logs(self) -> Iterator[dict[str, Any]]:
        """The log lines on stdout that are JSON objects."""
        for line in self.stdout_path.read_text(errors="replace").splitlines() if self.stdout_path.exists() else ():
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                if isinstance(entry, dict):
                    yield entry

    def complaints(self) -> list[str]:
        """What it says about itself rather than about a client: errors, tracebacks, rooms that were not compacted."""
        found = [json.dumps(entry) for entry in self.json_logs() if entry.get("level") in ("error", "critical")]
        lines = self.logs().splitlines()
        return found + [line for line in lines if "Traceback" in line or "room not compacted" in line]

    def tail(self, lines: int = 40) -> str:
        return "\n".join(self.logs().splitlines()[-lines:])

    def get(self, path: str, timeout: float = 5.0) -> tuple[int, str]:
        """GET a path; status and body.

        Raises:
            OSError: nobody listens, or no answer in time.
        """
        connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode(errors="replace")
        except http.client.HTTPException as error:
            raise OSError(f"no HTTP answer to GET {path}: {error!r}") from error
        finally:
            connection.close()

    def health(self) -> tuple[int, dict[str, Any]]:
        """/health: status and its JSON."""
        status, body = self.get("/health")
        return status, json.loads(body)

    def metrics(self) -> Metrics:
        status, body = self.get("/metrics")
        assert status == 200, f"/metrics answered {status}"
        return Metrics(body)

    def call(self, *arguments: str) -> str:
        """What another command of collab says, beside this server and about its store.

        Raises:
            AssertionError: It failed.
        """
        done = self.try_call(*arguments, "--store", self.store)
        assert done.returncode == 0, f"exit {done.returncode}: {done.stderr}"
        return done.stdout

    def try_call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another command of collab in the server's folder, and tell how it ended."""
        env = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        env["PYTHONPATH"] = self.env.get("PYTHONPATH") or str(REPO)
        return subprocess.run(
            [self.python, "-m", "collab", *arguments], capture_output=True, text=True, cwd=self.folder, env=env
        )

    # -- what it costs (Linux)

    def rss(self) -> int:
        """Resident bytes of the process."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def peak(self, *, anew: bool = False) -> int:
        """The most resident bytes there ever were; `anew`: since this call, from now on."""
        if anew:
            Path(f"/proc/{self.pid}/clear_refs").write_text("5")
        status = Path(f"/proc/{self.pid}/status").read_text()
        return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))

    def files(self) -> int:
        """Open file descriptors."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def clients(self) -> set[int]:
        """The ports of all whose sockets are open in the process, whatever it thinks of them itself."""
        found = psutil.Process(self.pid).net_connections("tcp")
        return {one.raddr.port for one in found if one.laddr.port == self.port and one.raddr}

    def cpu(self) -> float:
        """Seconds of processor time so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    # -- inside

    def _answers(self) -> bool:
        try:
            if self._health is None:
                socket.create_connection((self.host, self.port), 1.0).close()
                return True
            return self.get(self._health, timeout=1.0)[0] == 200
        except OSError:
            return False

    def _code(self) -> int | None:
        return self.process.poll() if self.process is not None else None
