"""What the event loop and hypercorn report when something fails beneath our own code: through a throttle.

Each of their reports comes with a traceback of some kilobytes, and what a client caused once it can cause for ever.
They are written like all that clients could repeat: one line of each kind in a while, and how many more there were.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from ..log import Throttle

LOGGERS = ("asyncio", "hypercorn.error")
REASON = 200
"""Longest reason, in characters; what the loop adds on further lines are its own objects."""


@contextmanager
def calmed(floods: Throttle) -> Iterator[None]:
    """Meanwhile their warnings and errors go through `floods`; what is less than that is written as ever."""
    through = _Through(floods)
    loggers = [logging.getLogger(name) for name in LOGGERS]
    for logger in loggers:
        logger.addFilter(through)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(through)


class _Through(logging.Filter):
    """Lets nothing pass that it has handed on."""

    def __init__(self, floods: Throttle) -> None:
        super().__init__()
        self.floods = floods

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        error = record.exc_info[1] if record.exc_info else None
        reason = record.getMessage().partition("\n")[0][:REASON]
        self.floods.log(
            "error" if record.levelno >= logging.ERROR else "warning",
            "trouble underneath",
            key=(record.name, reason if error is None else _kind(error)),
            source=record.name,
            reason=reason,
            exc_info=record.exc_info or None,
        )
        return False


def _kind(error: BaseException) -> tuple[object, ...]:
    """The same for what failed in the same way at the same place, whatever its text says."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    place = None if at is None else (at.tb_frame.f_code.co_filename, at.tb_lineno)
    return type(error), place
