"""Asking the application who may do what: one signed POST per client and room.

The body is JSON: `{"address", "origin", "room", "token"}`. It is signed with the shared secret: the header
`Collab-Signature` holds `v1=` and the hexadecimal HMAC-SHA256 of the header `Collab-Timestamp` (seconds since the
epoch), a full stop, and the body. The answer is 200 with `{"level": "write", "subject", "user", "expires",
"may_create"}`, where only `level` must be there; or 401 (bad token) or 403 (not this room). All else means that the
application does not work, and the client is told to come back later.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx

from ..errors import CollabError, Forbidden, Unauthorized, Unavailable
from ..log import get_logger
from . import Grant, Knock, Level
from .outside import ask
from .tokens import LEVELS, NOT_COVERED, NOT_VALID, TEXT_BYTES, TOKEN_BYTES, USER_BYTES

log = get_logger(__name__)

TIMESTAMP, SIGNATURE = "Collab-Timestamp", "Collab-Signature"
ANSWER_BYTES = 64 * 1024
CACHED = 10_000
WHAT = "the application that decides about access"


def sign(secret: bytes, timestamp: int, body: bytes) -> str:
    """The value of `Collab-Signature`. A receiver also compares the time with its own clock."""
    return "v1=" + hmac.new(secret, b"%d.%s" % (timestamp, body), hashlib.sha256).hexdigest()


class Breaker:
    """After some failures in a row, leave the other side alone for a time; then let one try.

    Args:
        failures: How many in a row.
        pause: Seconds.
    """

    def __init__(self, failures: int, pause: float) -> None:
        self._limit, self._pause = failures, pause
        self._count = 0
        self._until = -math.inf

    def allows(self, now: float) -> bool:
        """Whether to try. In a row of failures, saying yes postpones the next yes, so that only one tries."""
        if self._count < self._limit:
            return True
        if now < self._until:
            return False
        self._until = now + self._pause
        return True

    def failed(self, now: float) -> None:
        """It failed."""
        self._count += 1
        self._until = now + self._pause

    def worked(self) -> None:
        """It worked."""
        self._count = 0


class Webhook:
    """The application behind a URL.

    Answers are kept for `cache_seconds`, by the hash of all that was asked. No more than `concurrency` questions are
    open at once; the others wait for their turn, at most `timeout` seconds in all.

    Args:
        url: Where to ask.
        secret: What questions are signed with.
        client: What to ask with.
        timeout: Seconds, from the knock to the last byte of the answer.
        cache_seconds: How long an answer counts for the next who asks the same; 0 for not at all.
        concurrency: How many questions may be open.
        failures: After so many failures in a row nobody asks for `pause_seconds`.
        pause_seconds: How long that is.
        wall: Seconds since the epoch.
        monotonic: A clock, in seconds.
    """

    def __init__(
        self,
        url: str,
        secret: bytes,
        client: httpx.AsyncClient,
        *,
        timeout: float,
        cache_seconds: float,
        concurrency: int,
        failures: int,
        pause_seconds: float,
        wall: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self._url, self._secret, self._client, self._timeout = url, secret, client, timeout
        self._keep, self._wall, self._now = cache_seconds, wall, monotonic
        self._turn = asyncio.Semaphore(concurrency)
        self._breaker = Breaker(failures, pause_seconds)
        self._cache: OrderedDict[bytes, tuple[float, Grant | type[CollabError]]] = OrderedDict()

    async def grant(self, knock: Knock) -> Grant:
        """What the application says.

        Raises:
            Unauthorized: It says 401.
            Forbidden: It says 403, or the level `none`.
            Unavailable: It says something else, or nothing in time.
        """
        if knock.token is not None and len(knock.token) > TOKEN_BYTES:
            raise Unauthorized(NOT_VALID)
        asked = {"address": knock.address, "origin": knock.origin, "room": knock.room, "token": knock.token}
        body = json.dumps(asked, sort_keys=True).encode()
        key = hashlib.sha256(body).digest()
        said = self._kept(key)
        if said is None:
            began = self._wall()
            said = await self._ask(body)
            if isinstance(said, Grant):  # what the application says after a revocation is its new word
                said = replace(said, issued=began)
            self._cache[key] = (self._now() + self._keep, said)
            self._cache.move_to_end(key)
            if len(self._cache) > CACHED:
                self._cache.popitem(last=False)
        if not isinstance(said, Grant):
            raise said(NOT_VALID if said is Unauthorized else NOT_COVERED)
        if said.expires is not None and self._wall() >= said.expires:
            raise Unauthorized(NOT_VALID)
        return said

    def _kept(self, key: bytes) -> Grant | type[CollabError] | None:
        until, said = self._cache.get(key, (-math.inf, None))
        return said if self._now() < until else None

    async def _ask(self, body: bytes) -> Grant | type[CollabError]:
        deadline = self._now() + self._timeout
        try:
            async with asyncio.timeout(self._timeout):
                await self._turn.acquire()
        except TimeoutError:
            raise Unavailable(WHAT) from None
        try:
            left = deadline - self._now()
            # With little time left a question would fail that could be answered, and count as a failure of theirs.
            if left < self._timeout / 2 or not self._breaker.allows(self._now()):
                raise Unavailable(WHAT)
            return await self._ask_now(body, left)
        finally:
            self._turn.release()

    async def _ask_now(self, body: bytes, seconds: float) -> Grant | type[CollabError]:
        timestamp = int(self._wall())
        headers = {
            "content-type": "application/json",
            TIMESTAMP: str(timestamp),
            SIGNATURE: sign(self._secret, timestamp, body),
        }
        try:
            status, answer = await ask(
                self._client,
                "POST",
                self._url,
                seconds=seconds,
                max_bytes=ANSWER_BYTES,
                body=body,
                headers=headers,
            )
            said = read_answer(status, answer)
        except (OSError, ValueError, RecursionError) as error:
            self._breaker.failed(self._now())
            log.warning("nobody decided about access", reason=str(error) or type(error).__name__)
            raise Unavailable(WHAT) from None
        self._breaker.worked()
        return said


def read_answer(status: int, body: bytes) -> Grant | type[CollabError]:
    """What an answer means: a grant, or the error to raise.

    Raises:
        ValueError: It means nothing. The text does not quote it.
    """
    if status in (401, 403):
        return Unauthorized if status == 401 else Forbidden
    if status != 200:
        raise ValueError(f"the answer has status {status}")
    try:
        said = json.loads(body)
    except ValueError:
        raise ValueError("the answer is no JSON") from None
    if not isinstance(said, dict) or not isinstance(said.get("level"), str) or said["level"] not in LEVELS:
        raise ValueError(f"the answer has no level out of {', '.join(LEVELS)}")
    level = LEVELS[said["level"]]
    if level is Level.NONE:
        return Forbidden
    return Grant(
        level,
        subject=_field(said, "subject", lambda value: isinstance(value, str) and 0 < len(value.encode()) <= TEXT_BYTES),
        expires=_field(said, "expires", _is_time),
        user=_field(said, "user", lambda value: isinstance(value, dict) and len(json.dumps(value)) <= USER_BYTES),
        may_create=_field(said, "may_create", _is_bool) is not False,
    )


def _field(said: dict[str, Any], name: str, fits: Callable[[Any], bool]) -> Any:
    value = said.get(name)
    if value is not None and not fits(value):
        raise ValueError(f"the answer's {name} is not as it should be")
    return value


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)
