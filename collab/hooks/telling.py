"""The owner of what is told: takes in what happens, writes it into the outbox, and has it delivered.

What follows from a commit the store tells by itself. That a document changed is derived: of each room the store keeps
up to which edit it was told, so a change is never forgotten, and the hot path has nothing to do but to note, once per
commit, which rooms it was about. Who comes and goes is written down a moment later, many at once.
"""

from __future__ import annotations

import secrets
import time
from collections import deque
from typing import Any
from uuid import uuid4

import anyio

from ..auth.outside import open_client
from ..errors import SettingsError
from ..hub import Hub
from ..journal import Journal
from ..log import get_logger
from ..settings.hooks import wanted
from ..settings.values import parse_list, read_secret
from ..store.outbox import Event, News, Notice, Outbox, Tally, outbox_of
from .debounce import Debounce
from .delivery import Delivery
from .leftover import restores

log = get_logger(__name__)

SECRET_BYTES = 32
"""Shorter secrets can be found by trying."""
BATCH = 500
"""Events, or rooms, of one commit."""
QUEUE = 100_000
"""Events that may wait for the store; past it the newest are lost, and counted."""
LOOK_SECONDS = 5.0
"""How often it is counted what waits."""
SWEEP_SECONDS = 60.0
"""How often dead letters go, and changes are found that came by another way than a room's journal (an import)."""
CLOSE_SECONDS = 2.0
"""How long the end may take. What is not written then is found at the next start, but for who came and went."""
DAY = 86_400.0


class Hooks:
    """The webhooks of one server.

    Args:
        hub: Whose rooms.

    Raises:
        SettingsError: The secret is too short, or the store has no outbox.

    Attributes:
        urls: Who is told.
        asleep: Set before `open` by who only wants to look: nothing is told, and who wants what stays as it is.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._settings = settings = hub.settings.hooks
        self.urls = parse_list(settings.urls)
        self.asleep = False
        self._outbox = outbox_of(hub.store)
        self._secret = read_secret(settings.secret, settings.secret_file) or ""
        if self.urls and len(self._secret.encode()) < SECRET_BYTES:
            raise SettingsError(
                f"COLLAB_HOOKS__SECRET has {len(self._secret.encode())} bytes, and a short one can be found by trying: "
                f"give it at least {SECRET_BYTES}, for example from `openssl rand -hex 32`"
            )
        if self.urls and self._outbox is None:
            raise SettingsError(
                "COLLAB_HOOKS__URLS is set, but this store has no outbox; use one that has, or unset it"
            )
        self._events = frozenset(Event(name) for name in wanted(settings.events))
        self._here = secrets.token_hex(4)
        self._changes = Debounce(settings.debounce_seconds, settings.max_wait_seconds)
        self._due: dict[str, None] = {}
        self._queue: deque[News] = deque()
        self._work = anyio.Event()
        self._deliveries: list[Delivery] = []
        self._tally = Tally(0, 0, None)
        metrics = hub.metrics
        metrics.hooks["waiting"].set_function(lambda: self._tally.waiting)
        metrics.hooks["dead"].set_function(lambda: self._tally.dead)
        metrics.hooks_oldest_seconds.set_function(self._age)

    @property
    def outbox(self) -> Outbox | None:
        """What waits, and what is dead; None when the store has none."""
        return self._outbox

    def _age(self) -> float:
        return 0.0 if self._tally.oldest is None else max(0.0, time.time() - self._tally.oldest)

    # ------------------------------------------------------------------ from the start to the end

    async def open(self) -> None:
        """Say what is wanted, find what was left untold, and begin. The store is open, and nobody is let in yet."""
        if self._outbox is None or self.asleep:
            return
        now = time.time()
        await self._outbox.want(self._events if self.urls else (), len(self.urls), now)
        if not self.urls:
            self._hub.start_soon(self._look_after, self._outbox)
            return
        abandoned = await self._outbox.abandon(now)
        if Event.CHANGED in self._events:
            untold = await self._outbox.untold()
            if Event.RESTORED in self._events:
                self._queue += await restores(self._hub.store, untold)
            self._due = {room: None for room, _ in untold}
            committed = self._hub.commits.landed

            def landed(journal: Journal) -> None:
                self._changes.touch(journal.room, time.monotonic())
                committed(journal)

            self._hub.commits.landed = landed
            self._hub.beats.add(self._beat)
        log.info("webhooks", urls=self.urls, events=sorted(self._events), untold=len(self._due), abandoned=abandoned)
        self._hub.news = self._news
        self._hub.start_soon(self._deliver, self._outbox)
        self._hub.start_soon(self._write, self._outbox)
        self._hub.start_soon(self._look_after, self._outbox)
        if self._due or self._queue:
            self._work.set()

    async def close(self) -> None:
        """Write down what is known. All rooms are saved, and the store is still open."""
        if self._outbox is None or not self.urls or self.asleep:
            return
        self._hub.beats.discard(self._beat)
        self._due |= dict.fromkeys(self._changes.all())
        with anyio.move_on_after(CLOSE_SECONDS, shield=True):
            try:
                while self._due or self._queue:
                    await self._write_some(self._outbox)
            except Exception as error:
                self._not_written(error)

    # ------------------------------------------------------------------ what happens

    def _news(self, event: Event, room: str, details: dict[str, Any]) -> None:
        came_or_went = event in (Event.JOINED, Event.LEFT)
        if event not in self._events and not (came_or_went and self._events & {Event.JOINED, Event.LEFT}):
            return
        if came_or_went:
            details["client"] = f"{self._here}-{details['client']}"
        if len(self._queue) >= QUEUE:
            self._hub.metrics.hook_deliveries["lost"].inc()
            return
        id = details.pop("id", None) or uuid4().hex
        self._queue.append(News(event, room, time.time(), details, id))
        self._work.set()

    def _beat(self, now: float) -> None:
        if len(self._changes) and (due := self._changes.due(now)):
            self._due |= dict.fromkeys(due)
            self._work.set()

    async def test(self) -> str:
        """Post a test event for every URL; returns its id."""
        id = uuid4().hex
        if self._outbox is not None:
            await self._outbox.post([News(Event.TEST, "", time.time(), {}, id)])
            self.wake()
        return id

    def wake(self) -> None:
        """Something may be due."""
        for delivery in self._deliveries:
            delivery.wake()

    def url_of(self, notice: Notice) -> str | None:
        """Where a notice goes; None when its URL is not set any more."""
        return self.urls[notice.target] if notice.target < len(self.urls) else None

    # ------------------------------------------------------------------ what runs in the background

    async def _deliver(self, outbox: Outbox) -> None:
        settings = self._settings
        async with open_client(settings.concurrency * len(self.urls)) as client, anyio.create_task_group() as tasks:
            for target, url in enumerate(self.urls):
                delivery = Delivery(
                    target, url, self._secret, client, outbox, settings, self._hub.metrics, self._hub.floods
                )
                self._deliveries.append(delivery)
                tasks.start_soon(delivery.run)

    async def _write(self, outbox: Outbox) -> None:
        while True:
            await self._work.wait()
            self._work = anyio.Event()
            try:
                while self._due or self._queue:
                    await self._write_some(outbox)
            except Exception as error:
                self._not_written(error)
                await anyio.sleep(self._hub.settings.store.retry_seconds)
                self._work.set()
            self.wake()

    def _not_written(self, error: Exception) -> None:
        self._hub.metrics.count_error(error)
        log.warning("webhooks not written down", error=str(error), rooms=len(self._due), events=len(self._queue))

    async def _write_some(self, outbox: Outbox) -> None:
        """Write down the first of what is known. It is kept until the store has it."""
        if self._queue:
            some = [self._queue[place] for place in range(min(BATCH, len(self._queue)))]
            await outbox.post(some)
            for _ in some:
                self._queue.popleft()
        if self._due:
            rooms = list(self._due)[:BATCH]
            for room in rooms:
                del self._due[room]
            try:
                await outbox.announce(rooms, time.time())
            except BaseException:
                self._due |= dict.fromkeys(rooms)
                raise

    async def _look_after(self, outbox: Outbox) -> None:
        swept = float("-inf")
        while True:
            try:
                self._tally = await outbox.tally()
                if (now := time.monotonic()) - swept >= SWEEP_SECONDS:
                    swept = now
                    await self._sweep(outbox)
            except Exception as error:
                log.warning("outbox not looked after", error=str(error))
            await anyio.sleep(LOOK_SECONDS)

    async def _sweep(self, outbox: Outbox) -> None:
        await outbox.forget_dead(time.time() - self._settings.keep_dead_days * DAY)
        if Event.CHANGED in self._events and self.urls:
            for room, _ in await outbox.untold():
                self._changes.touch(room, time.monotonic())
