"""What all commands share."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from collab import __version__
from collab.cli.app import existing_store, store_file
from collab.errors import SettingsError
from collab.store.memory import MemoryStore


def test_version(collab):
    result = collab("--version")
    assert (result.exit_code, result.stdout) == (0, f"collab {__version__}\n")


def test_help_names_every_command(collab):
    result = collab("--help")
    assert result.exit_code == 0
    for command in ("compact", "doctor", "export", "rooms", "serve", "verify"):
        assert command in result.stdout


@pytest.mark.parametrize("command", [["--help"], ["--version"], ["token", "--help"], ["snapshot", "--help"]])
def test_who_only_asks_does_not_wait_for_a_web_server(command):
    look = (
        "import sys\n"
        "from collab.cli import app\n"
        "try:\n    app(sys.argv[1:])\n"
        "except SystemExit as done:\n    assert not done.code, done\n"
        "heavy = {'fastapi', 'hypercorn', 'picows', 'collab.web', 'collab.hub'} & sys.modules.keys()\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", look, *command], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_no_command_is_a_mistake(collab):
    assert collab().exit_code == 2
    assert collab("bake").exit_code == 2


def test_an_error_is_one_sentence_and_its_exit_code(collab):
    result = collab("rooms", WS_PORT="x")
    assert result.exit_code == 2
    assert result.stderr == "WS_PORT is 'x', but it should be a whole number\n"
    assert result.stdout == ""


def test_square_brackets_are_no_markup(collab):
    result = collab("rooms", "--store", "[red]x:")
    assert "[red]x:" in result.stderr


def test_as_a_module(tmp_path):
    here = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-m", "collab", "--version"]
    done = subprocess.run(command, env=here, capture_output=True, text=True, check=True)
    assert done.stdout == f"collab {__version__}\n"


def test_looking_at_a_store_does_not_make_one(tmp_path):
    with pytest.raises(SettingsError, match="data/collab.db does not exist"):
        existing_store(None)
    assert list(tmp_path.iterdir()) == []


def test_a_store_without_a_file():
    assert isinstance(existing_store("memory:"), MemoryStore)
    assert store_file(MemoryStore()) is None
