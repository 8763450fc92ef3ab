"""From what is stored to a document and back: never half of it, never an empty one instead, never a dead process."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import example, given
from hypothesis import settings as budget
from hypothesis import strategies as st
from pycrdt import Array, Doc, Map, Text

from collab import draft, recovery
from collab.content.plain import to_json
from collab.draft import SLICE
from collab.errors import DamagedRoom
from collab.recovery import MANY, build, compact, guilty, same, verify
from collab.store import Entry, Kind, Row, Stored
from collab.store.memory import MemoryStore
from collab.wire import vet
from collab.wire.lib0 import var_string, var_uint
from tests.support.histories import Editors, applied, clocks, everything
from tests.wire.test_keyed import values

pytestmark = pytest.mark.anyio

HERE = Path(__file__).parent
SEEDS = st.integers(0, 2**32 - 1)
GARBAGE = b"\xff\xfe not an update"
YJS = [case for case in json.loads((HERE / "wire/yjs_updates.json").read_text()) if not case["refused"]]


def stored(updates: Iterable[bytes], checkpoint: bytes | None = None, covers: int = 0) -> Stored:
    rows = tuple(Row(seq, update, 1.0, None, Kind.RAW) for seq, update in enumerate(updates, covers + 1))
    return Stored(1, checkpoint, covers, rows)


def built(updates: Iterable[bytes], checkpoint: bytes | None = None) -> recovery.Loaded:
    return anyio.run(build, "room", stored(updates, checkpoint))


def typed(words: str, client: int = 1, name: str = "text") -> list[bytes]:
    """The updates of one who types letter by letter."""
    made: list[bytes] = []
    doc: Doc[Any] = Doc(client_id=client)
    text = doc.get(name, type=Text)
    doc.observe(lambda event: made.append(event.update))
    for letter in words:
        text += letter
    return made


def text_of(doc: Doc[Any], name: str = "text") -> str:
    return str(doc.get(name, type=Text))


def orphan(client: int, parent: int) -> bytes:
    """Well-formed, and yrs does not take it: an item whose parent is a letter."""
    item = b"\x08" + var_uint(0) + var_uint(parent) + var_uint(0) + b"\x01\x78"
    return var_uint(1) + var_uint(1) + var_uint(client) + var_uint(0) + item + b"\x00"


def nested(depth: int, tag: int) -> bytes:
    """specs/faults.md 5, vector 2: a value nested so deep that a reader of it overflows its stack."""
    inside = b"\x75\x01" if tag == 0x75 else b"\x76\x01\x01a"
    return b"\x01\x01\x07\x00\x08\x01\x01t\x01" + inside * depth + b"\x7f\x00"


# ------------------------------------------------------------------------------------------------ all is well


@budget(max_examples=60, deadline=None)
@given(SEEDS)
def test_loading_is_replaying(seed):
    """However much of it a checkpoint holds."""
    updates = Editors(seed, steps=80).updates
    held = random.Random(seed).randint(0, len(updates))
    checkpoint = applied(updates[:held]).get_update() if held else None
    loaded = built(updates[held:], checkpoint)
    assert everything(loaded.doc) == everything(applied(updates))
    assert loaded.poison == () and loaded.rows == len(updates) - held
    assert loaded.log_bytes == sum(map(len, updates[held:])) == loaded.bytes - len(checkpoint or b"")
    keyed, others = values(loaded.doc.get_update())
    assert all(point in loaded.keyed for point in keyed) and not any(point in loaded.keyed for point in others)


async def test_a_room_that_was_never_written_is_empty():
    loaded = await build("room", stored([]))
    assert loaded.doc.get_update() == vet.EMPTY and loaded.bytes == 0


async def test_a_long_log_leaves_the_loop_to_others():
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    loaded = await build("room", stored(typed("x" * 5_000)))
    counting.cancel()
    assert text_of(loaded.doc) == "x" * 5_000
    assert turns >= 5_000 / SLICE


@pytest.mark.parametrize("case", YJS, ids=lambda case: case["name"])
async def test_what_yjs_wrote_can_be_loaded_and_compacted(case):
    updates = [base64.b64decode(made["update"]) for made in case["updates"]]
    loaded = await build("room", stored(updates))
    async with MemoryStore() as store:
        await store.append([Entry("room", update, 1.0) for update in updates])
        try:
            assert await compact(store, "room") > 0 or not updates
        except DamagedRoom:
            assert case["inexact"], "yrs cannot write down what it took in"
            assert (await store.load("room")).seq == len(updates)
        again = await verify(store, "room")
    assert to_json(again.doc) == to_json(loaded.doc)
    assert clocks(again.doc) == clocks(loaded.doc)
    if not case["inexact"]:
        assert text_of(again.doc) == case["text"]


# ------------------------------------------------------------------------------------------------ rows that are bad


@budget(max_examples=60, deadline=None)
@given(SEEDS, st.binary(max_size=40))
@example(0, b"")
@example(0, vet.EMPTY)
@example(0, GARBAGE)
@example(0, orphan(9, 1))
def test_a_row_of_rubbish_is_left_out_or_the_room_refused(seed, rubbish):
    """D20. Wherever it stands, everything else is there; and never is a room empty that was not."""
    updates = Editors(seed, steps=40).updates
    place = random.Random(seed).randint(0, len(updates))
    whole = everything(applied(updates))
    try:
        loaded = built([*updates[:place], rubbish, *updates[place:]])
    except DamagedRoom as error:
        assert str(place + 1) in error.what or not updates
    else:
        found = everything(loaded.doc)
        if loaded.poison:
            assert loaded.poison == (place + 1,)
            assert found == whole
        assert whole["clocks"].items() <= found["clocks"].items()


@pytest.mark.parametrize("rubbish", [GARBAGE, b"", orphan(9, 1)], ids=["garbage", "nothing", "orphan"])
@pytest.mark.parametrize("place", [1, 2, SLICE - 1, SLICE, SLICE + 1, 3 * SLICE - 1])
async def test_poison_is_left_out_wherever_it_stands(rubbish, place):
    updates = typed("x" * (3 * SLICE - 1))
    loaded = await build("room", stored([*updates[:place], rubbish, *updates[place:]]))
    assert loaded.poison == (place + 1,)
    assert text_of(loaded.doc) == "x" * len(updates)


async def test_several_poison_rows():
    updates = typed("hello")
    rows = [GARBAGE, *updates[:2], orphan(9, 1), *updates[2:4], b"", orphan(8, 1), updates[4], GARBAGE]
    loaded = await build("room", stored(rows))
    assert loaded.poison == (1, 4, 7, 8, 10)
    assert text_of(loaded.doc) == "hello"


@pytest.mark.parametrize("lost", [0, 2, SLICE])
async def test_a_room_is_refused_when_something_builds_on_the_poison(lost):
    updates = typed("x" * (SLICE + 5))
    updates[lost] = GARBAGE
    with pytest.raises(DamagedRoom, match=rf"row {lost + 2} builds on .* \(rows {lost + 1} cannot be read\)") as caught:
        await build("room", stored(updates))
    assert caught.value.room == "room" and caught.value.close_code == 4423


@budget(max_examples=60, deadline=None)
@given(SEEDS)
def test_a_room_is_refused_when_a_row_is_missing(seed):
    """Unless nothing at all would be missed: nothing else names it, and its structs are the last of their client."""
    updates = Editors(seed, steps=40).updates
    if not updates:
        return
    lost = random.Random(seed).randrange(len(updates))
    left = updates[:lost] + updates[lost + 1 :]
    clocks: dict[int, int] = {}
    fits = True
    for update in left:
        extent = vet.parse(update)
        fits = fits and not extent.missing(clocks)
        clocks |= {client: max(end, clocks.get(client, 0)) for client, _, end in extent.structs}
    if fits:
        assert everything(built(left).doc) == everything(applied(left))
    else:
        with pytest.raises(DamagedRoom, match="builds on something that is not there"):
            built(left)


@pytest.mark.parametrize("rubbish", [[GARBAGE], [GARBAGE] * 5, [b""], [b"\x00" * 9]])
async def test_what_cannot_be_read_at_all_is_no_empty_document(rubbish):
    with pytest.raises(DamagedRoom, match="nothing of it can be read"):
        await build("room", stored(rubbish))


async def test_too_much_poison_is_a_damaged_room():
    (letter,) = typed("x")
    with pytest.raises(DamagedRoom, match=f"more than {MANY} rows"):
        await build("room", stored([letter, *(orphan(client, 1) for client in range(2, MANY + 5))]))


@pytest.mark.parametrize(
    ("checkpoint", "why"),
    [
        (b"", "cannot be read"),
        (GARBAGE, "cannot be read"),
        (applied(typed("hello")).get_update()[:-1], "cannot be read"),
        (applied(typed("hello")).get_update() + b"\x00", "cannot be read"),
        (typed("hello")[3], "builds on something that is not there"),  # yrs would make an empty document of it
        (orphan(9, 1), "cannot be read|not there"),
        (nested(30_000, 0x75), "cannot be read"),
        (nested(30_000, 0x76), "cannot be read"),
    ],
)
async def test_a_checkpoint_that_is_bad(checkpoint, why):
    with pytest.raises(DamagedRoom, match=why):
        await build("room", stored([], checkpoint, covers=5))
    with pytest.raises(DamagedRoom, match=why):
        await build("room", stored(typed("a", client=3), checkpoint, covers=5))


DEEP = """
import anyio, sys
from collab.content.plain import to_json
from collab.errors import DamagedRoom
from collab.recovery import build
from collab.store import Entry, open_store

async def main(url, update):
    async with open_store(url) as store:
        await store.append([Entry("deep", update, 1.0), Entry("well", bytes.fromhex(sys.argv[2]), 1.0)])
    async with open_store(url) as store:
        try:
            await build("deep", await store.load("deep"))
        except DamagedRoom as error:
            print(error)
        print((await build("well", await store.load("well"))).doc.get_update().hex())

anyio.run(main, sys.argv[1], sys.stdin.buffer.read())
"""


@pytest.mark.parametrize("tag", [0x75, 0x76], ids=["arrays", "maps"])
@pytest.mark.parametrize("depth", [16_000, 30_000])
def test_a_row_that_would_kill_the_process_does_not(tmp_path, tag, depth):
    """D21. In a process of its own: what it is about is whether that ends by itself."""
    url, well = f"sqlite:///{tmp_path}/rooms.db", applied(typed("hello")).get_update().hex()
    done = subprocess.run(
        [sys.executable, "-c", DEEP, url, well],
        input=nested(depth, tag),
        cwd=HERE.parent,
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    said = done.stdout.decode().splitlines()
    assert "nothing of it can be read" in said[0]
    assert said[1] == well


class PanicException(BaseException):
    """As pyo3 raises it."""


class Touchy(Doc[Any]):
    """A document that takes an update of client 666 without a word, and panics later."""

    when = "writing"
    poisoned = 0

    def apply_update(self, update: bytes) -> None:
        if self.poisoned and self.when == "the next but one":
            self.poisoned += 1
            if self.poisoned > 2:
                raise PanicException
        super().apply_update(update)
        if any(client == 666 for client, _, _ in vet.parse(update).structs):
            self.poisoned += 1

    def get_update(self, state: bytes | None = None) -> bytes:
        if self.poisoned:
            raise PanicException
        return super().get_update(state)


@pytest.mark.parametrize("when", ["writing", "the next but one"])
@pytest.mark.parametrize("place", [0, 1, 57, 99])
async def test_poison_that_shows_later_is_found_all_the_same(monkeypatch, when, place):
    """The row at which it shows is not the one to blame (traps.md). Those that did nothing wrong stay."""
    monkeypatch.setattr(Touchy, "when", when)
    monkeypatch.setattr(draft, "Doc", Touchy)
    updates = typed("x" * 100)
    (poison,) = typed("!", client=666, name="other")
    loaded = await build("room", stored([*updates[:place], poison, *updates[place:], poison]))
    assert loaded.poison == (place + 1, 102)
    assert text_of(loaded.doc) == "x" * 100


async def test_a_checkpoint_that_panics_later(monkeypatch):
    monkeypatch.setattr(draft, "Doc", Touchy)
    (poison,) = typed("!", client=666)
    with pytest.raises(DamagedRoom):
        await build("room", stored(typed("hello", client=5), poison, covers=1))
    with pytest.raises(DamagedRoom):
        await build("room", stored([], poison, covers=1))


async def test_who_is_to_blame(monkeypatch):
    doc = applied(typed("hello"))
    innocent = typed("abc", client=7, name="other")
    assert await guilty("room", doc, innocent) == set()
    assert await guilty("room", doc, [innocent[0], orphan(9, 1), *innocent[1:], GARBAGE]) == {1, 4}
    assert text_of(doc) == "hello" and text_of(doc, "other") == "", "it was tried on documents of its own"
    monkeypatch.setattr(draft, "Doc", Touchy)
    assert await guilty("room", doc, [*innocent, *typed("!", client=666, name="third"), innocent[2]]) == {3}
    assert await guilty("room", doc, []) == set()


# ------------------------------------------------------------------------------------------------ compaction


class Richer(Editors):
    """Objects with several keys, too: yrs writes these in another order each time."""

    def _map(self, doc: Doc[Any]) -> None:
        if self.random.random() < 0.3:
            value = {letter: self.random.choice([1.5, None, "é", [{"x": 1, "y": 2}]]) for letter in "abcdef"}
            doc.get("map", type=Map)[self.random.choice("abcé")] = value
        else:
            super()._map(doc)

    def _array(self, doc: Doc[Any]) -> None:
        if self.random.random() < 0.3:
            doc.get("array", type=Array).append({"k": 1, "l": {"m": True, "n": "é"}})
        else:
            super()._array(doc)

    def _embed(self, doc: Doc[Any]) -> None:
        text, places = self._places(doc)
        text.insert_embed(places[-1], {"image": "é.png", "width": 3, "height": {"of": 1, "to": 2}})


async def _compacted_now_and_then(seed: int) -> int:
    rng = random.Random(seed)
    editors = Richer(seed, steps=80)
    updates, times, at = editors.updates, 0, 0
    async with MemoryStore() as store:
        while at < len(updates):
            some = rng.randint(1, 20)
            await store.append([Entry("room", update, 1.0) for update in updates[at : at + some]])
            at += some
            if rng.random() < 0.6:
                size = await compact(store, "room")
                kept = await store.load("room")
                assert kept.rows == () and kept.checkpoint is not None and len(kept.checkpoint) == size
                assert everything(applied([kept.checkpoint])) == everything(applied(updates[:at]))
                times += 1
        assert everything((await verify(store, "room")).doc) == everything(applied(updates))
    return times


@pytest.mark.timeout(600)
def test_compaction_changes_nothing_and_refuses_nothing_sound(full, figure):
    """D22: text with formats, maps, arrays, XML, deletions; compacted at random points, and compacted again."""
    cases = 3_000 if full else 150
    times = sum(anyio.run(_compacted_now_and_then, seed) for seed in range(cases))
    figure(f"{cases} random histories compacted {times} times: 0 differences, 0 refused")


async def test_nothing_to_compact():
    async with MemoryStore() as store:
        assert await compact(store, "nothing") == 0
        await store.append([Entry("room", update, 1.0) for update in typed("hello")])
        assert await compact(store, "room") > 0
        assert await compact(store, "room") == 0


async def test_a_room_with_poison_keeps_its_rows():
    async with MemoryStore() as store:
        await store.append([Entry("room", update, 1.0) for update in [*typed("hello"), GARBAGE]])
        with pytest.raises(DamagedRoom, match="rows 6 cannot be read, so they are not compacted"):
            await compact(store, "room")
        assert (await store.load("room")).checkpoint is None and (await store.load("room")).seq == 6


async def test_whoever_is_later_changes_nothing():
    """Two at once: the store takes one of the checkpoints."""

    class Meeting(MemoryStore):
        async def load(self, room: str) -> Stored:
            found = await super().load(room)
            await asyncio.sleep(0.01)  # so that both have read before either writes
            return found

    async with Meeting() as store:
        await store.append([Entry("room", update, 1.0) for update in typed("hello")])
        sizes = await asyncio.gather(compact(store, "room"), compact(store, "room"))
        assert sorted(map(bool, sizes)) == [False, True]
        assert text_of((await verify(store, "room")).doc) == "hello"


async def test_rows_that_came_meanwhile_stay():
    class Growing(MemoryStore):
        async def load(self, room: str) -> Stored:
            found = await super().load(room)
            await self.append([Entry(room, later, 1.0)])
            return found

    *early, later = typed("hello")
    async with Growing() as store:
        await store.append([Entry("room", update, 1.0) for update in early])
        assert await compact(store, "room") > 0
        kept = await MemoryStore.load(store, "room")
        assert kept.covers == 4 and [row.update for row in kept.rows] == [later]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda state: applied(typed("hellO")).get_update(),
        lambda state: applied(typed("hell")).get_update(),
        lambda state: vet.EMPTY,
        lambda state: state[:-1] + b"\x01\x01\x01\x00\x01",  # a letter is deleted
    ],
    ids=["another letter", "a letter less", "nothing", "a deletion more"],
)
async def test_a_checkpoint_that_is_not_the_same_is_not_written(monkeypatch, spoil):
    """Were yrs to lose something on the way: the proof notices, and the rows stay."""

    class Forgetful(Doc[Any]):
        def apply_update(self, update: bytes) -> None:
            super().apply_update(spoil(update) if len(update) > 15 else update)  # of the checkpoint, not of the rows

    assert all(len(update) <= 15 for update in typed("hello"))
    async with MemoryStore() as store:
        await store.append([Entry("room", update, 1.0) for update in typed("hello")])
        monkeypatch.setattr(recovery, "Doc", Forgetful)
        with pytest.raises(DamagedRoom):
            await compact(store, "room")
        assert (await store.load("room")).checkpoint is None


@budget(max_examples=40, deadline=None)
@given(SEEDS)
def test_same_means_the_same(seed):
    doc: Doc[Any] = Doc()
    updates = Richer(seed, steps=40).updates
    for start in range(0, len(updates), 7):  # it makes a difference for what yrs joins
        with doc.transaction():
            for update in updates[start : start + 7]:
                doc.apply_update(update)
    state = doc.get_update()
    copy = applied([state])
    assert same(state, copy.get_update())
    copy.get("map", type=Map)["one more"] = 1
    assert not same(state, copy.get_update())
    other = applied([state])
    array = other.get("array", type=Array)
    if len(array):
        del array[0]
        assert not same(state, other.get_update()), "a deletion is a difference"


def test_the_order_of_keys_is_no_difference_and_their_values_are():
    def state(value: bytes) -> bytes:
        return b"\x01\x01\x01\x00\x28\x01\x01m\x01k\x01" + value + b"\x00"

    def thing(*pairs: tuple[str, int]) -> bytes:
        return b"\x76" + var_uint(len(pairs)) + b"".join(var_string(key) + b"\x7d" + bytes([n]) for key, n in pairs)

    one = state(thing(("a", 1), ("b", 2)))
    assert same(one, state(thing(("b", 2), ("a", 1))))
    assert not same(one, state(thing(("a", 1), ("b", 3))))
    assert not same(one, state(thing(("a", 1))))


def test_who_is_guilty_is_found_without_trying_what_kills_yrs():
    """Three short updates, two of which build on what is not there: yrs crashes on what it keeps waiting itself."""
    script = """
import anyio
from pycrdt import Doc
from collab import draft, recovery
updates = ["0101010d000100", "0201000000030401030003000300038101030300", "0102070004010174016104000700016200"]
print(len(anyio.run(recovery.guilty, "room", Doc(), [bytes.fromhex(update) for update in updates])))
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, f"the process ended with {result.returncode}: {result.stderr[-500:]}"


# ------------------------------------------------------------------------------------------------ halves, and depth

HALVES = json.loads((HERE / "wire/yjs_halves.json").read_text())


@pytest.mark.parametrize("case", HALVES, ids=lambda case: str(case["name"]))
def test_characters_cut_in_two_are_read_as_yjs_reads_them(case):
    updates = [base64.b64decode(update) for update in case["updates"]]
    loaded = built(updates)
    assert text_of(loaded.doc) == case["text"] and loaded.poison == ()
    assert clocks(loaded.doc) == {int(client): clock for client, clock in case["vector"].items()}
    for cut in range(1, len(updates)):  # the character is in the checkpoint, who cuts it is not
        loaded = built(updates[cut:], built(updates[:cut]).doc.get_update())
        assert text_of(loaded.doc) == case["text"]


def chain(first: int, count: int) -> bytes:
    """Lists of client 7, each in the one before."""
    lists = [
        b"\x07" + (b"\x00\x07" + var_uint(clock - 1) if clock else b"\x01\x01t") + b"\x00"
        for clock in range(first, first + count)
    ]
    return var_uint(1) + var_uint(count) + var_uint(7) + var_uint(first) + b"".join(lists) + b"\x00"


def test_a_stored_document_that_is_too_deep_is_refused():
    """Read, or deleted, it would end the process."""
    rows = [chain(first, 100) for first in range(0, 600, 100)]
    assert built(rows[:5]).poison == ()
    with pytest.raises(DamagedRoom, match="nests shared types too deep"):
        built([], chain(0, 600))
    loaded = built(rows)
    assert loaded.poison == (6,) and clocks(loaded.doc) == {7: 500}
    with pytest.raises(DamagedRoom, match="builds on something"):
        built([*rows, b"\x01\x01\x08\x00\x04\x00\x07" + var_uint(550) + b"\x01a\x00"])
    assert built([chain(500, 1)], chain(0, 500)).poison == (1,)
