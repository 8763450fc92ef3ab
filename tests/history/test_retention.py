"""Which snapshots stay, as hours, days and weeks go by."""

from __future__ import annotations

import random

import pytest

from collab.history.retention import DAY, HOUR, WEEK, thin
from collab.settings.sections import HistorySettings
from collab.store import Reason, SnapshotInfo, draft

NOW = 1_760_000_000.0
SETTINGS = HistorySettings(keep_snapshots=1000, every_hours=6, hourly_days=2, daily_days=14, weekly_weeks=8)


def made(id: int, age: float, *, reason: Reason = Reason.ACTIVITY, pinned: bool = False) -> SnapshotInfo:
    info = draft("room", id, NOW - age, reason, pinned=pinned)
    return SnapshotInfo(id, *(getattr(info, name) for name in SnapshotInfo.__slots__[1:]))


def ages(every: float, upto: float, **kind) -> list[SnapshotInfo]:
    """One every so many seconds, the oldest first, numbered from 1."""
    count = int(upto / every)
    return [made(id, (count - id) * every + 1, **kind) for id in range(1, count + 1)]


def kept(infos: list[SnapshotInfo], settings: HistorySettings = SETTINGS, now: float = NOW) -> list[SnapshotInfo]:
    gone = [info.id for info in thin(infos, now, settings)]
    numbers = set(gone)
    assert len(numbers) == len(gone)
    return [info for info in infos if info.id not in numbers]


def between(infos: list[SnapshotInfo], younger: float, older: float) -> list[float]:
    return [info.time for info in infos if younger <= NOW - info.time < older]


def test_all_then_hourly_daily_weekly_then_none():
    left = kept(ages(10 * 60, 100 * DAY))
    assert len(between(left, 0, 6 * HOUR)) == 36
    for every, younger, older in ((HOUR, 6 * HOUR, 2 * DAY), (DAY, 2 * DAY, 14 * DAY), (WEEK, 14 * DAY, 8 * WEEK)):
        times = between(left, younger, older)
        slots = [time // every for time in times]
        assert len(set(slots)) == len(slots), "two in one slot"
        assert len(slots) == pytest.approx((older - younger) / every, abs=1)
    assert between(left, 8 * WEEK, 1000 * DAY) == []


def test_the_last_of_each_slot_stays():
    hour = (NOW - DAY) // HOUR * HOUR
    infos = [made(id, NOW - (hour + minute * 60)) for id, minute in enumerate((5, 20, 59), 1)]
    assert [info.id for info in kept(infos)] == [3]


def test_count():
    settings = SETTINGS.model_copy(update={"keep_snapshots": 5})
    infos = ages(60, HOUR)
    assert kept(infos, settings) == infos[-5:]
    assert kept(infos[:5], settings) == infos[:5]


@pytest.mark.parametrize(
    "kind", [{"pinned": True}, {"reason": Reason.MANUAL}, {"reason": Reason.BASE}], ids=["pinned", "by hand", "base"]
)
def test_what_stays_whatever_its_age_and_number(kind):
    settings = SETTINGS.model_copy(update={"keep_snapshots": 3})
    mine = [made(1000 + info.id, NOW - info.time, **kind) for info in ages(DAY, 400 * DAY)]
    ours = ages(60, HOUR)
    assert kept(mine + ours, settings) == mine + ours[-3:]


@pytest.mark.parametrize("reason", [Reason.SCHEDULED, Reason.ACTIVITY, Reason.BEFORE_IMPORT, Reason.BEFORE_RESTORE])
def test_what_the_server_made_goes(reason):
    assert kept([made(1, 60 * WEEK, reason=reason)]) == []


def test_clocks_that_jump():
    """The number says which state is the newer one; what lies in the future is young."""
    hour = (NOW - DAY) // HOUR * HOUR
    infos = [made(1, NOW - (hour + 3000)), made(2, NOW - (hour + 60)), made(3, -WEEK)]
    assert [info.id for info in kept(infos)] == [2, 3]
    assert thin([], NOW, SETTINGS) == []


def test_thinning_again_and_again_ends_where_thinning_once_does():
    """However often it is looked, years later there is as much as the settings say, and never a gap of two weeks."""
    source = random.Random(4)
    infos, id, now = list[SnapshotInfo](), 0, NOW - 200 * DAY
    while now < NOW:
        now += source.uniform(0, 8 * HOUR)
        id += 1
        infos.append(made(id, NOW - now))
        infos = kept(infos, now=now)
    assert len(infos) < 6 + 48 + 14 + 8
    times = [info.time for info in infos]
    assert all(later - earlier <= 2 * WEEK for earlier, later in zip(times, times[1:], strict=False))
    assert now - times[0] >= 7 * WEEK
