"""In one process: what the recorder found is judged, what is set aside is refused, what proved harmless is not."""

from __future__ import annotations

from pathlib import Path

import pytest
from pycrdt import Doc, Text

from collab.deaths import deaths_in, entries, release
from collab.errors import BadUpdate, DamagedRoom, Quarantined
from collab.fence import fenced
from collab.metrics import Metrics
from collab.quarantine import Quarantine
from collab.recorder import STEPS, TICK, Recorder
from collab.room import RoomCore
from collab.store.sqlite import SQLiteStore
from collab.wire.messages import Update

pytestmark = pytest.mark.anyio


def typed(letters: str, client: int) -> bytes:
    doc: Doc = Doc(client_id=client)
    text = doc.get("text", type=Text)
    text += letters
    return doc.get_update()


BAD, GOOD = typed("bad", 7), typed("good", 9)


class Editor:
    """A peer that notes what it is told."""

    backstage = False
    author: str | None = "ana"
    may_write = True

    def __init__(self) -> None:
        self.ticks: list = []
        self.refusals: list = []

    def take(self, tick):
        self.ticks.append(tick)

    def ask(self, state_vector):
        pass

    def refuse(self, error, *rest):
        self.refusals.append(error)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    for name in ("_COLLAB_DEATH", "_COLLAB_RESTARTS", "_COLLAB_NOTES"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "rooms.db.crashes"


def die(folder: Path, step: str, *updates: bytes) -> None:
    """What a process leaves behind that ends in this step."""
    folder.mkdir(exist_ok=True)
    Recorder(folder / "hand").hold(STEPS.index(step), "room", updates)


def opened(quarantine: Quarantine, folder: Path):
    return quarantine.beside(SQLiteStore(folder.with_suffix("")))


def text_of(core: RoomCore) -> str:
    return str(core.doc.get("text", type=Text))


async def test_a_room_that_ended_the_server_twice_is_refused_until_it_is_released(folder, monkeypatch):
    for _ in range(2):
        async with opened(Quarantine(Metrics()), folder):
            pass
        die(folder, "load")
    metrics = Metrics()
    monkeypatch.setenv("_COLLAB_DEATH", "SIGSEGV")
    monkeypatch.setenv("_COLLAB_RESTARTS", "2")
    monkeypatch.setattr("collab.notes.LOOK_SECONDS", 0.0)
    quarantine = Quarantine(metrics)
    async with opened(quarantine, folder):
        with pytest.raises(Quarantined) as refused, quarantine.reading("load", "room"):
            pytest.fail("it was read")
        assert refused.value.close_code == 4423 and "SIGSEGV" in str(refused.value)
        with quarantine.reading("load", "another room"):
            pass
        page = metrics.render()[0].decode()
        for line in (
            'collab_quarantined{kind="room"} 1.0',
            "collab_restarts 2.0",
            'collab_last_death_info{cause="SIGSEGV"} 1.0',
        ):
            assert line in page
        release(folder, "room")
        with quarantine.reading("load", "room"):
            pass


async def test_a_room_that_is_not_compacted_is_served(folder):
    for _ in range(2):
        die(folder, "compaction")
        quarantine = Quarantine(Metrics())
        async with opened(quarantine, folder):
            pass
    with quarantine.reading("load", "room"):
        pass
    with pytest.raises(Quarantined), quarantine.reading("compaction", "room"):
        pytest.fail("it was read")


@pytest.mark.parametrize("error", [None, DamagedRoom("room", "for another reason")])
async def test_what_was_read_after_all_is_not_to_blame(folder, error):
    die(folder, "load")
    quarantine = Quarantine(Metrics())
    async with opened(quarantine, folder):
        assert len(deaths_in(folder)) == 1
        try:
            with quarantine.reading("load", "room"):
                if error:
                    raise error
        except DamagedRoom:
            pass
        assert deaths_in(folder) == []


async def test_each_call_of_the_library_is_noted_while_it_lasts(folder):
    quarantine = Quarantine(Metrics())
    async with opened(quarantine, folder):

        def in_hand():
            content = (folder / "hand").read_bytes()
            (folder / "copy").write_bytes(content)
            return [(hand.step, hand.room) for hand in Recorder(folder / "copy").found]

        with quarantine.reading("load", "room"):
            assert in_hand() == []
            assert fenced(in_hand) == [("load", "room")]
            assert fenced(lambda: fenced(in_hand)) == [("load", "room")] * 2
        assert fenced(in_hand) == []


async def test_after_a_death_updates_are_taken_one_by_one_and_the_guilty_one_is_refused(folder, monkeypatch):
    monkeypatch.setattr("collab.notes.LOOK_SECONDS", 0.0)
    die(folder, "tick", GOOD, BAD)
    quarantine = Quarantine(Metrics())
    async with opened(quarantine, folder):
        core, editor = RoomCore("room"), Editor()
        core.join(editor)
        for update in (GOOD, typed("x", 5)):
            core.receive(editor, Update(update), 0.0)
        ticks = quarantine.collect(core, 0.0, 0.0)
        assert ticks is not None
        core.tell(ticks)
        assert [len(tick.changes) for tick in editor.ticks] == [1, 1]
        [left] = deaths_in(folder)
        assert left.ranges == ((7, 0, 3),), "what was taken in is not suspected any more"
    die(folder, "tick", BAD)
    quarantine = Quarantine(Metrics())
    async with opened(quarantine, folder):
        [entry] = entries(folder)
        assert entry.ranges == ((7, 0, 3),)
        core, editor, other = RoomCore("room"), Editor(), Editor()
        core.join(editor)
        core.join(other)
        core.receive(editor, Update(BAD), 0.0)
        core.receive(other, Update(GOOD), 0.0)
        core.tell(quarantine.collect(core, 0.0, 0.0) or [])
        assert text_of(core) == "good" and not other.refusals
        assert [type(error) for error in editor.refusals] == [BadUpdate]
        core.receive(editor, Update(BAD), 0.0)
        assert quarantine.collect(core, 0.0, 0.0) == [], "nothing but what is refused"
        release(folder, "room")
        core.receive(editor, Update(BAD), 0.0)
        core.tell(quarantine.collect(core, 0.0, 0.0) or [])
        assert sorted(text_of(core)) == sorted("badgood")


async def test_a_held_transaction_is_waited_for(folder):
    die(folder, "tick", BAD)
    quarantine = Quarantine(Metrics())
    async with opened(quarantine, folder):
        core, editor = RoomCore("room"), Editor()
        core.receive(editor, Update(GOOD), 0.0)
        with core.doc.transaction():
            assert quarantine.collect(core, 0.0, 0.0) is None
        core.tell(quarantine.collect(core, 0.0, 0.0) or [])
        assert text_of(core) == "good"


async def test_a_folder_that_cannot_be_written_is_no_reason_not_to_serve(folder):
    folder.write_text("in the way")
    quarantine = Quarantine(Metrics())
    async with opened(quarantine, folder):
        core, editor = RoomCore("room"), Editor()
        core.receive(editor, Update(GOOD), 0.0)
        core.tell(quarantine.collect(core, 0.0, 0.0) or [])
        assert text_of(core) == "good"


def test_the_names_that_the_supervisor_uses():
    """Neither imports the other."""
    from collab import supervisor

    assert (supervisor.DEATH, supervisor.RESTARTS, supervisor.NOTES) == (
        "_COLLAB_DEATH",
        "_COLLAB_RESTARTS",
        "_COLLAB_NOTES",
    )
    assert TICK == STEPS.index("tick")
