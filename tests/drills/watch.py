"""Prometheus and Alertmanager with the files of docker/, in front of a receiver that writes down what it is told."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.support.server import Server, free_port
from tests.watch.tools import DOCKER

SECONDS = {"s": 1, "m": 60, "h": 3600}


def faster(text: str, times: float) -> str:
    """A configuration whose every delay and interval is that much shorter. Windows of queries stay."""

    def shorter(found: re.Match[str]) -> str:
        return f"{found[1]}{max(1, round(1000 * int(found[2]) * SECONDS[found[3]] / times))}ms"

    return re.sub(r"(?m)^( *(?:for|\w+_interval|\w+_wait|\w+_timeout): *)(\d+)([smh])\b", shorter, text)


class Receiver:
    """Hears what Alertmanager has to say. Use as `with`.

    Attributes:
        heard: For each alert that came: receiver, name, status, and when (monotonic seconds).
    """

    def __init__(self) -> None:
        self.heard: list[tuple[str, str, str, float]] = []
        heard = self.heard

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                said = json.loads(self.rfile.read(int(self.headers["content-length"])))
                for alert in said["alerts"]:
                    heard.append((said["receiver"], alert["labels"]["alertname"], alert["status"], time.monotonic()))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing to stderr."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Receiver:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def when(self, receiver: str, alert: str, status: str, within: float) -> float:
        """When it first heard that, waited for; raises AssertionError when it does not come."""
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            for *said, at in list(self.heard):
                if said == [receiver, alert, status]:
                    return at
            time.sleep(0.05)
        raise AssertionError(f"{alert} is not {status} after {within:g} s; heard {self.heard}")


class Watch:
    """Both programs, watching one server. Use as `with`.

    Args:
        folder: For their files; empty.
        server: Whom they watch.
        token: Of its metrics.
        receiver: Who is told of alerts.
        times: How much faster than in docker/ time runs for them.
        port: The server's internal port, if it has one.
    """

    def __init__(
        self, folder: Path, server: Server, token: str, receiver: Receiver, times: float, port: int | None = None
    ) -> None:
        self._folder = folder
        self._ports = prometheus, alertmanager = free_port(), free_port()
        self.url = f"http://127.0.0.1:{prometheus}"
        (folder / "rules").mkdir()
        (folder / "token").write_text(token)
        for file in (DOCKER / "prometheus" / "rules").glob("*.yml"):
            (folder / "rules" / file.name).write_text(faster(file.read_text("utf-8"), times))
        self._write(
            "prometheus/prometheus.yml", times, ("/etc/prometheus/rules", f"{folder}/rules"),
            ("/run/secrets/metrics_token", f"{folder}/token"), ("alertmanager:9093", f"127.0.0.1:{alertmanager}"),
            ("collab:9464", f"127.0.0.1:{port or server.port}"),
        )  # fmt: skip
        self._write("alertmanager/alertmanager.yml", times, ("http://receiver.example.com", receiver.url))
        self._running = ExitStack()

    def _write(self, name: str, times: float, *places: tuple[str, str]) -> None:
        text = faster((DOCKER / name).read_text("utf-8"), times)
        for place, ours in places:
            assert place in text, f"{name} does not speak of {place}"
            text = text.replace(place, ours)
        (self._folder / Path(name).name).write_text(text)

    def __enter__(self) -> Watch:
        folder, (prometheus, alertmanager) = self._folder, self._ports
        with ExitStack() as running:
            self._run(
                running, "prometheus-alertmanager", f"--config.file={folder}/alertmanager.yml",
                f"--storage.path={folder}/alerts", f"--web.listen-address=127.0.0.1:{alertmanager}",
                "--cluster.listen-address=",
            )  # fmt: skip
            self._run(
                running, "prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/series",
                f"--web.listen-address=127.0.0.1:{prometheus}",
            )  # fmt: skip
            for port in self._ports:
                until(lambda port=port: _get(f"http://127.0.0.1:{port}/-/ready") is not None, "it is ready", 20)  # type: ignore[misc]
            self._running = running.pop_all()
        return self

    def _run(self, running: ExitStack, *command: str) -> None:
        log = running.enter_context((self._folder / f"{command[0]}.log").open("wb"))
        process = subprocess.Popen(command, stdout=log, stderr=log)
        running.callback(process.wait, 10)
        running.callback(process.kill)

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def ask(self, expr: str) -> list[float]:
        """The values that Prometheus answers to a query."""
        said = _get(f"{self.url}/api/v1/query?{urllib.parse.urlencode({'query': expr})}")
        assert said is not None, expr
        return [float(one["value"][1]) for one in json.loads(said)["data"]["result"]]

    def rules(self) -> list[dict[str, Any]]:
        """What Prometheus says of its rules."""
        groups = json.loads(_get(f"{self.url}/api/v1/rules") or "")["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]


def until(true: Callable[[], bool], what: str, within: float) -> None:
    """Wait for something; raises AssertionError when it does not come."""
    deadline = time.monotonic() + within
    while not true():
        assert time.monotonic() < deadline, f"not within {within:g} s: {what}"
        time.sleep(0.05)


def _get(url: str) -> str | None:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return str(answer.read().decode())
    except (urllib.error.URLError, OSError):
        return None
