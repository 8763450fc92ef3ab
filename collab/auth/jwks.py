"""Keys that an identity provider publishes (JWKS), fetched, kept, and fetched again before they are old.

A set that was good stays in use for as long as there is no better one: a provider that is down locks nobody out. A
token that names an unknown key causes a fetch, but all tokens together no more than one per `retry_seconds`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import httpx

from ..errors import Unavailable
from ..log import get_logger
from .keys import KeyRing, from_jwks
from .outside import ask

log = get_logger(__name__)

SET_BYTES = 256 * 1024
AHEAD = 0.8
"""The part of `fresh_seconds` after which a new set is fetched in the background."""


class PublishedKeys:
    """The key set behind a URL.

    Args:
        url: Where it is.
        client: What to fetch with.
        algorithm: What RSA keys are for that do not say it; None for RS256.
        timeout: Seconds for one fetch.
        fresh_seconds: How long a set is used without asking again.
        retry_seconds: Least time between two fetches, whatever their reason.
        monotonic: A clock, in seconds.
    """

    def __init__(
        self,
        url: str,
        client: httpx.AsyncClient,
        *,
        algorithm: str | None,
        timeout: float,
        fresh_seconds: float,
        retry_seconds: float,
        monotonic: Callable[[], float],
    ) -> None:
        self.ring = KeyRing()
        self.fetches = 0
        self._url, self._client, self._algorithm, self._timeout = url, client, algorithm, timeout
        self._fresh, self._retry, self._now = fresh_seconds, retry_seconds, monotonic
        self._fetched: float | None = None
        self._tried: float | None = None
        self._task: asyncio.Task[None] | None = None

    def now(self, kid: str | None) -> KeyRing | None:
        """The keys, if one for `kid` is among them or none may be fetched now; None when waiting might help.

        Starts a fetch in the background when the set is getting old.
        """
        if self._fetched is None or self._now() - self._fetched >= AHEAD * self._fresh:
            self._start()
        if self._fetched is None or (self._may_fetch() and not self.ring.knows(kid)):
            return None
        return self.ring

    async def fetched(self, kid: str | None) -> KeyRing:
        """The keys, after a fetch if there is none for `kid` and one is allowed. All who wait share it.

        Raises:
            Unavailable: There has never been a set.
        """
        if self._fetched is None or not self.ring.knows(kid):
            self._start()
            if self._task is not None:
                await asyncio.shield(self._task)
        if self._fetched is None:
            raise Unavailable("the key set for tokens")
        return self.ring

    async def aclose(self) -> None:
        """End a fetch that is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _may_fetch(self) -> bool:
        return self._task is not None or self._tried is None or self._now() - self._tried >= self._retry

    def _start(self) -> None:
        if self._task is None and self._may_fetch():
            self._tried = self._now()
            self._task = asyncio.create_task(self._fetch(), name="jwks")

    async def _fetch(self) -> None:
        self.fetches += 1
        try:
            status, body = await ask(self._client, "GET", self._url, seconds=self._timeout, max_bytes=SET_BYTES)
            if status != 200:
                raise OSError(f"the answer has status {status}")
            self.ring = KeyRing(from_jwks(json.loads(body), self._algorithm))
            self._fetched = self._now()
        except (OSError, ValueError, RecursionError) as error:
            keeps = f"the {len(self.ring)} keys from before" if self._fetched is not None else "none: tokens wait"
            log.warning("key set not fetched", reason=str(error) or type(error).__name__, keeps=keeps)
        finally:
            self._task = None
