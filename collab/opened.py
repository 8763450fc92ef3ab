"""Rooms in memory, and rooms on their way there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import anyio

from .errors import CollabError, Draining
from .journal import Journal
from .room import RoomCore
from .yroom import Room


@dataclass(eq=False, slots=True)
class Opened:
    """A room in memory: its public face, its journal, and how many hold on to it."""

    room: Room
    journal: Journal
    holders: int = 0
    seats: int = 0
    reloading: bool = False
    gone: bool = False

    @property
    def core(self) -> RoomCore:
        """The room's synchronous core."""
        return self.room.core

    @property
    def clean(self) -> bool:
        """Whether the store has all there is."""
        return self.core.idle and not self.journal.lag and not self.reloading


@dataclass(eq=False, slots=True)
class Opening:
    """A room on its way into memory, and how many wait for it: each holds it from the moment that it is there."""

    done: anyio.Event = field(default_factory=anyio.Event)
    waiting: int = 0
    opened: Opened | None = None
    error: CollabError | None = None

    async def awaited(self, release: Callable[[Opened], None]) -> Opened:
        """The room, once it is there, and held; raises why it is not. `release` lets it go again."""
        self.waiting += 1
        try:
            await self.done.wait()
        except BaseException:  # whoever waited was cancelled
            self.waiting -= 1
            if self.opened is not None:
                release(self.opened)
            raise
        if self.opened is None:
            raise self.error or Draining()
        return self.opened
