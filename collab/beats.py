"""What is done once a second for every room and every client, a few at a time.

One after the other without a pause, the beats of 2,000 clients in 1,000 rooms held up everybody else for 15 ms each
second (tests/bench, W2b), and those of 10,000 clients for five times as long.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import anyio
from anyio.lowlevel import checkpoint as let_others_run

from .log import get_logger

log = get_logger(__name__)

Beat = Callable[[float], object]
"""Called with the monotonic time."""

BEAT_SECONDS = 1.0
"""How often presence expires, liveness is looked at and missing updates are asked for again."""
TURN_SECONDS = 0.0005
"""How long at once: as much as the processor needs for some ten edits."""
SHARE = 0.05
"""Or so much of the time that the others just took: in a server that is overloaded the beats of 10,000 clients would
else take many seconds to come round."""


async def beat_on(beating: Callable[[], Iterable[Beat]], late: Callable[[float], None]) -> None:
    """Call each of `beating()`, once a second, for ever.

    Args:
        beating: Makes them one by one: whose turn comes later may be gone by then.
        late: Told by how many seconds the event loop was late.
    """
    while True:
        due = time.monotonic() + BEAT_SECONDS
        await anyio.sleep(BEAT_SECONDS)
        late(max(0.0, time.monotonic() - due))
        await in_turns(beating())


async def in_turns(beats: Iterable[Beat]) -> None:
    """Call each, and let others run now and then."""
    began, turn = time.monotonic(), TURN_SECONDS
    for beat in beats:
        try:
            beat(time.monotonic())
        except Exception:  # one client's trouble is not everybody's
            log.exception("beat failed")
        ended = time.monotonic()
        if ended - began > turn:
            await let_others_run()
            began = time.monotonic()
            turn = max(TURN_SECONDS, SHARE * (began - ended))
