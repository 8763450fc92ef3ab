"""Compacts rooms in the background, one after the other, when their logs have grown long."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from anyio import Event

from . import recovery
from .apart import Apart
from .errors import CollabError
from .journal import Journal
from .log import get_logger
from .metrics import Metrics
from .settings.sections import StoreSettings
from .store import Store

log = get_logger(__name__)


ROWS_PER_BYTE = 1 / 1024
"""A checkpoint of a large document costs more than the rows it replaces: the log may have a row for each KiB of it."""


class Compactor:
    """The queue of rooms to compact. Each reads what is stored, so the live rooms are not touched.

    Args:
        keep: Whether the rows that a checkpoint covers stay as history.

    Attributes:
        watched: Stands around each compaction, given the room's name; what it raises keeps the room from it.
    """

    def __init__(self, store: Store, settings: StoreSettings, metrics: Metrics, *, keep: bool = True) -> None:
        self._store = store
        self._settings = settings
        self._metrics = metrics
        self._keep = keep
        self._apart = Apart()
        self._journals: dict[str, Journal] = {}
        self.watched: Callable[[str], AbstractContextManager[None]] = lambda room: nullcontext()
        self._work = Event()

    def look_at(self, journal: Journal) -> None:
        """Compact the room of `journal` soon, if it wrote enough since the last time."""
        size = journal.core.bytes
        if journal.log_rows >= max(self._settings.checkpoint_rows, ROWS_PER_BYTE * size) or (
            journal.log_bytes >= max(self._settings.checkpoint_bytes, size / 2)
        ):
            journal.log_rows = journal.log_bytes = 0
            self._journals[journal.room] = journal
            self._work.set()

    async def run(self) -> None:
        """Compact, for ever."""
        while True:
            if not self._journals:
                self._work = Event()
                await self._work.wait()
            room = next(iter(self._journals))
            journal = self._journals.pop(room)
            try:
                with self.watched(room):
                    size = await recovery.compact(self._store, room, keep=self._keep, apart=self._apart)
                if size:
                    journal.core.bytes = size
                    self._metrics.compactions.inc()
                    log.debug("room compacted", room=room, bytes=size)
            except Exception as error:  # it stays as it is, and is tried again when it has grown
                self._metrics.count_error(error)
                unexpected = not isinstance(error, CollabError)
                log.warning("room not compacted", room=room, error=str(error), exc_info=unexpected)
