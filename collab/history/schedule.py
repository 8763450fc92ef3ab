"""Snapshots at certain times of day, of the rooms that changed since their last one.

Which time was the last that was kept is read from the snapshots themselves, so nothing is forgotten by a restart: a
time that came while no server ran is made up for when the next one starts.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import anyio

from ..errors import CollabError
from ..hub import Hub
from ..log import get_logger
from ..settings.values import parse_times
from ..store import Reason, RoomInfo
from .archive import Archive
from .retention import DAY

log = get_logger(__name__)

NAP_SECONDS = 30.0
"""How long is slept at most: clocks are set, and machines are put to sleep."""


def last(times: Sequence[int], now: float) -> float:
    """The last such moment up to `now`, in seconds since the epoch.

    Args:
        times: Minutes after midnight UTC, in order, at least one.
    """
    midnight = now // DAY * DAY
    moments = [midnight + 60 * minutes for minutes in times]
    return max([moment for moment in moments if moment <= now], default=moments[-1] - DAY)


def following(times: Sequence[int], now: float) -> float:
    """The first such moment after `now`."""
    midnight = now // DAY * DAY
    moments = [midnight + 60 * minutes for minutes in times]
    return min([moment for moment in moments if moment > now], default=moments[0] + DAY)


class Schedule:
    """Makes the snapshots that the settings ask for.

    Args:
        hub: Where the rooms are.
        archive: Makes them.
    """

    def __init__(self, hub: Hub, archive: Archive) -> None:
        self._hub = hub
        self._archive = archive
        self._times = parse_times(hub.settings.history.snapshot_at)

    def start(self) -> None:
        """From now on they are made, if any are asked for."""
        if self._times:
            self._hub.start_soon(self._for_ever)

    async def _for_ever(self) -> None:
        moment = last(self._times, time.time())
        while True:
            try:
                await self.make(moment)
            except Exception as error:
                self._hub.metrics.count_error(error)
                log.warning("scheduled snapshots failed", error=str(error), exc_info=not isinstance(error, CollabError))
            moment = following(self._times, max(moment, time.time()))
            while time.time() < moment:
                await _nap(moment)

    async def make(self, moment: float) -> int:
        """Make those of one moment (seconds since the epoch) that are not there yet, one after the other; how many."""
        began, made = time.monotonic(), 0
        async for info in self._hub.store.rooms():
            try:
                if await self._due(info, moment):
                    await self._archive.create(info.name, reason=Reason.SCHEDULED)
                    await self._archive.thin(info.name)
                    made += 1
            except Exception as error:  # one room's trouble is its own
                self._hub.metrics.count_error(error)
                unforeseen = not isinstance(error, CollabError)
                log.warning("scheduled snapshot not made", room=info.name, error=str(error), exc_info=unforeseen)
        if made:
            log.info("scheduled snapshots made", rooms=made, seconds=round(time.monotonic() - began, 1))
        return made

    async def _due(self, info: RoomInfo, moment: float) -> bool:
        newest = await self._hub.store.snapshots(info.name, limit=1)
        return bool(info.seq) and all(one.covers < info.seq and one.time < moment for one in newest)


async def _nap(until: float) -> None:
    await anyio.sleep(min(max(until - time.time(), 0.0), NAP_SECONDS))
