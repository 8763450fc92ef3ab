"""A stranger's path, with the clock running: from `git clone` to editors behind TLS with signed tokens, watched.

The commands are those of docs/howto/deploy.md, and the settings those of docker/compose.production.yml. There is no
container engine here, so what would be three containers are three processes with the same files.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from tests.drills.watch import Receiver, Watch, until
from tests.support.server import REPO, Server, free_port
from tests.watch.tools import needs, panels

pytestmark = [
    pytest.mark.drill,
    pytest.mark.timeout(900),
    needs("git", "openssl", "prometheus", "prometheus-alertmanager"),
]

GUIDE = (REPO / "docs/howto/deploy.md").read_text("utf-8")
ORIGIN = "https://app.example.com"
TOKEN = ("token", "--sub", "smoke", "--room", "collab-smoke=write")


class Clock:
    """Seconds of each step."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, float]] = []

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.steps.append((name, time.monotonic() - began))

    def __str__(self) -> str:
        steps = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in self.steps)
        return f"{sum(seconds for _, seconds in self.steps):.0f} s in all: {steps}"


def run(folder: Path, *command: str, env: dict[str, str] | None = None) -> str:
    """What a command says that must succeed."""
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def commands(heading: str) -> str:
    """The shell commands of a section of the guide."""
    section = GUIDE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    (found,) = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    return str(found)


def settings(clone: Path, internal: int) -> dict[str, str | None]:
    """The environment of the server in compose.production.yml, with places of this machine."""
    given = yaml.safe_load((clone / "docker/compose.production.yml").read_text("utf-8"))["services"]["collab"]
    mine = {"JWT_ISSUER": ORIGIN, "ALLOWED_ORIGINS": ORIGIN}
    env: dict[str, str | None] = {}
    for name, value in given["environment"].items():
        text = re.sub(
            r"\$\{(\w+):([?-])([^}]*)\}", lambda of: mine.get(of[1], "" if of[2] == "?" else of[3]), str(value)
        )
        env[name] = text.replace("/run/secrets", str(clone / "docker/secrets"))
    env |= {"WS_HOST": None, "WS_PORT": None}  # the test says where
    return env | {
        "COLLAB_SERVER__TRUSTED_PROXIES": "127.0.0.1",
        "COLLAB_SERVER__INTERNAL_HOST": "127.0.0.1",
        "COLLAB_SERVER__INTERNAL_PORT": str(internal),
    }


def test_from_clone_to_editors_behind_tls(tmp_path, front, full, figure):
    clock, clone = Clock(), tmp_path / "collab"
    with clock.step("clone"):
        run(tmp_path, "git", "clone", "--quiet", f"file://{REPO}", str(clone))
    python = sys.executable
    if full:
        with clock.step("make install"):
            run(clone, "make", "install", f"PYTHON={sys.executable}")
        python = str(clone / ".venv/bin/python")
    with clock.step("secrets"):
        script = commands("Secrets, each a file")
        if os.geteuid() != 0:  # compose's users are for root to give files to
            script = re.sub(r"(?m)^chown .*\n", "", script)
        run(clone, "sh", "-euc", script)
    secrets = clone / "docker/secrets"
    internal = free_port()
    env = settings(clone, internal) | {"PYTHONPATH": str(clone)}
    with clock.step("server"):
        server = Server(env=env, python=python)
        here = {**os.environ, **{name: value for name, value in env.items() if value is not None}}
        run(clone, python, "-m", "collab", "doctor", "--store", server.store, env=here)
        server.start()
    try:
        with clock.step("nginx with TLS"):
            gate = front(server)
        with clock.step("smoke test"):
            token = run(clone, python, "-m", "collab", *TOKEN, env=here).strip()
            here["SSL_CERT_FILE"] = str(gate.authority.file)
            run(clone, python, "-m", "collab", "smoke", gate.url, "--token", token, env=here)
        alerts = watched(tmp_path, server, internal, secrets, clock, 1.0 if full else 15.0)
    finally:
        server.close()
    figure(f"from `git clone` to TLS, tokens, dashboards and {alerts} alerts: {clock}")


def watched(folder: Path, server: Server, internal: int, secrets: Path, clock: Clock, times: float) -> int:
    """Until Prometheus has something for each dashboard; returns the number of alerts it looks after."""
    token = (secrets / "metrics_token").read_text().strip()
    (place := folder / "watch").mkdir()
    boards = {panel.board for panel in panels()}
    seen: set[str] = set()

    def shown() -> bool:
        seen.update(panel.board for panel in panels() if watch.ask(panel.expr))
        return seen == boards

    with Receiver() as receiver, Watch(place, server, token, receiver, times, internal) as watch:
        with clock.step("Prometheus and Alertmanager, first scrape"):
            until(lambda: watch.ask('up{job="collab"}') == [1.0], "the first scrape", 60)
        with clock.step("something on each dashboard"):
            until(shown, "something on each dashboard", 120)
        assert not [rule for rule in watch.rules() if rule["health"] == "err"]
        assert not [said for said in receiver.heard if said[1] == "CollabDown"]
        return sum(rule["type"] == "alerting" for rule in watch.rules())
