"""The shape of the project: every module has its tests, and none grows too long."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

import collab

ROOT = Path(__file__).parents[1]
COLLAB = ROOT / "collab"
TESTS = ROOT / "tests"
MODULES = sorted(COLLAB.rglob("*.py"), key=str)
LONGEST = 400

# Tested where what they do shows.
ELSEWHERE = {"__main__.py": "cli/test_app.py"}


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def expected(module: Path) -> list[Path]:
    """Where a module's tests may be; none for a package's `__init__` that only gathers names."""
    inside = module.relative_to(COLLAB)
    if str(inside) in ELSEWHERE:
        return [TESTS / ELSEWHERE[str(inside)]]
    if inside.name != "__init__.py":
        return [TESTS / inside.parent / f"test_{inside.stem}.py"]
    if not any(isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) for node in tree(module).body):
        return []
    name = inside.parent.name or "init"
    return [TESTS / inside.parent.parent / f"test_{name}.py", TESTS / inside.parent / f"test_{name}.py"]


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(COLLAB)))
def test_every_module_has_its_tests(module):
    places = expected(module)
    assert not places or any(place.exists() for place in places), f"write {places[0].relative_to(ROOT)}"


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(COLLAB)))
def test_no_module_is_too_long(module):
    length = len(module.read_text("utf-8").splitlines())
    functions = sorted(
        (
            ((node.end_lineno or 0) - node.lineno + 1, node.name)
            for node in ast.walk(tree(module))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        ),
        reverse=True,
    )
    listing = "\n".join(f"{lines:5} {name}" for lines, name in functions)
    assert length <= LONGEST, f"{module.name} has {length} lines and is asking to be two:\n{listing}"


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(COLLAB)))
def test_every_module_says_what_it_is(module):
    assert ast.get_docstring(tree(module))


def test_one_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["version"] == collab.__version__


def test_names_that_say_nothing():
    """A class that needs one of these words has no job yet."""
    empty = ("Manager", "Handler", "Service", "Util", "Helper", "Base", "Context", "Payload", "Data")
    found = [
        f"{module.relative_to(ROOT)}: {node.name}"
        for module in MODULES
        for node in ast.walk(tree(module))
        if isinstance(node, ast.ClassDef) and node.name.lstrip("_").endswith(empty)
    ]
    assert found == []
