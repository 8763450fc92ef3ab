"""`collab quarantine`: listed, shown, released, in words and as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from collab.deaths import Entry, entries
from collab.notes import write

ROOM = Entry("room", "minutes", "load", "the server ended 2 times while it read it from the store (SIGSEGV)", 0.0)
UPDATE = Entry("update", "a\u202eb", "tick", "the server ended", 60.0, "ana", ("aa",), ((7, 0, 3),), "0102")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "rooms.db").touch()
    monkeypatch.setenv("COLLAB_STORE__URL", "sqlite:///rooms.db")
    folder = tmp_path / "rooms.db.crashes"
    folder.mkdir()
    for entry in (UPDATE, ROOM):
        write(folder / entry.file, asdict(entry))
    return folder


def test_list(collab, folder):
    result = collab("quarantine", "list")
    assert result.exit_code == 0
    assert "2 set aside" in result.stdout and "minutes" in result.stdout and "1970-01-01 00:01:00" in result.stdout
    assert "\u202e" not in result.stdout
    listed = json.loads(collab("quarantine", "list", "--json").stdout)
    assert [line["kind"] for line in listed] == ["room", "update"]


def test_show(collab, folder):
    result = collab("quarantine", "show", UPDATE.room)
    assert "author: ana" in result.stdout and "structs: 7: 0 to 2" in result.stdout and "update: 0102" in result.stdout
    [shown] = json.loads(collab("quarantine", "show", "minutes", "--json").stdout)
    assert shown["why"] == ROOM.why


def test_release(collab, folder):
    assert "released: room" in collab("quarantine", "release", "minutes").stdout
    assert entries(folder) == [UPDATE]
    assert json.loads(collab("quarantine", "release", UPDATE.room, "--json").stdout)[0]["update"] == "0102"
    assert entries(folder) == []


@pytest.mark.parametrize("command", ["show", "release"])
def test_a_room_that_is_not_set_aside(collab, folder, command):
    result = collab("quarantine", command, "another")
    assert result.exit_code == 1 and "there is no room 'another'" in result.stderr


def test_a_store_without_a_place_for_it(collab, monkeypatch):
    monkeypatch.delenv("_COLLAB_NOTES", raising=False)
    result = collab("quarantine", "list", "--store", "memory:")
    assert result.exit_code == 2 and "--store" in result.stderr
