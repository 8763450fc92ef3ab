"""What the server is made of: its list, and that no licence among it would surprise whoever ships it."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from email.message import Message
from importlib.machinery import SourceFileLoader
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements.lock"
_spec = importlib.util.spec_from_loader("licences", SourceFileLoader("licences", str(ROOT / ".ci" / "licences")))
assert _spec is not None and _spec.loader is not None
licences = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(licences)


def test_all_are_allowed(capsys):
    assert licences.main([]) == 0, capsys.readouterr().out
    assert len(capsys.readouterr().out.splitlines()) > 30


@pytest.mark.parametrize(
    "bad", ["GPL-3.0-only", "AGPL-3.0-or-later", "MIT AND LGPL-3.0-only", "SSPL-1.0", "UNKNOWN", ""]
)
def test_what_is_not(bad):
    assert not licences.allowed(bad)


@pytest.mark.parametrize(
    "good", ["MIT", "MIT OR Apache-2.0", "GPL-2.0-only OR MIT", "Apache-2.0 AND (MIT OR GPL-3.0-only)"]
)
def test_what_is(good):
    assert licences.allowed(good)


def test_classifiers_count_where_there_is_no_expression():
    about = Message()
    about["License"] = "see the file"
    about["Classifier"] = "License :: OSI Approved :: GNU General Public License v3 (GPLv3)"
    assert not licences.allowed(licences.licence(about))


def test_the_list_of_materials(tmp_path):
    done = subprocess.run(
        [
            *(sys.executable, "-m", "cyclonedx_py", "requirements", str(LOCK)),
            *("--pyproject", str(ROOT / "pyproject.toml"), "--output-reproducible", "-o", str(tmp_path / "sbom.json")),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "sbom.json").read_text("utf-8"))
    assert found["metadata"]["component"]["name"] == "collab"
    locked = set(re.findall(r"^([\w.-]+)(?:\[[^]]*\])?==", LOCK.read_text("utf-8"), re.MULTILINE))
    assert {one["name"] for one in found["components"]} == locked
