"""What the document library raises comes out as one kind of error; what is no failure passes."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from collab.errors import CollabError
from collab.fence import Panic, fenced


class PanicException(BaseException):
    """As pyo3 names it; its own cannot be made from Python."""


def fail(error: BaseException) -> None:
    raise error


def test_what_works_is_handed_through():
    assert fenced(max, 1, 3, 2) == 3
    assert fenced(sorted, [2, 1], reverse=True) == [2, 1]


@pytest.mark.parametrize(
    "error", [PanicException("attempt to divide by zero"), RuntimeError("a quote"), ValueError("a quote")]
)
def test_failures_become_panics(error):
    with pytest.raises(Panic) as caught:
        fenced(fail, error)
    assert isinstance(caught.value, CollabError)
    assert caught.value.cause == type(error).__name__
    assert caught.value.__cause__ is error
    assert str(error) not in str(caught.value), "what yrs says may quote the document"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), asyncio.CancelledError(), GeneratorExit()])
def test_what_is_no_failure_passes(error):
    with pytest.raises(type(error)):
        fenced(fail, error)


def test_a_real_panic_of_yrs():
    """A zero-length block (which vetting refuses) applies, and every later encoding panics."""
    script = """
from pycrdt import Doc
from collab.fence import Panic, fenced
doc = Doc()
try:
    fenced(doc.apply_update, bytes.fromhex("01011401000000"))
    fenced(doc.get_update)
except Panic as panic:
    print("caught", panic.cause)
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert result.stdout.strip() == "caught PanicException", result.stderr[-500:]


def test_a_fence_within_a_fence_keeps_the_cause():
    with pytest.raises(Panic) as caught:
        fenced(fenced, fail, PanicException())
    assert caught.value.cause == "PanicException"
