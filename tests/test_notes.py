"""Notes beside the store: whole or not there, and followed."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from collab import notes
from collab.notes import Followed, files, folder_beside, name_of, read, write
from collab.store.memory import MemoryStore
from collab.store.sqlite import SQLiteStore


def test_where_they_lie(tmp_path, monkeypatch):
    monkeypatch.delenv(notes.ELSEWHERE, raising=False)
    assert folder_beside(SQLiteStore(tmp_path / "rooms.db"), "kind") == tmp_path / "rooms.db.kind"
    assert folder_beside(MemoryStore(), "kind") is None
    monkeypatch.setenv(notes.ELSEWHERE, "/notes")
    assert folder_beside(MemoryStore(), "kind") == Path("/notes/kind")


def test_written_in_whole(tmp_path, monkeypatch):
    file = tmp_path / name_of("one", ["a", 1])
    write(file, {"first": True})

    class Unwritable:
        pass

    with pytest.raises(TypeError):
        write(file, [1, Unwritable()])
    assert read(file) == {"first": True}
    assert list(files(tmp_path, ("one", "other"))) == [file]
    with pytest.raises(ValueError, match="JSON|Expecting"):
        (tmp_path / "one-x.json").write_text("{")
        read(tmp_path / "one-x.json")


def test_names_tell_notes_apart():
    names = {name_of(kind, key) for kind in ("a", "b") for key in ("x", "X", ["x"], "../x", "x" * 10_000, None)}
    assert len(names) == 12 and all(len(name) < 40 and "/" not in name for name in names)


def test_followed(tmp_path):
    folder, now = tmp_path / "folder", 0.0
    followed = Followed(folder)
    assert not followed.changed(now), "there is none yet"
    folder.mkdir()
    assert not followed.changed(now + 0.5), "looked a moment ago"
    assert followed.changed(now + 1)
    old = time.time_ns() - 60 * 10**9
    os.utime(folder, ns=(old, old))
    assert followed.changed(now + 2) and not followed.changed(now + 3)
    write(folder / "one-x.json", 1)
    assert followed.changed(now + 4)
    assert followed.changed(now + 5), "another change in the same instant would leave no trace of its own"
