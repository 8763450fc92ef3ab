"""Which snapshots are kept for how long: pure, so that a test can let years pass."""

from __future__ import annotations

from collections.abc import Iterable

from ..settings.sections import HistorySettings
from ..store import Reason, SnapshotInfo

HOUR = 3_600.0
DAY = 24 * HOUR
WEEK = 7 * DAY

OUR_OWN = frozenset({Reason.SCHEDULED, Reason.ACTIVITY, Reason.BEFORE_RESTORE, Reason.BEFORE_IMPORT})
"""What the server makes by itself, it may clear away by itself. Snapshots made by hand are their maker's, and a base is
what the history begins with: it goes when rows are forgotten."""


def thin(infos: Iterable[SnapshotInfo], now: float, settings: HistorySettings) -> list[SnapshotInfo]:
    """Which of one room's snapshots are to be deleted, the oldest last.

    All stay that are younger than `every_hours`; then the last one of each hour, until `hourly_days`; of each day,
    until `daily_days`; of each week, until `weekly_weeks`. Of what is left, the newest `keep_snapshots` stay. Pinned
    ones stay, and those that were made by hand, and neither counts as one of an hour or against the number.

    Args:
        now: In seconds since the epoch. A snapshot from the future is young.
    """
    kept, gone = 0, list[SnapshotInfo]()
    slots = set[tuple[float, int]]()
    # By id, not by time: a clock that was set back must not make an older state count as the newer one.
    for info in sorted(infos, key=lambda info: -info.id):
        if info.pinned or info.reason not in OUR_OWN:
            continue
        every = _every(now - info.time, settings)
        slot = (every, int(info.time // every)) if every else None
        if every is None or slot in slots or kept >= settings.keep_snapshots:
            gone.append(info)
            continue
        if slot is not None:
            slots.add(slot)
        kept += 1
    return gone


def _every(age: float, settings: HistorySettings) -> float | None:
    """Snapshots of this age (seconds) are kept one per so many seconds; 0: all of them, None: not at all."""
    if age < settings.every_hours * HOUR:
        return 0.0
    if age < settings.hourly_days * DAY:
        return HOUR
    if age < settings.daily_days * DAY:
        return DAY
    if age < settings.weekly_weeks * WEEK:
        return WEEK
    return None
