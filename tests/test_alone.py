"""A test that measures time has the machine to itself; the others run side by side (tests/support/alone.py)."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path

import pytest

from tests.support.alone import turn

ROOT = Path(__file__).parents[1]
IMPORT = "from tests.support.alone import pytest_runtest_protocol"


@pytest.fixture
def world(tmp_path):
    """`world(name, alone)` lets a test of that name begin; what happened, and how to let it end."""
    return World(tmp_path / "run")


class World:
    def __init__(self, place):
        self.place = place
        self.said: list[str] = []
        self.ends: dict[str, threading.Event] = {}
        self.threads: list[threading.Thread] = []

    def begin(self, name: str, *, alone: bool) -> None:
        self.ends[name] = threading.Event()
        self.threads.append(threading.Thread(target=self._run, args=(name, alone)))
        self.threads[-1].start()
        time.sleep(0.1)

    def _run(self, name: str, alone: bool) -> None:
        with turn(self.place, alone=alone):
            self.said.append(f"{name} began")
            self.ends[name].wait(10)
            self.said.append(f"{name} ended")

    def end(self, name: str) -> None:
        self.ends[name].set()
        time.sleep(0.1)


def test_side_by_side(world):
    world.begin("one", alone=False)
    world.begin("two", alone=False)
    assert world.said == ["one began", "two began"]
    world.end("one")
    world.end("two")


def test_alone_waits_for_the_others_and_is_overtaken_by_none(world):
    world.begin("one", alone=False)
    world.begin("measures", alone=True)
    world.begin("late", alone=False)
    assert world.said == ["one began"]
    world.end("one")
    assert world.said == ["one began", "one ended", "measures began"]
    world.end("measures")
    assert world.said[3:] == ["measures ended", "late began"]
    world.end("late")
    for thread in world.threads:
        thread.join(5)
        assert not thread.is_alive()


def test_a_run_that_a_test_started_waits_for_nobody(tmp_path):
    """The test that started it holds the room; one that wants to be alone holds the gate, and waits for that test."""
    (tmp_path / "conftest.py").write_text(f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n{IMPORT}\n")
    (tmp_path / "test_it.py").write_text("def test_it(): pass")
    run = uuid.uuid4().hex
    with turn(Path(tempfile.gettempdir()) / f"collab-tests-{run}", alone=True):
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
            cwd=tmp_path,
            env={**os.environ, "PYTEST_XDIST_TESTRUNUID": run, "PYTEST_XDIST_WORKER": "gw0"},
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 0, done.stdout + done.stderr
