"""The public names: there, documented, and imported only when they are used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import collab


@pytest.mark.parametrize("name", collab.__all__)
def test_every_public_name_is_there_and_says_what_it_is(name):
    assert getattr(collab, name).__doc__


def test_no_other_name_is_there():
    with pytest.raises(AttributeError, match="has no attribute 'Rooms'"):
        _ = collab.Rooms
    with pytest.raises(ImportError):
        from collab import Rooms  # noqa: F401


def test_importing_is_cheap():
    script = "import sys, collab; print([name for name in ('pycrdt', 'hypercorn', 'starlette') if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.strip() == "[]"
