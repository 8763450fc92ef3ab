"""A live server under Prometheus and Alertmanager: every panel has something to show, and its end is heard of."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pytest

from tests.drills.watch import Receiver, Watch, until
from tests.support.server import Server
from tests.watch.tools import needs, panels

pytestmark = [pytest.mark.drill, pytest.mark.timeout(600), needs("prometheus", "prometheus-alertmanager")]

TOKEN = "9d2f6c0b4e8a1375" * 2
ADMIN = "5a1c7e9f3b0d2486" * 2
DELAY = 60.0
"""CollabDown's `for` in docker/prometheus/rules, in seconds."""
ROUND = 15.0 + 15.0 + 10.0
"""Until it is scraped, until the rules are looked at, and how long Alertmanager waits for more."""


def test_a_killed_server_is_heard_of_and_every_panel_shows_something(tmp_path: Path, full, figure):
    times = 1.0 if full else 15.0
    env = {"COLLAB_SERVER__METRICS_TOKEN": TOKEN, "COLLAB_ADMIN__TOKEN": ADMIN}
    with Server(env=env) as server, Receiver() as receiver:
        folder = tmp_path / "watch"
        folder.mkdir()
        with Watch(folder, server, TOKEN, receiver, times) as watch:
            until(lambda: watch.ask('up{job="collab"}') == [1.0], "the first scrape", 2 * ROUND)
            assert server.try_call("smoke", server.url).returncode == 0  # both protocols, edits that are saved
            copy = str(tmp_path / "copy.db")
            done = server.try_call("backup", copy, "--yes", "--server", server.http_url, "--token", ADMIN)
            assert done.returncode == 0, done.stderr
            empty: list[str] = []

            def shown() -> bool:
                asked = [(panel, watch.ask(panel.expr)) for panel in panels()]
                empty[:] = [f"{one.board}: {one.title}" for one, values in asked if not any(map(math.isfinite, values))]
                return not empty

            try:
                until(shown, "a value for every panel", 30 + 4 * ROUND / times)
            finally:
                print(f"panels without a value: {empty}")
            assert all(rule["health"] == "ok" for rule in watch.rules())
            assert not [said for said in receiver.heard if said[1] == "CollabDown"]

            killed = time.monotonic()
            server.kill()
            most = (DELAY + ROUND) / times + 15
            heard = receiver.when("page", "CollabDown", "firing", most) - killed
            assert heard >= 0.9 * DELAY / times, "the rule's own delay was not waited for"
            server.start()
            back = time.monotonic()
            resolved = receiver.when("page", "CollabDown", "resolved", (ROUND + 60) / times + 30) - back
    pace = "" if full else f" (time of both programs {times:g} times as fast as in docker/)"
    figure(
        f"{len(panels())} panels answered by Prometheus; killed server heard of after {heard:.1f} s, "
        f"its return {resolved:.1f} s after it{pace}"
    )
