"""What ended the server twice is set aside, so that it does not a third time, and everything else is served.

What is set aside is a room that is refused, an update that is not taken in, or a room that is not compacted. The files
are those of `deaths.py`; a running server looks within a second whether one has gone.

An update is known by what it adds: the clocks of its structs. An editor whose update died with the server comes back
with the same structs in another update, merged with what was typed meanwhile; what was in hand both times is to blame.
So after a death the updates of the rooms in hand are taken in one by one.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from .deaths import (
    OF_UPDATES,
    REMEMBERED,
    Death,
    Entry,
    common,
    deaths_in,
    entries,
    folder_of,
    structs_of,
    verdict,
)
from .errors import BadUpdate, CollabError, Quarantined
from .fence import noted
from .gaps import Incoming
from .log import get_logger
from .metrics import Metrics
from .notes import Followed, write
from .peers import Tick
from .recorder import STEPS, TICK, Hand, Recorder, digest_of
from .room import RoomCore
from .store import Store
from .uptake import Panicked

log = get_logger(__name__)


class Quarantine:
    """What is set aside in one server, and the watch over what might have to be.

    Args:
        metrics: Where it is counted.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._folder: Path | None = None
        self._recorder = Recorder()
        self._entries: list[Entry] = []
        self._deaths: list[Death] = []
        self._careful: frozenset[str] = frozenset()
        self._followed: Followed | None = None
        for kind, gauge in metrics.quarantined.items():
            gauge.set_function(lambda kind=kind: sum(entry.kind == kind for entry in self._entries))  # type: ignore[misc]

    @asynccontextmanager
    async def beside(self, store: Store) -> AsyncGenerator[None]:
        """Open the notes about what is in `store`, which is open already: judge what was in hand at the last death."""
        cause = os.environ.get("_COLLAB_DEATH", "")
        self._metrics.restarts.set(float(os.environ.get("_COLLAB_RESTARTS", "0")))
        if cause:
            self._metrics.last_death.info({"cause": cause})
        folder = folder_of(store)
        if folder is not None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                self._recorder = Recorder(folder / "hand")
                self._folder = folder
                self._followed = Followed(folder)
                self._deaths = deaths_in(folder)
                self._judge(self._recorder.found, cause)
                self._look()
            except OSError as error:  # it is for the next crash; this is no reason not to serve
                log.warning("crashes will not be noted", folder=str(folder), error=str(error))
        yield

    # ------------------------------------------------------------------ after a death

    def _judge(self, hands: list[Hand], cause: str) -> None:
        for hand in hands:
            ranges = tuple(sorted({one for update in hand.updates for one in structs_of(update)}))
            death = Death(hand.room, hand.step, cause, time.time(), hand.author, hand.digests, ranges)
            log.error("server died", cause=cause or None, room=hand.room, step=hand.step, updates=list(hand.digests))
            entry = verdict(death, self._deaths, hand.updates)
            if entry is None:
                self._deaths.append(death)
            else:
                log.error("set aside", kind=entry.kind, room=entry.room, reason=entry.why)
                self._deaths = [one for one in self._deaths if one.room != hand.room]
                assert self._folder is not None
                write(self._folder / entry.file, asdict(entry))
        if hands:
            self._note_deaths()

    def _note_deaths(self) -> None:
        self._take_care()
        if self._folder is not None:
            write(self._folder / "deaths.json", [asdict(death) for death in self._deaths[-REMEMBERED:]])

    def _take_care(self) -> None:
        suspects = [death.room for death in self._deaths if death.step in OF_UPDATES]
        self._careful = frozenset([*suspects, *(entry.room for entry in self._entries if entry.kind == "update")])

    def _survived(self, room: str, step: str, updates: Sequence[bytes]) -> None:
        """What was in hand at a death was in hand again, and nothing happened: it is not to blame."""
        if any(death.room == room and death.step == step for death in self._deaths):
            left = []
            for death in self._deaths:
                concerned = death.room == room and death.step == step
                if (rest := death.without(updates) if concerned else death) is not None:
                    left.append(rest)
            if left != self._deaths:
                self._deaths = left
                self._note_deaths()

    # ------------------------------------------------------------------ what is set aside

    def _look(self) -> None:
        """Read the entries again, if something was released."""
        if self._folder is not None and self._followed is not None and self._followed.changed(time.monotonic()):
            self._entries = entries(self._folder)
            self._deaths = deaths_in(self._folder)
            self._take_care()

    def check(self, room: str, step: str) -> None:
        """Raise `Quarantined` if `room` is set aside, as a whole or for this step."""
        if self._entries:
            self._look()
        for entry in self._entries:
            if entry.room == room and entry.kind in ("room", step):
                raise Quarantined(room, entry.why)

    def _refused(self, room: str, item: Incoming, clocks: Mapping[int, int]) -> bool:
        for entry in self._entries:
            if entry.kind == "update" and entry.room == room:
                news = [(client, max(start, clocks.get(client, 0)), end) for client, start, end in item.extent.structs]
                if common(entry.ranges, news) or digest_of(item.update) in entry.digests:
                    return True
        return False

    # ------------------------------------------------------------------ the steps that are watched

    @contextmanager
    def reading(self, step: str, room: str, updates: Sequence[bytes] = ()) -> Generator[None]:
        """Within, `room` is in hand whenever the document library is called by this task, for one of `recorder.STEPS`.

        Raises:
            Quarantined: It is set aside.
        """
        self.check(room, step)
        token = noted.set(_Reading(self._recorder, STEPS.index(step), room, updates))
        try:
            yield
        except CollabError:  # the room is damaged, but the server lives
            self._survived(room, step, updates)
            raise
        finally:
            noted.reset(token)
        self._survived(room, step, updates)

    def watch(self, core: RoomCore) -> None:
        """From now on what `core` applies is in hand meanwhile, if its ticks come from `collect`."""
        core.replica.hand = _Applying(self._recorder, core.name)

    def collect(self, core: RoomCore, now: float, wall: float) -> list[Tick] | None:
        """`core.collect`; after a death with the care that this room needs."""
        if self._careful and core.name in self._careful and core._inbox and not core.replica.busy:
            return self._collect_carefully(core, now, wall)
        return core.collect(now, wall)

    def _collect_carefully(self, core: RoomCore, now: float, wall: float) -> list[Tick] | None:
        """One tick for each update, so that the guilty one can be named; and without those that are known to be."""
        self._look()
        core.replica.at_once = True
        hand = core.replica.hand = _Applying(self._recorder, core.name)
        inbox, core._inbox = core._inbox, []
        ticks: list[Tick] | None = []
        while inbox:
            item = inbox.pop(0)
            if self._refused(core.name, item, core.clocks):
                if item.sender is not None:
                    item.sender.refuse(BadUpdate("this update ended the server before; it is set aside"))
                continue
            core.tell(ticks or [])
            core._inbox = [item]
            hand.author = None if item.sender is None else item.sender.author
            try:
                ticks = core.collect(now, wall)
            except Panicked:
                core._inbox += inbox
                raise
            finally:
                hand.author = None
            self._survived(core.name, STEPS[TICK], [item.update])
        return core.collect(now, wall) if ticks == [] else ticks


@dataclass(slots=True)
class _Applying:
    """See `replica.Hand`. The author is known where updates are applied one by one."""

    recorder: Recorder
    room: str
    author: str | None = None

    def hold(self, updates: Sequence[bytes]) -> int:
        return self.recorder.hold(TICK, self.room, updates, self.author)

    def drop(self, place: int) -> None:
        self.recorder.drop(place)


@dataclass(frozen=True, slots=True)
class _Reading:
    """See `fence.Note`."""

    recorder: Recorder
    step: int
    room: str
    updates: Sequence[bytes]

    def begin(self) -> int:
        return self.recorder.hold(self.step, self.room, self.updates)

    def end(self, place: int) -> None:
        self.recorder.drop(place)
