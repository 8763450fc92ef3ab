"""Brings what is due to one URL: in order within a room, rooms beside each other, again and again until it is taken.

2xx is taken. 410 means that nobody wants it: the event is dead at once. Everything else, redirects too, is a failure,
after which the room's events wait, longer each time; when they have waited for `give_up_hours` the first one is dead.

A receiver that is *away* (no answer, or 429, 502, 503, 504, several times in a row) is tried with one event at a time,
and all that waits counts as tried; what was longest tried dies without a try of its own. When it is back, everything is
due at once.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import anyio
import httpx
from anyio.abc import TaskGroup

from ..auth.outside import ask
from ..log import Throttle, get_logger
from ..metrics import Metrics
from ..settings.hooks import HookSettings
from ..store.outbox import Notice, Outbox, Outcome
from .signing import body_of, headers

log = get_logger(__name__)

POLL_SECONDS = 1.0
"""How often it is looked whether something is due that nobody said was."""
TROUBLE_SECONDS = 1.0
"""How long nothing is tried after the store failed."""
AWAY_AFTER = 3
"""So many failures in a row that say that nobody is there."""
AWAY = frozenset({429, 502, 503, 504})
GONE = 410
ANSWER_BYTES = 64 * 1024
HOUR = 3600.0


def pause(attempts: int, settings: HookSettings, chance: float) -> float:
    """Seconds to wait after so many failures. `chance`, from 0 to 1, spreads what failed at once by a quarter."""
    longest = min(settings.retry_seconds * 2.0 ** min(attempts - 1, 60), settings.retry_max_seconds)
    return longest * (0.75 + 0.25 * chance)


class Delivery:
    """One URL.

    Args:
        target: Its number.
        url: Where to.
        secret: What is signed with.
        client: What to ask with.
        outbox: Where from.
        settings: Times and numbers.
        metrics: Where things are counted.
        floods: Logs what may fail again and again.
        wall: Seconds since the epoch.
    """

    def __init__(
        self,
        target: int,
        url: str,
        secret: str,
        client: httpx.AsyncClient,
        outbox: Outbox,
        settings: HookSettings,
        metrics: Metrics,
        floods: Throttle,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.target, self.url = target, url
        self._secret, self._client, self._outbox = secret, client, outbox
        self._settings, self._metrics, self.floods, self._wall = settings, metrics, floods, wall
        self._flying: set[int] = set()
        self._outcomes: list[Outcome] = []
        self._failures = 0
        self._until = 0.0
        self._wake = anyio.Event()
        self._landed = anyio.Event()

    @property
    def away(self) -> bool:
        """Whether nobody seems to be there."""
        return self._failures >= AWAY_AFTER

    def wake(self) -> None:
        """Something may be due."""
        self._wake.set()

    async def run(self) -> None:
        """Deliver, for ever. Cancel it at any time: what was not settled is told again."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._settle)
            while True:
                self._wake = anyio.Event()
                try:
                    await self._round(tasks)
                except Exception as error:
                    await self._trouble(error)
                with anyio.move_on_after(POLL_SECONDS):
                    await self._wake.wait()

    async def _round(self, tasks: TaskGroup) -> None:
        """Send what may be sent now."""
        if self.away and (self._flying or time.monotonic() < self._until):
            return
        free = (1 if self.away else self._settings.concurrency) - len(self._flying)
        if free <= 0:
            return
        found = await self._outbox.due(self.target, self._wall(), free + len(self._flying))
        for notice in [notice for notice in found if notice.seq not in self._flying][:free]:
            self._flying.add(notice.seq)
            tasks.start_soon(self._deliver, notice)

    async def _deliver(self, notice: Notice) -> None:
        alone = self.away
        status, error = await self._ask(notice)
        now = self._wall()
        if error is None:
            outcome = Outcome(notice.seq)
        elif status == GONE or now - (notice.tried or now) >= self._settings.give_up_hours * HOUR:
            outcome = Outcome(notice.seq, error, None)
        else:
            outcome = Outcome(notice.seq, error, now + pause(notice.attempts + 1, self._settings, random.random()))  # noqa: S311
        kind = "delivered" if error is None else "failed" if outcome.again else "dead"
        self._metrics.hook_deliveries[kind].inc()
        if kind != "delivered":
            self.floods.log(
                "warning", "webhook failed" if outcome.again else "webhook given up", key=(self.url, error),
                url=self.url, room=notice.room, id=notice.id, happened=notice.event.value,
                attempts=notice.attempts + 1, reason=error,
            )  # fmt: skip
        await self._judge(error is None, status is None or status in AWAY, alone)
        self._outcomes.append(outcome)
        self._landed.set()

    async def _ask(self, notice: Notice) -> tuple[int | None, str | None]:
        """The status, if there was an answer, and why it failed, if it did."""
        body = body_of(notice)
        began = time.perf_counter()
        try:
            status, _ = await ask(
                self._client,
                "POST",
                self.url,
                seconds=self._settings.timeout_seconds,
                max_bytes=ANSWER_BYTES,
                body=body,
                headers=headers(self._secret, notice, int(self._wall()), body),
            )
        except TimeoutError:
            return None, f"no answer within {self._settings.timeout_seconds:g} s"
        except OSError as error:
            return None, f"no answer ({error})"
        finally:
            self._metrics.hook_seconds.observe(time.perf_counter() - began)
        return status, None if 200 <= status < 300 else f"status {status}"

    async def _judge(self, taken: bool, nobody: bool, alone: bool) -> None:
        """Whether somebody is there. What was on its way when that was found out does not count once more."""
        if taken:
            was_away, self._failures = self.away, 0
            if was_away:
                log.info("webhook receiver is back", url=self.url)
                await self._in_store(lambda: self._outbox.resume(self.target))
        elif nobody and (alone or not self.away):
            self._failures += 1
            if self.away:
                if self._failures == AWAY_AFTER:
                    log.warning("webhook receiver is away", url=self.url)
                self._until = time.monotonic() + pause(self._failures - AWAY_AFTER + 1, self._settings, random.random())  # noqa: S311
                now = self._wall()
                before = now - self._settings.give_up_hours * HOUR
                await self._in_store(lambda: self._expire(now, before))

    async def _expire(self, now: float, before: float) -> None:
        if died := await self._outbox.expire(self.target, now, before):
            self._metrics.hook_deliveries["dead"].inc(died)
            log.warning("webhooks given up", url=self.url, events=died)

    async def _in_store(self, call: Callable[[], object]) -> None:
        """What may as well fail: it is done again after the next attempt."""
        try:
            await call()  # type: ignore[misc]
        except Exception as error:
            await self._trouble(error)

    async def _settle(self) -> None:
        """Write down what became of what was sent, all that has gathered at once."""
        while True:
            await self._landed.wait()
            self._landed = anyio.Event()
            outcomes, self._outcomes = self._outcomes, []
            try:
                await self._outbox.settle(outcomes, self._wall())
            except Exception as error:
                self._outcomes = outcomes + self._outcomes
                self._landed.set()
                await self._trouble(error)
            else:
                self._flying -= {outcome.seq for outcome in outcomes}
                self.wake()

    async def _trouble(self, error: Exception) -> None:
        self._metrics.count_error(error)
        log.warning("outbox failed", url=self.url, error=str(error))
        await anyio.sleep(TROUBLE_SECONDS)
