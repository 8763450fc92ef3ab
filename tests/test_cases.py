"""`make abuse`: every required case has a test, and one that shows no figure fails the run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import cases

TESTS = Path(__file__).parent
MARKED = {
    case
    for path in TESTS.rglob("test_*.py")
    if "node_modules" not in path.parts and path != Path(__file__)
    for marks in re.findall(r"mark\.case\(([^)]*)\)", path.read_text("utf-8"))
    for case in re.findall(r'"(\w+)"', marks)
}


@pytest.mark.parametrize("case", cases.REQUIRED)
def test_every_case_has_its_test(case):
    assert case in MARKED


def test_a_figure_counts_for_what_it_names():
    assert cases.meant("F01, F03: 4 kinds", ("F01", "F02", "F03")) == ["F01", "F03"]
    assert cases.meant("4 kinds", ("F01", "F02")) == ["F01", "F02"]
    assert cases.meant("F010: 4 kinds", ()) == []


def test_the_table():
    figures = {case: [f"{case}: 0 of 3"] for case in cases.REQUIRED if case != "S02"} | {"A01": ["two", "A01: one"]}
    assert cases.missing(figures) == ["S02"]
    lines = cases.table(figures, failed=["two"])
    assert "A02  | 0 of 3" in lines and "A01  | FAILED: two" in lines and "A01  | one" in lines
    assert [line for line in lines if "NO FIGURE" in line] == [line for line in lines if line.startswith("S02")]
    assert cases.missing(figures | {"S02": ["measured"]}) == []


BODY = """
import pytest

@pytest.mark.case("A01")
def test_one(figure):
    figure("A01: 0 of 7")

@pytest.mark.case("A03")
def test_skipped(figure):
    pytest.skip("nothing to run it with")

def test_other():
    assert False
"""
CONFTEST = """
import sys
sys.path.insert(0, {root!r})
from tests.support import cases
cases.REQUIRED = {required}
pytest_plugins = ["tests.conftest"]
"""


@pytest.mark.parametrize(
    ("required", "code", "words"),
    [
        (("A01",), 0, "A01  | 0 of 7"),
        (("A01", "A02"), 1, "FAILED: no figure for A02"),
        (("A01", "A03"), 1, "A03  | NO FIGURE"),
    ],
)
def test_the_run_fails_where_a_figure_is_missing(tmp_path, required, code, words):
    """A02 has no test, that of A03 is skipped; what has no case does not run."""
    (tmp_path / "conftest.py").write_text(CONFTEST.format(root=str(TESTS.parent), required=required))
    (tmp_path / "test_it.py").write_text(BODY)
    command = [sys.executable, "-m", "pytest", "--abuse", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    assert words in done.stdout
