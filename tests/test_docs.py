"""The documentation says what the code does: pages made from it are current, and what pages name exists."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from collab.errors import CollabError
from collab.metrics import Metrics
from collab.settings import OLDER_NAMES, PREFIX, every_setting
from docs import generate

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs" / "reference"
PAGES = sorted(path for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
COMMANDS = {call.removeprefix("collab "): (text, params) for call, text, params in generate.every_command()}


def page(name: str) -> str:
    return (REFERENCE / f"{name}.md").read_text("utf-8")


@pytest.mark.parametrize("path", generate.pages(), ids=lambda path: path.name)
def test_generated_pages_are_current(path):
    assert path.read_text("utf-8") == generate.pages()[path], "run: make docs"


def test_generating_needs_nothing_from_the_environment(monkeypatch):
    pages = generate.pages()
    monkeypatch.setenv("COLLAB_SERVER__PORT", "nonsense")
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert generate.pages() == pages


def test_check(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sys, "argv", ["generate.py", "--check"])
    assert generate.main() == 0
    monkeypatch.setattr(generate, "FOLDER", tmp_path / "reference")
    assert generate.main() == 1
    assert "run: make docs" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["generate.py"])
    assert generate.main() == 0
    monkeypatch.setattr(sys, "argv", ["generate.py", "--check"])
    assert generate.main() == 0
    (tmp_path / "reference" / "cli.md").write_text("old")
    assert generate.main() == 1


def test_check_as_a_script():
    script = ROOT / "docs" / "generate.py"
    done = subprocess.run([sys.executable, script, "--check"], env={"PYTHONPATH": str(ROOT)}, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize("setting", every_setting(), ids=lambda setting: setting.name)
def test_every_setting_is_documented(setting):
    assert f"`{setting.variable}`" in page("settings")
    assert setting.description in page("settings")
    if setting.name in OLDER_NAMES:
        assert f"`{OLDER_NAMES[setting.name]}`" in page("settings")


def test_every_metric_is_documented():
    """As it appears on `/metrics`, not as the library calls it inside."""
    body = Metrics().render()[0].decode()
    names = {name for name, _ in re.findall(r"^# TYPE (collab_\w+) (\w+)$", body, re.MULTILINE)}
    assert names == set(re.findall(r"^\| `(\w+)`", page("metrics"), re.MULTILINE))


def test_every_error_is_documented():
    names = [error.__name__ for _, error in generate.tree(CollabError)]
    assert re.findall(r"^\| (?:&nbsp;)*`(\w+)`", page("errors"), re.MULTILINE) == names


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_documented_and_has_help(name):
    text, params = COMMANDS[name]
    assert text
    assert f"## `collab {name}" in page("cli")
    assert [spelled for spelled, meaning in params if not meaning] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_pages_name_exists(path):
    text = path.read_text("utf-8")
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert {target for target in re.findall(r"(?:^ +|`)make ([a-z]+)", text, re.MULTILINE)} <= targets
    commands = {word for word in re.findall(r"(?:^ +|`)collab ([a-z][a-z-]*)", text, re.MULTILINE)}
    assert commands <= {name.partition(" ")[0] for name in COMMANDS}
    variables = set(re.findall(rf"\b{PREFIX}[A-Z_]+\b", text))
    known = {setting.variable for setting in every_setting()}
    assert {name for name in variables if name not in known and not name.endswith("_")} - {
        "COLLAB_SECTION__FIELD"
    } == set()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text("utf-8")):
        if "://" not in link and not link.startswith("mailto:"):
            assert (path.parent / link).exists(), link


def test_code_refers_to_pages_that_exist():
    for module in (ROOT / "collab").rglob("*.py"):
        for name in re.findall(r"docs/[\w/]+\.md", module.read_text("utf-8")):
            assert (ROOT / name).exists(), f"{module.name} refers to {name}"
