"""The questions whether a client may come in somewhere that are not answered yet."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import anyio

from .auth import Grant
from .errors import CollabError, Unavailable
from .log import Logger


class Decisions:
    """Waits for the answers about one place. A better token may be shown meanwhile: every grant counts, but of those
    who say no only the last one that was asked.

    Args:
        start_soon: Runs something in the background.
        log: Where it is told that no answer could be found.
        admit: Told of a grant.
        deny: Told why not.
        done: Called when nothing more comes of one question.

    Attributes:
        waiting: How many answers are waited for.
    """

    def __init__(
        self,
        start_soon: Callable[[Callable[..., Coroutine[Any, Any, None]], Awaitable[Grant], int], None],
        log: Logger,
        admit: Callable[[Grant], None],
        deny: Callable[[CollabError], None],
        done: Callable[[], None],
    ) -> None:
        self.waiting = 0
        self._start_soon = start_soon
        self._log = log
        self._admit = admit
        self._deny = deny
        self._done = done
        self._asked = 0
        self._scopes: set[anyio.CancelScope] = set()
        self._given_up = False

    def ask(self) -> None:
        """Another token is shown: what is answered to an earlier one, if it is a no, does not count any more."""
        self._asked += 1

    def wait(self, answer: Awaitable[Grant]) -> None:
        """The `answer` to the last question will come."""
        self.waiting += 1
        self._start_soon(self._wait, answer, self._asked)

    async def _wait(self, answer: Awaitable[Grant], number: int) -> None:
        with anyio.CancelScope() as scope:  # whoever waits holds on to the connection and all of its buffers
            self._scopes.add(scope)
            if self._given_up:
                scope.cancel()
            await self._decide(answer, number)
        self._scopes.discard(scope)
        if scope.cancelled_caught:
            self.waiting -= 1
        self._done()

    async def _decide(self, answer: Awaitable[Grant], number: int) -> None:
        try:
            found: Grant | CollabError = await answer
        except CollabError as error:
            found = error
        except Exception:
            self._log.exception("access could not be decided")
            found = Unavailable("access control")
        self.waiting -= 1
        if isinstance(found, Grant):
            self._admit(found)
        elif number == self._asked:  # else a better token was shown meanwhile
            self._deny(found)

    def give_up(self) -> None:
        """Nothing depends on the answers any more."""
        self._given_up = True
        for scope in self._scopes:
            scope.cancel()
