"""Tests that run side by side, and those that measure time and want the machine to themselves.

`make test` runs as many tests at once as it is told to (pytest-xdist). A test marked `alone` begins when no other one
runs, and none begins while it does. A conftest takes the name: `from tests.support.alone import
pytest_runtest_protocol`.
"""

from __future__ import annotations

import fcntl
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """First of all, so that waiting for the others does not count as the test's own time."""
    worker = getattr(item.config, "workerinput", None)
    if worker is None:  # also a run that a test of ours started: to wait for those who wait for that test is for ever
        return (yield)
    run = worker["testrunuid"]
    with turn(Path(tempfile.gettempdir()) / f"collab-tests-{run}", alone=item.get_closest_marker("alone") is not None):
        return (yield)


@contextmanager
def turn(place: Path, *, alone: bool) -> Generator[None]:
    """Readers and writers: whoever wants to be alone holds the gate while it waits, so that nobody overtakes it."""
    with open(f"{place}.gate", "w") as gate, open(f"{place}.room", "w") as room:
        fcntl.flock(gate, fcntl.LOCK_EX)
        fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        if not alone:
            fcntl.flock(gate, fcntl.LOCK_UN)
        yield
