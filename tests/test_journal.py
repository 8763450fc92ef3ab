"""What was typed, on its way to the disk: in order, together, and never counted as saved before it is."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st
from pycrdt import Doc, Text

from collab import journal as journal_module
from collab.errors import CollabError, DamagedRoom, Unavailable
from collab.fence import Panic
from collab.journal import BATCH_ROWS, GroupCommit, Journal
from collab.metrics import Metrics
from collab.peers import Tick
from collab.room import RoomCore
from collab.settings.sections import StoreSettings
from collab.store import Kind, open_store
from collab.store.sqlite import SQLiteStore
from collab.wire.messages import Update
from tests.support.stores import Obedient
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

QUICK = {"retry_seconds": 0.001, "retry_max_seconds": 0.01}


class Sender:
    """A peer that is listened to and hears nothing."""

    may_write = True

    def __init__(self, author: str | None = "ana", *, backstage: bool = False) -> None:
        self.author = author
        self.backstage = backstage

    def take(self, tick: Tick) -> None:
        pass

    def ask(self, state_vector: bytes) -> None:
        pass

    def refuse(self, error: CollabError) -> None:
        raise AssertionError(f"refused: {error}")


class Typist:
    """An editor, its room and the room's journal."""

    def __init__(self, name: str, commits: GroupCommit, limit: int = 2**20, client: int = 1) -> None:
        self.core = RoomCore(name)
        self.journal = Journal(self.core, commits, limit)
        self.core.join(self.journal)
        self.sender = Sender()
        self.doc: Doc[Any] = Doc(client_id=client)
        self.text = self.doc.get("text", type=Text)
        self.made: list[bytes] = []
        self.doc.observe(lambda event: self.made.append(event.update))

    def type(self, words: str, *, tick: bool = True) -> None:
        """One update, and one tick of the room."""
        self.text.insert(len(str(self.text).encode()), words)
        self.core.receive(self.sender, Update(self.made[-1]), 0.0)
        if tick:
            assert self.core.tick(0.0, 1_700_000_000.0)


@asynccontextmanager
async def committing(store: Any, **options: Any) -> AsyncIterator[GroupCommit]:
    commits = GroupCommit(store, StoreSettings(**QUICK | options), Metrics())
    async with store, anyio.create_task_group() as tasks:
        tasks.start_soon(commits.run)
        yield commits
        tasks.cancel_scope.cancel()


async def flushed(*typists: Typist) -> None:
    with anyio.fail_after(5):
        for typist in typists:
            await typist.journal.flushed()


# ------------------------------------------------------------------------------------------------ when all is well


async def test_rows_keep_their_order_and_say_who_wrote_them():
    store = Obedient()
    async with committing(store) as commits:
        typist = Typist("room", commits)
        for letter in "hello":
            typist.type(letter)
        assert typist.journal.lag == 5 and typist.journal.committed == 0, "nothing is saved before it is"
        await flushed(typist)
        assert typist.journal.committed == typist.journal.accepted == 5
        rows = (await store.load("room")).rows
    assert [row.update for row in rows] == typist.made
    assert {(row.author, row.kind, row.time) for row in rows} == {("ana", Kind.RAW, 1_700_000_000.0)}


async def test_many_rooms_share_a_commit():
    store = Obedient()
    async with committing(store) as commits:
        typists = [Typist(f"room{nth}", commits, client=nth + 1) for nth in range(100)]
        for _ in range(3):
            for typist in typists:
                typist.type("x")
        await flushed(*typists)
        assert len(store.commits) <= 2
        assert sum(map(len, store.commits)) == 300
        for typist in typists:
            assert [row.update for row in (await store.load(typist.core.name)).rows] == typist.made


async def test_while_a_commit_runs_the_next_one_gathers():
    store = Obedient()
    async with committing(store) as commits:
        typist = Typist("room", commits)
        store.writes.clear()
        typist.type("first")
        await asyncio.sleep(0.01)
        for nth in range(20):
            typist.type(f"{nth}")
        store.writes.set()
        await flushed(typist)
        assert [len(entries) for entries in store.commits] == [1, 20]


async def test_a_commit_is_bounded():
    store = Obedient()
    async with committing(store) as commits:
        typist = Typist("room", commits)
        for _ in range(2 * BATCH_ROWS + 1):
            typist.type("x")
        await flushed(typist)
        assert max(map(len, store.commits)) == BATCH_ROWS
        assert (await store.load("room")).seq == 2 * BATCH_ROWS + 1


async def test_a_commit_is_bounded_in_bytes(monkeypatch):
    monkeypatch.setattr(journal_module, "BATCH_BYTES", 10_000)
    store = Obedient()
    async with committing(store) as commits:
        small, large = Typist("small", commits), Typist("large", commits)
        for _ in range(10):
            large.type("x" * 4_000)
        large.type("y" * 30_000)
        small.type("x")
        await flushed(small, large)
    sizes = [sum(len(entry.update) for entry in entries) for entries in store.commits]
    assert len(sizes) == 4 and max(sizes) < 10_000 + 30_100, "at most one more than what fits"
    assert [entry.update for entries in store.commits for entry in entries if entry.room == "large"] == large.made


async def test_what_comes_from_behind_the_scenes_is_there_already():
    store = Obedient()
    async with committing(store) as commits:
        typist = Typist("room", commits)
        typist.sender = Sender(backstage=True)
        typist.type("from another instance")
        assert typist.journal.lag == 0
        typist.sender = Sender(author=None)
        typist.type("from somebody here")
        await flushed(typist)
        [row] = (await store.load("room")).rows
    assert row.update == typist.made[1] and row.author is None


async def test_flushed_waits_for_what_there_was_and_for_no_more():
    store = Obedient()
    async with committing(store) as commits:
        typist = Typist("room", commits)
        with anyio.fail_after(0.1):
            await typist.journal.flushed()  # nothing was given
        store.seconds = 0.05
        typist.type("early")
        await asyncio.sleep(0)
        waiting = asyncio.create_task(typist.journal.flushed())
        await asyncio.sleep(0.02)
        typist.type("late")  # gathers for the commit after that
        assert not waiting.done()
        await asyncio.wait_for(waiting, 5)
        assert len(store.commits) == 1 and typist.journal.lag == 1
        await flushed(typist)
        assert len(store.commits) == 2


async def test_sqlite_gets_the_same(tmp_path):
    async with committing(open_store(f"sqlite:///{tmp_path}/rooms.db")) as commits:
        typists = [Typist(f"room {nth}", commits, client=nth + 1) for nth in range(20)]
        for nth in range(50):
            for typist in typists:
                typist.type(f"{nth} ")
            if nth % 10 == 0:
                await asyncio.sleep(0.002)
        await flushed(*typists)
        for typist in typists:
            assert [row.update for row in (await commits.store.load(typist.core.name)).rows] == typist.made


# ------------------------------------------------------------------------------------------------ when the store fails


def full_disk(store: Obedient, times: int, entries: object) -> Exception | None:
    return OSError(28, "No space left on device") if store.failed < times else None


async def test_a_store_that_fails_for_long(full, figure):
    """D08: every N. Nothing counts, nothing is lost, nothing is reordered, and nobody has to restart anything."""
    worst = 0
    for failures in range(1, 201 if full else 30):
        store = Obedient()
        async with committing(store, retry_seconds=1e-5, retry_max_seconds=1e-4) as commits:
            typist = Typist("room", commits)
            store.verdict = partial(full_disk, store, failures)
            typist.type("a")
            while store.failed < failures:
                assert typist.journal.committed == 0
                assert store.failed == 0 or not commits.store_up
                typist.type("b")
                worst = max(worst, typist.journal.lag)
                await asyncio.sleep(0)
            await flushed(typist)
            assert commits.store_up and typist.journal.lag == 0
            assert [row.update for row in (await store.load("room")).rows] == typist.made
    figure(f"a store that failed 1 to {failures} times in a row: 0 lost, 0 counted too early, {worst} waited at most")


@pytest.mark.parametrize("step", ["append.before_commit", "append.after_commit"])
async def test_a_disk_that_fails_before_or_after_the_commit(tmp_path, step):
    """D09: what a failure left in doubt is written again, and only that commit counts."""
    failing = [OSError(5, "Input/output error")] * 4
    seen = 0

    def failpoint(name: str) -> None:
        nonlocal seen
        if name == step:
            seen += 1
            if failing:
                raise failing.pop()

    async with committing(SQLiteStore(tmp_path / "rooms.db", failpoint=failpoint), retry_max_seconds=0.6) as commits:
        typist = Typist("room", commits)
        for letter in "hello":
            typist.type(letter)
        await until(lambda: seen > 1, "the first try has failed")
        assert typist.journal.committed == 0 and not commits.store_up
        with anyio.fail_after(10):
            await typist.journal.flushed()
        assert commits.store_up
        kept = [row.update for row in (await commits.store.load("room")).rows]
    assert list(dict.fromkeys(kept)) == typist.made
    assert len(kept) == 5 or step == "append.after_commit", "twice at most where nobody could know"


async def test_pauses_grow_and_have_an_end(monkeypatch):
    pauses: list[float] = []

    async def note(seconds: float) -> None:
        pauses.append(seconds)
        await asyncio.sleep(0)

    monkeypatch.setattr(journal_module, "sleep", note)
    store = Obedient()
    store.break_down()
    async with committing(store, retry_seconds=0.2, retry_max_seconds=5.0) as commits:
        Typist("room", commits).type("x")
        await until(lambda: len(pauses) > 30, "many tries")
    assert pauses[:7] == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0] and max(pauses) == 5.0


async def test_past_its_limit_a_journal_is_owed_one_merged_row():
    """What waits is bounded, and what is then written makes the stored document complete."""
    store = Obedient()
    async with committing(store) as commits:
        typist = Typist("room", commits, limit=2_000)
        typist.type("stored; ")
        await flushed(typist)
        store.break_down()
        most = 0
        for nth in range(500):
            typist.type(f"{nth} ")
            most = max(most, typist.journal.lag_bytes)
            if nth % 50 == 0:
                await asyncio.sleep(0.01)
        assert most < 2 * 2_000 + 100, "what is on board and what waits"
        assert typist.journal.behind and typist.journal.lag > 490 and typist.journal.committed == 1
        assert commits.metrics.resyncs["journal"]._value.get() == 1
        store.down = None
        await flushed(typist)
        rows = (await store.load("room")).rows
        assert [row.kind for row in rows][-1] is Kind.MERGED and len(rows) < 100
        assert Counter(row.kind for row in rows)[Kind.MERGED] == 1
        assert str(store.document("room").get("text", type=Text)) == str(typist.text)
        typist.type("and on")
        await flushed(typist)
        assert (await store.load("room")).rows[-1].update == typist.made[-1], "raw again"
    assert not typist.journal.behind and typist.journal.lag_bytes == 0


async def test_what_was_on_board_when_the_backlog_was_given_up_is_not_lost():
    """The merged row begins where the backlog began; what is in the air goes first."""
    store = Obedient()
    async with committing(store) as commits:
        typist = Typist("room", commits, limit=300)
        store.writes.clear()
        typist.type("in the air ")
        await asyncio.sleep(0.01)
        for _ in range(50):
            typist.type("a word ")
        assert typist.journal.behind
        store.verdict = lambda entries: Unavailable("the store") if store.failed < 3 else None
        store.writes.set()
        await flushed(typist)
        kinds = [row.kind for row in (await store.load("room")).rows]
        assert kinds == [Kind.RAW, Kind.MERGED]
        assert str(store.document("room").get("text", type=Text)) == str(typist.text)


@budget(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_whatever_happens_the_store_ends_with_the_rooms(seed):
    """Rooms that type, a store that fails, hangs and comes back, limits that are too small."""
    rng = random.Random(seed)

    async def story() -> None:
        store = Obedient()
        async with committing(store, retry_seconds=1e-4, retry_max_seconds=1e-3) as commits:
            typists = [Typist(f"room{nth}", commits, rng.choice([100, 10**6]), nth + 1) for nth in range(3)]
            for _ in range(60):
                match rng.randrange(7):
                    case 0:
                        store.down = rng.choice([None, None, Unavailable("the store"), OSError("EIO")])
                    case 1:
                        rng.choice([store.writes.set, store.writes.set, store.writes.clear])()
                    case 2:
                        await asyncio.sleep(rng.choice([0, 0, 0.001]))
                    case _:
                        typist = rng.choice(typists)
                        typist.type(rng.choice(["a", "word ", "ü" * 20]), tick=rng.random() < 0.8)
                for typist in typists:
                    assert typist.journal.committed <= typist.journal.accepted
                    kept = store.document(typist.core.name)
                    if not typist.journal.lag and typist.core.idle:
                        assert str(kept.get("text", type=Text)) == str(typist.text)
            store.down = None
            store.writes.set()
            for typist in typists:
                typist.core.tick(0.0, 0.0)
            await flushed(*typists)
            for typist in typists:
                kept = store.document(typist.core.name)
                assert str(kept.get("text", type=Text)) == str(typist.text)
                rows = (await store.load(typist.core.name)).rows
                raw = [row.update for row in rows if row.kind is Kind.RAW]
                place = iter(typist.made)
                assert all(update in place for update in raw), "in the order in which they were typed"

    anyio.run(story)


async def test_a_store_that_hangs_is_not_up(monkeypatch):
    monkeypatch.setattr(journal_module, "HUNG_SECONDS", 0.05)
    store = Obedient()
    async with committing(store) as commits:
        typist = Typist("room", commits)
        store.writes.clear()
        typist.type("x")
        await until(lambda: not commits.store_up, "seen as hanging")
        assert commits.lagging == [typist.journal] and typist.journal.lag == 1
        assert typist.journal.lag_bytes == len(typist.made[0])
        typist.type("y")
        store.writes.set()
        await flushed(typist)
        assert commits.store_up and commits.lagging == []


# ------------------------------------------------------------------------------------------------ when one room fails


async def test_a_damaged_room_does_not_hold_up_the_others():
    store = Obedient()

    def verdict(entries: Any) -> Exception | None:
        return DamagedRoom("bad", "its pages") if any(entry.room == "bad" for entry in entries) else None

    async with committing(store, retry_seconds=0.01, retry_max_seconds=0.1) as commits:
        bad, good = Typist("bad", commits), Typist("good", commits)
        store.verdict = verdict
        for _ in range(5):
            bad.type("b")
            good.type("g")
        await flushed(good)
        assert bad.journal.committed == 0 and commits.lagging == [bad.journal]
        failed = store.failed
        for _ in range(20):  # typing on does not make it be tried again each time
            bad.type("b")
            good.type("g")
            await flushed(good)
        assert store.failed <= failed + 2
        assert commits.store_up, "the store is well"
        store.verdict = lambda entries: None
        await flushed(bad)
        assert [row.update for row in (await store.load("bad")).rows] == bad.made
        assert [row.update for row in (await store.load("good")).rows] == good.made


async def test_an_entry_that_no_store_can_take_does_not_hold_up_the_others():
    """What is wrong shows only when each room is tried alone."""
    store = Obedient()
    async with committing(store) as commits:
        good, bad, other = (Typist(name, commits) for name in ("good", "bad", "other"))
        bad.sender = Sender(author="\ud800")  # a lone surrogate: not to be encoded
        for typist in (good, bad, other):
            typist.type("x")
        await flushed(good, other)
        assert bad.journal.lag == 1
        assert (await store.load("bad")).seq == 0


async def test_a_damaged_room_alone():
    store = Obedient()
    async with committing(store, retry_max_seconds=0.05) as commits:
        bad = Typist("bad", commits)
        store.verdict = lambda entries: DamagedRoom("bad", "its pages") if store.failed < 3 else None
        bad.type("x")
        await flushed(bad)
        assert store.failed == 3 and (await store.load("bad")).seq == 1


async def test_a_document_that_cannot_say_what_is_owed(monkeypatch):
    """Its room is to be read anew; the others go on."""
    store = Obedient()
    told: list[tuple[Journal, str]] = []
    async with committing(store) as commits:
        commits.broken = lambda journal, panic: told.append((journal, panic.cause))
        broken, good = Typist("broken", commits, limit=100), Typist("good", commits)
        store.break_down()
        heard: list[bool] = []
        for _ in range(30):
            broken.type("a word ")
            broken.journal.when(broken.journal.accepted, heard.append)
        assert broken.journal.behind

        def difference(state_vector: bytes) -> bytes:
            raise Panic(RuntimeError("as if yrs had panicked"))

        monkeypatch.setattr(broken.core, "difference", difference)
        good.type("x")
        store.down = None
        await flushed(good, broken)
        assert told == [(broken.journal, "RuntimeError")]
        assert (await store.load("good")).seq == 1
        assert not broken.journal.behind
        assert heard == [False] * 30, "nobody is told that it was saved"
        monkeypatch.undo()
        broken.type("on the document that was read anew")
        await flushed(broken)
        assert (await store.load("broken")).rows[-1].update == broken.made[-1]


async def test_who_waits_for_a_position_hears_when_the_store_has_it():
    store = Obedient()
    async with committing(store) as commits:
        typist = Typist("room", commits)
        heard: list[tuple[int, bool]] = []
        typist.journal.when(0, lambda committed: heard.append((0, committed)))
        assert heard == [(0, True)], "there is nothing to wait for"
        store.writes.clear()
        typist.type("a")
        typist.journal.when(1, lambda committed: heard.append((1, committed)))
        await anyio.sleep(0.01)  # it is on its way to a store that hangs
        typist.type("b")
        typist.journal.when(2, lambda committed: heard.append((2, committed)))
        assert heard == [(0, True)]
        store.writes.set()
        await flushed(typist)
        assert heard == [(0, True), (1, True), (2, True)]
        assert len(store.commits) == 2
        typist.journal.when(2, lambda committed: heard.append((3, committed)))
        assert heard[-1] == (3, True)


async def test_what_landed_is_looked_at():
    landed: list[tuple[str, int, int]] = []
    async with committing(Obedient()) as commits:
        commits.landed = lambda journal: landed.append((journal.room, journal.log_rows, journal.log_bytes))
        typist = Typist("room", commits)
        typist.type("ab")
        typist.type("c")
        await flushed(typist)
    assert landed == [("room", 2, sum(map(len, typist.made)))]


async def test_what_is_measured():
    store = Obedient()
    async with committing(store) as commits:
        typist = Typist("room", commits)
        store.verdict = lambda entries: Unavailable("the store") if store.failed < 2 else None
        typist.type("x")
        typist.type("y")
        await flushed(typist)
        metrics = commits.metrics
        assert metrics.commit_seconds.count == 1 and metrics.commit_rows.sum == 2
        assert metrics.journal_wait_seconds.count == 2
        assert metrics.store_failures._value.get() == 2 and metrics.errors["Unavailable"]._value.get() == 2
