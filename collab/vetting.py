"""Long looks at what came or was stored, on another thread: the event loop gets every other turn meanwhile.

To look through a document of 5 MB takes 0.6 s, three times what yrs then takes to apply it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar

from .wire import vet
from .wire.vet import Extent

T = TypeVar("T")
Args = TypeVarTuple("Args")

LONG = 32 * 1024
"""Bytes that are not looked through on the event loop: some milliseconds of work, 30 at the worst."""

_turn: RunVar[CapacityLimiter] = RunVar("vetting")


async def extent(update: bytes) -> Extent:
    """What `update` covers and needs.

    Raises:
        BadUpdate: It is not a well-formed update of the first version.
    """
    return await aside(len(update), vet.parse, update)


async def aside(size: int, call: Callable[[*Args], T], *args: *Args) -> T:
    """`call(*args)`, which looks through `size` bytes: one at a time where they are many."""
    if size < LONG:
        return call(*args)
    limiter = _turn.get(None)
    if limiter is None:  # two at a time would leave the loop every third turn
        limiter = CapacityLimiter(1)
        _turn.set(limiter)
    return await to_thread.run_sync(call, *args, limiter=limiter)
