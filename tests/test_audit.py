"""`.ci/audit` never calls "not looked at" fine."""

from __future__ import annotations

import importlib.machinery
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[1] / ".ci" / "audit"
BUG = "starlette 0.40.0: GHSA-2c2j-9gv5-cj73"


@pytest.fixture
def audit() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("audit", str(SCRIPT))
    spec = importlib.util.spec_from_loader("audit", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("canary", "lock", "required", "code", "words"),
    [
        (([], 0, ""), None, "", 0, "NOT AUDITED"),
        (([], 1, ""), None, "", 0, "NOT AUDITED"),  # the service answers, and knows nothing
        (([], 0, "no network"), None, "required", 1, "NOT AUDITED"),
        (([BUG], 1, ""), ([], 90, ""), "", 0, "90 packages audited, 0 vulnerabilities known"),
        (([BUG], 1, ""), ([BUG], 90, ""), "", 1, BUG),
        (([BUG], 1, ""), ([], 0, ""), "", 1, "0 packages audited"),
        (([BUG], 1, ""), ([], 0, "no answer"), "", 1, "no answer"),
    ],
)
def test_what_is_said(audit, monkeypatch, capsys, canary, lock, required, code, words):
    answers = [canary, lock]
    monkeypatch.setattr(audit, "audit", lambda *asked: answers.pop(0))
    monkeypatch.setenv("AUDIT", required)
    assert audit.main(["some.lock"]) == code
    assert words in capsys.readouterr().out
