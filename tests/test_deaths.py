"""What follows from what was in hand, and the files."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
from pycrdt import Doc, Text

from collab.deaths import Death, Entry, common, deaths_in, entries, folder_of, release, structs_of, verdict
from collab.notes import write
from collab.recorder import digest_of
from collab.store.memory import MemoryStore
from collab.store.sqlite import SQLiteStore


def typed(letters: str, client: int = 7) -> bytes:
    doc: Doc = Doc(client_id=client)
    text = doc.get("text", type=Text)
    text += letters
    return doc.get_update()


def death(*updates: bytes, step: str = "tick", cause: str = "SIGSEGV", room: str = "room") -> Death:
    ranges = tuple(one for update in updates for one in structs_of(update))
    return Death(room, step, cause, time.time(), None, tuple(map(digest_of, updates)), ranges)


def test_one_death_is_no_verdict():
    assert verdict(death(typed("a")), [], []) is None


def test_what_was_in_hand_both_times_is_to_blame():
    first = death(typed("innocent", 9), typed("ab"))
    second = death(typed("abc"), typed("another", 8))
    entry = verdict(second, [first], [typed("abc"), typed("another", 8)])
    assert entry is not None
    assert (entry.kind, entry.ranges, entry.update) == ("update", ((7, 0, 2),), typed("abc").hex())
    assert "2 times" in entry.why and "SIGSEGV" in entry.why


def test_what_has_no_structs_is_known_by_its_digest():
    broken = b"not an update by the rules of now"
    entry = verdict(death(broken), [death(broken, typed("a"))], [broken])
    assert entry is not None and entry.digests == (digest_of(broken),) and entry.update == broken.hex()


@pytest.mark.parametrize(
    "other",
    [death(typed("a", 9)), death(typed("a"), room="another"), death(step="load"), death(typed("a"), step="compaction")],
)
def test_two_deaths_with_nothing_in_common(other):
    assert verdict(death(typed("a")), [other], []) is None


@pytest.mark.parametrize(("step", "kind"), [("load", "room"), ("compaction", "compaction"), ("reading", "room")])
def test_a_room_that_is_read(step, kind):
    entry = verdict(death(step=step), [death(step=step)], [])
    assert entry is not None and (entry.kind, entry.room, entry.step) == (kind, "room", step)


def test_who_was_killed_is_given_a_third_chance():
    """kill -9 and the system's own when memory is short: mostly nobody's fault who was there."""
    kills = [death(step="load", cause="SIGKILL") for _ in range(3)]
    assert verdict(kills[0], kills[1:2], []) is None
    assert verdict(kills[0], kills[1:], []) is not None
    assert verdict(kills[0], [death(step="load", cause="SIGBUS")], []) is not None


def test_what_proved_harmless_is_not_suspected_any_more():
    suspicion = death(typed("ab"), typed("innocent", 9))
    rest = suspicion.without([typed("innocent", 9)])
    assert rest is not None and rest.ranges == ((7, 0, 2),)
    rest = rest.without([typed("a")])
    assert rest is not None and rest.ranges == ((7, 1, 2),)
    assert rest.without([typed("ab")]) is None
    assert death(step="load").without([]) is None


def test_where_ranges_overlap():
    assert common([(1, 0, 5), (2, 0, 5)], [(1, 3, 9), (2, 5, 6), (3, 0, 1)]) == ((1, 3, 5),)


ENTRY = Entry("update", "room", "tick", "why", 2.0, "ana", ("aa",), ((7, 0, 1),), "0000")


def test_entries_are_files(tmp_path):
    others = [replace(ENTRY, kind="room", at=1.0), replace(ENTRY, room="another", at=3.0)]
    for entry in (ENTRY, *others):
        write(tmp_path / entry.file, as_written(entry))
    write(tmp_path / "deaths.json", [as_written(death(typed("a"))), as_written(death(typed("a"), room="another"))])
    (tmp_path / "room-broken.json").write_text("{")
    assert entries(tmp_path) == [others[0], ENTRY, others[1]]
    assert release(tmp_path, "room") == [others[0], ENTRY]
    assert entries(tmp_path) == [others[1]]
    assert [one.room for one in deaths_in(tmp_path)] == ["another"]
    assert release(tmp_path, "room") == []


def as_written(one: Entry | Death) -> dict:
    return {name: getattr(one, name) for name in one.__slots__}


@pytest.mark.parametrize("content", ["", "{}", "[1]", '[{"room": 1}]', "[{}]"])
def test_notes_that_cannot_be_read_are_left(tmp_path, content):
    (tmp_path / "deaths.json").write_text(content)
    assert deaths_in(tmp_path) == []


def test_old_deaths_are_forgotten(tmp_path):
    write(tmp_path / "deaths.json", [as_written(replace(death(), at=0.0))])
    assert deaths_in(tmp_path) == []
    assert deaths_in(tmp_path / "nothing") == []
    assert json.loads((tmp_path / "deaths.json").read_text())


def test_where_they_lie(tmp_path, monkeypatch):
    monkeypatch.delenv("_COLLAB_NOTES", raising=False)
    assert folder_of(SQLiteStore(tmp_path / "rooms.db")) == tmp_path / "rooms.db.crashes"
    assert folder_of(MemoryStore()) is None
    monkeypatch.setenv("_COLLAB_NOTES", "/notes")
    assert folder_of(MemoryStore()) == Path("/notes/crashes")
