"""One fence round every call into the document library.

yrs reports what it cannot cope with by a panic, which pyo3 turns into a `BaseException`: it would walk past every
`except Exception` and end the process. Synchronous; no I/O, no clock.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import ParamSpec, Protocol, TypeVar

from .errors import CollabError

P = ParamSpec("P")
R = TypeVar("R")


class Panic(CollabError):
    """The document library failed. The document that it happened to cannot be trusted any more."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(type(cause).__name__)
        self.cause = type(cause).__name__

    def __str__(self) -> str:
        return f"the document library failed ({self.cause})"


class Note(Protocol):
    """Somebody who writes down what is in hand while the library works, for the case that the process ends there."""

    def begin(self) -> int:
        """The library is about to be called; returns what `end` is to be given."""

    def end(self, place: int) -> None:
        """It has returned."""


noted: ContextVar[Note | None] = ContextVar("noted", default=None)
"""Who is told of each call, in the task that runs."""


def fenced(call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """`call(*args, **kwargs)`, where whatever it raises comes out as `Panic`.

    Cancellation, Ctrl+C and exit are no failures and pass.
    """
    note = noted.get()
    if note is None:
        return _fenced(call, *args, **kwargs)
    place = note.begin()
    try:
        return _fenced(call, *args, **kwargs)
    finally:
        note.end(place)


def _fenced(call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    try:
        return call(*args, **kwargs)
    except Panic:  # of a fence further inside
        raise
    except Exception as error:
        raise Panic(error) from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise Panic(error) from error
