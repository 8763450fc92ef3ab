"""Waiting for something that has no event of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


async def until(predicate: Callable[[], object], what: str | Callable[[], str], within: float = 5.0) -> None:
    """Wait until `predicate()` holds.

    Raises:
        AssertionError: it does not within so many seconds; the message says for `what` it was waited.
    """
    deadline = time.monotonic() + within
    while not predicate():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {within:g} s for {what if isinstance(what, str) else what()}")
        await asyncio.sleep(0.01)
