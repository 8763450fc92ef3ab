"""What is revoked is kept until it cannot count any more, is read again, and is followed."""

from __future__ import annotations

import time
from dataclasses import asdict

import anyio
import pytest

from collab.auth import Grant, Level
from collab.errors import SettingsError, TooMany
from collab.notes import write
from collab.revoked import Entry, Revoked, entries, folder_of, note
from collab.store.memory import MemoryStore
from collab.store.sqlite import SQLiteStore
from tests.support.waiting import until

pytestmark = pytest.mark.anyio
NOW = 1_000.0


@pytest.fixture
def store(tmp_path, monkeypatch) -> SQLiteStore:
    monkeypatch.delenv("_COLLAB_NOTES", raising=False)
    return SQLiteStore(tmp_path / "rooms.db")


def of(subject=None, token_id=None, issued=None) -> Grant:
    return Grant(Level.WRITE, subject=subject, token_id=token_id, issued=issued)


def test_kept_beside_the_store_until_nothing_counts_any_more(store):
    folder = folder_of(store)
    assert folder is not None and folder.name == "rooms.db.revoked" and entries(folder) == []
    note(folder, Entry("subject", "ana", NOW, NOW + 10))
    note(folder, Entry("token", "ana", NOW + 1, NOW + 100))
    assert [(entry.kind, entry.name) for entry in entries(folder)] == [("subject", "ana"), ("token", "ana")]
    note(folder, Entry("subject", "ben", NOW + 11, NOW + 100))
    assert [entry.name for entry in entries(folder)] == ["ana", "ben"] and len(list(folder.iterdir())) == 2


def test_a_second_one_takes_nothing_back(store):
    folder = folder_of(store)
    assert folder is not None
    note(folder, Entry("subject", "ana", NOW, NOW + 100))
    note(folder, Entry("subject", "ana", NOW + 5, NOW + 50))
    assert entries(folder) == [Entry("subject", "ana", NOW + 5, NOW + 100)]


def test_full_is_said(store):
    folder = folder_of(store)
    assert folder is not None
    for number in range(2):
        note(folder, Entry("token", f"t{number}", NOW, NOW + 100), size=2)
    with pytest.raises(TooMany, match="revoked tokens"):
        note(folder, Entry("token", "t2", NOW, NOW + 100), size=2)
    note(folder, Entry("token", "t1", NOW, NOW + 200), size=2)
    note(folder, Entry("subject", "t2", NOW, NOW + 100), size=2)


@pytest.mark.parametrize("content", ["", "[]", '{"kind": "token"}'])
def test_a_note_that_cannot_be_read_is_no_reason_to_let_somebody_in(store, content):
    folder = folder_of(store)
    assert folder is not None
    folder.mkdir()
    (folder / "token-0.json").write_text(content)
    with pytest.raises(SettingsError, match="token-0"):
        Revoked().open(store)


async def test_survives_and_covers(store):
    first, later = Revoked(), time.time() + 3600
    first.open(store)
    await first.add(Entry("token", "t1", time.time(), later))
    await first.add(Entry("subject", "ana", NOW, later))
    for revoked in (first, second := Revoked()):
        if revoked is second:
            second.open(store)
        assert revoked.covers(of(token_id="t1")) and revoked.covers(of("ana", issued=NOW))
        assert not revoked.covers(of("ana", issued=NOW + 1)) and not revoked.covers(of("ben", "t2"))


async def test_followed(store):
    revoked, heard, folder = Revoked(), list[bool](), folder_of(store)
    assert folder is not None
    revoked.open(store)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(revoked.follow, lambda: heard.append(revoked.covers(of("ana"))))
        await anyio.sleep(0.3)
        assert heard == []
        note(folder, Entry("subject", "ana", time.time(), time.time() + 60))
        await until(lambda: True in heard, "the revocation", 3)
        write(folder / "token-1.json", "nonsense")
        note_of_ben = Entry("subject", "ben", time.time(), time.time() + 60)
        write(folder / note_of_ben.file, asdict(note_of_ben))
        await anyio.sleep(1.5)
        assert revoked.covers(of("ana")) and not revoked.covers(of("ben")), "and goes on when that is repaired"
        (folder / "token-1.json").unlink()
        await until(lambda: revoked.covers(of("ben")), "the other one", 3)
        tasks.cancel_scope.cancel()


async def test_without_a_file_it_lasts_as_long_as_the_process(monkeypatch):
    monkeypatch.delenv("_COLLAB_NOTES", raising=False)
    revoked = Revoked()
    revoked.open(MemoryStore())
    await revoked.add(Entry("token", "t1", time.time(), time.time() + 60))
    await revoked.follow(lambda: None)
    assert revoked.covers(of(token_id="t1"))
