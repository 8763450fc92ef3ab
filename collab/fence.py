"""One fence round every call into the document library.

yrs reports what it cannot cope with by a panic, which pyo3 turns into a `BaseException`: it would walk past every
`except Exception` and end the process. Synchronous; no I/O, no clock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

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


def fenced(call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """`call(*args, **kwargs)`, where whatever it raises comes out as `Panic`.

    Cancellation, Ctrl+C and exit are no failures and pass.
    """
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
