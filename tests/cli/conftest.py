"""Commands run in this process, in an empty folder, with no settings from outside."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from typer.testing import CliRunner, Result

from collab.cli import app
from collab.settings import OLDER_NAMES, PREFIX

Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.upper().startswith(PREFIX) or name in OLDER_NAMES.values():
            monkeypatch.delenv(name)
    monkeypatch.setenv("COLLAB_SERVER__SUPERVISOR", "no")  # it would take the place of the process that runs the tests
    monkeypatch.setenv("COLUMNS", "160")  # how wide tables are must not hang on who runs the tests
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def collab() -> Run:
    """`collab("rooms", "--json", COLLAB_FOO="1")` runs the command and gives its result."""

    def run(*arguments: str, **variables: str) -> Result:
        return CliRunner().invoke(app, arguments, env=variables)

    return run
