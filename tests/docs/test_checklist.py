"""The production checklist names nothing that is not there, and leaves no line without a place."""

from __future__ import annotations

import re

import pytest

from docs.generate import every_command
from tests.docs.blocks import DOCS, table
from tests.support.server import REPO

PAGE = DOCS / "checklist.md"
TEXT = PAGE.read_text("utf-8")
SECTIONS = [
    *("Security", "Configuration", "Infrastructure", "Monitoring", "Performance", "Reliability", "Testing"),
    *("Documentation", "Compliance", "Deployment", "After the deployment", "Maintenance"),
]


def test_sections():
    assert re.findall(r"^## (.*)$", TEXT, re.MULTILINE) == SECTIONS
    assert TEXT.count("**Yours:**") == len(SECTIONS)


def test_every_line_has_a_place():
    rows = table(PAGE, "where")
    assert len(rows) > 40
    assert [row["line"] for row in rows if not row["where"]] == []


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`([\w./-]*[./][\w./-]*)`", TEXT))))
def test_paths(name):
    assert name.startswith("/") or (REPO / name).is_file()


def test_targets_and_commands():
    makefile = (REPO / "Makefile").read_text("utf-8")
    targets = {f"make {name}" for name in re.findall(r"^([a-z]+):", makefile, re.MULTILINE)}
    commands = {" ".join(call.split()[:2]) for call, _, _ in every_command()}
    proofs = " ".join(row["proof"] for row in table(PAGE, "proof"))
    named = set(re.findall(r"\b(?:make|collab) [a-z-]+", proofs))
    assert named <= targets | commands
