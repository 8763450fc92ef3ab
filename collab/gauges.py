"""Gauges that are read when somebody scrapes: what is counted anyway, and how much room the machine has left."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from .journal import GroupCommit
from .limits import Warm
from .metrics import Metrics
from .opened import Opened
from .seat import Seat

CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def watch(
    metrics: Metrics, rooms: Mapping[str, Opened], idle: Warm, commits: GroupCommit, draining: Callable[[], bool]
) -> None:
    """Let the metrics read what rooms, journals and the machine know. No message costs anything for it.

    Args:
        metrics: Whose gauges.
        rooms: The rooms in memory.
        idle: Those of them that are kept warm.
        commits: What writes their journals.
        draining: Whether the server shuts down.
    """
    metrics.rooms["open"].set_function(lambda: len(rooms) - len(idle))
    metrics.rooms["idle"].set_function(lambda: len(idle))
    metrics.held_updates.set_function(lambda: sum(len(opened.core.gaps) for opened in rooms.values()))
    metrics.presence_ids.set_function(lambda: sum(len(opened.core.presence.ids()) for opened in rooms.values()))
    metrics.lagging_clients.set_function(lambda: sum(seat.behind for seat in _seats(rooms)))
    metrics.queue_bytes.set_function(lambda: sum(seat.waiting_bytes for seat in _seats(rooms)))
    metrics.journal_lag_updates.set_function(lambda: sum(journal.lag for journal in commits.lagging))
    metrics.journal_lag_bytes.set_function(lambda: sum(journal.lag_bytes for journal in commits.lagging))
    metrics.journals_behind.set_function(lambda: sum(journal.behind for journal in commits.lagging))
    metrics.store_up.set_function(lambda: commits.store_up)
    metrics.draining.set_function(draining)


def watch_machine(metrics: Metrics, path: Path | None) -> None:
    """Measure memory, tasks and the store's disk; one without a file has none: NaN, for which no alert holds."""
    metrics.memory_limit_bytes.set(memory_limit())
    metrics.tasks.set_function(_tasks)
    for gauge, which in ((metrics.disk_bytes, "total"), (metrics.disk_free_bytes, "free")):
        gauge.set_function(lambda which=which: _disk(path, which))  # type: ignore[misc]


def memory_limit(cgroup: Path = CGROUP_LIMIT) -> int:
    """How much this process may have, in bytes: its container's limit, or what the machine has."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        return min(machine, int(cgroup.read_text("ascii")))
    except (OSError, ValueError):  # no cgroups, or "max"
        return machine


def _seats(rooms: Mapping[str, Opened]) -> list[Seat]:
    return [peer for opened in rooms.values() for peer in opened.core.peers if isinstance(peer, Seat)]


def _tasks() -> float:
    try:
        return len(asyncio.all_tasks())
    except RuntimeError:  # somebody asks from outside of the event loop
        return float("nan")


def _disk(path: Path | None, which: str) -> float:
    try:
        return float("nan") if path is None else float(getattr(shutil.disk_usage(path.parent), which))
    except OSError:
        return float("nan")
