"""`collab revoke`: beside the store, in words and as JSON."""

from __future__ import annotations

import json
import time

import pytest

from collab.revoked import entries


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "rooms.db").touch()
    monkeypatch.setenv("COLLAB_STORE__URL", "sqlite:///rooms.db")
    monkeypatch.delenv("_COLLAB_NOTES", raising=False)
    return tmp_path / "rooms.db.revoked"


def test_by_subject_and_by_token(collab, folder):
    assert collab("revoke", "--sub", "ana").stdout == "subject ana revoked\n"
    made = json.loads(collab("revoke", "--jti", "t\u202e1", "--for", "1h", "--json").stdout)
    assert [(one["kind"], one["name"]) for one in made] == [("token", "t\u202e1")]
    assert abs(made[0]["until"] - time.time() - 3600 - 30) < 10, "with the leeway that its end has"
    assert [entry.name for entry in entries(folder)] == ["ana", "t\u202e1"]
    assert entries(folder)[0].until > time.time() + 9 * 365 * 24 * 3600
    both = collab("revoke", "--sub", "ben", "--jti", "t2")
    assert both.stdout == "subject ben revoked\ntoken t2 revoked\n"


def test_list(collab, folder):
    assert "0 revoked" in collab("revoke", "list").stdout
    collab("revoke", "--sub", "a\u202eb")
    shown = collab("revoke", "list").stdout
    assert "1 revoked" in shown and "a\\u202eb" in shown and "\u202e" not in shown
    [listed] = json.loads(collab("revoke", "list", "--json").stdout)
    assert listed["name"] == "a\u202eb" and listed["kind"] == "subject"


@pytest.mark.parametrize("options", [(), ("--sub", ""), ("--jti", ""), ("--sub", "ana", "--for", "soon")])
def test_refused(collab, folder, options):
    result = collab("revoke", *options)
    assert result.exit_code == 2 and result.stdout == "" and not folder.exists()


def test_a_store_without_a_place_for_it(collab, folder):
    result = collab("revoke", "--sub", "ana", "--store", "memory:")
    assert result.exit_code == 2 and "--store" in result.stderr
    missing = collab("revoke", "--sub", "ana", "--store", "sqlite:///other.db")
    assert missing.exit_code == 2 and "does not exist" in missing.stderr
