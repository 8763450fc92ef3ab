"""Faults: each case measures something, prints it, and passes when it was measured and is what was promised."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.told import Told
from tests.support import raw
from tests.support.figures import figure, pytest_terminal_summary

__all__ = ["figure", "pytest_terminal_summary"]


@pytest.fixture(autouse=True)
def no_socket_outlives_its_test(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A test that failed half-way leaves its clients behind: they are closed, so that only its own failure is shown."""
    made: list[raw.Raw] = []
    begin = raw.Raw.__init__

    def noted(self: raw.Raw, *args: Any) -> None:
        begin(self, *args)
        made.append(self)

    monkeypatch.setattr(raw.Raw, "__init__", noted)
    yield
    for one in made:
        one.fin()


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Callable[..., Told]]:
    """Makes servers on reporting stores, in the scratch folder of the test; none outlives it."""
    made: list[Told] = []

    def make(**options: Any) -> Told:
        folder = tmp_path / f"server-{len(made)}"
        folder.mkdir()
        made.append(Told(folder, **options))
        return made[-1]

    yield make
    for server in made:
        server.close()
