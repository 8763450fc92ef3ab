"""A document on its way into memory: most logs are taken in plainly, and the others are told from them."""

from __future__ import annotations

import base64
import json
import random
import time
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st
from pycrdt import Doc, Text

from collab import recovery
from collab.draft import Draft, from_checkpoint
from collab.errors import DamagedRoom
from collab.store import Kind, Row, Stored
from collab.vetting import LONG
from collab.wire import vet
from tests.support.histories import Editors, applied, everything
from tests.test_recovery import chain, typed
from tests.wire.test_keyed import values

SEEDS = st.integers(0, 2**32 - 1)
HALVES = json.loads((Path(__file__).parent / "wire/yjs_halves.json").read_text())


def rows(updates: list[bytes], covers: int = 0) -> tuple[Row, ...]:
    return tuple(Row(seq, update, 1.0, None, Kind.RAW) for seq, update in enumerate(updates, covers + 1))


def taken(updates: list[bytes], checkpoint: bytes | None = None) -> Draft | None:
    """The draft of these rows; None where they want a closer look."""

    async def take() -> Draft | None:
        draft = await from_checkpoint("room", checkpoint)
        return draft if await draft.take_plain(checkpoint, rows(updates)) else None

    return anyio.run(take)


class Counted(Doc[Any]):
    """Counts what it is given."""

    given = 0

    def apply_update(self, update: bytes) -> None:
        type(self).given += 1
        super().apply_update(update)


@budget(max_examples=60, deadline=None)
@given(SEEDS)
def test_what_is_taken_in_plainly_is_what_a_closer_look_finds(seed):
    updates = Editors(seed, steps=80).updates
    held = random.Random(seed).choice([0, len(updates) // 2])
    checkpoint = applied(updates[:held]).get_update() if held else None
    draft = taken(updates[held:], checkpoint)
    assert draft is not None, "there is nothing about this log that wants a closer look"
    assert everything(draft.doc) == everything(applied(updates))
    assert recovery.same(draft.doc.get_update(), applied(updates).get_update())
    assert draft.clocks == vet.parse_state_vector(draft.doc.get_state())
    keyed, others = values(draft.doc.get_update())
    assert all(point in draft.keyed for point in keyed) and not any(point in draft.keyed for point in others)


@pytest.mark.parametrize("beside", ["", "😀"])
def test_letters_reach_the_document_together(monkeypatch, beside):
    """Also where there is an emoji somewhere in it."""
    one, two = typed("x" * 1_000, client=1), typed("y" * 1_000, client=2, name="other")
    updates = [update for pair in zip(one, two, strict=True) for update in pair]
    first = typed(beside + "!", client=3, name="third") if beside else []
    monkeypatch.setattr(Counted, "given", 0)
    monkeypatch.setattr("collab.draft.Doc", Counted)
    draft = taken(first + updates)
    assert draft is not None
    assert (
        str(draft.doc.get("text", type=Text)) == "x" * 1_000 and str(draft.doc.get("other", type=Text)) == "y" * 1_000
    )
    assert Counted.given < 20


def test_a_large_checkpoint_is_looked_at_for_characters_too():
    """On another thread; what cuts one of them is seen all the same."""
    large = applied(typed("a😀b", client=1))
    large.get("filler", type=Text).insert(0, "z" * LONG)
    assert taken([b"\x01\x01\x02\x00\x84\x01\x01\x01x\x00"], large.get_update()) is None
    assert taken([b"\x01\x01\x02\x00\x84\x01\x02\x01x\x00"], large.get_update()) is not None


@pytest.mark.parametrize("case", HALVES, ids=lambda case: case["name"])
def test_what_cuts_a_character_wants_a_closer_look(case):
    """Or else it is, taken in plainly, just what a closer look makes of it."""
    updates = [base64.b64decode(update) for update in case["updates"]]
    draft = taken(updates)
    found = anyio.run(recovery._look_closely, "room", Stored(1, None, 0, rows(updates)), [])
    assert str(found.doc.get("text", type=Text)) == case["text"]
    if draft is not None:
        assert everything(draft.doc) == everything(found.doc)
        assert vet.parse_state_vector(draft.doc.get_state()) == vet.parse_state_vector(found.doc.get_state())


def test_a_letter_in_the_middle_of_an_emoji():
    emoji = typed("a😀b", client=1)  # a: 0, the emoji: 1 and 2, b: 3
    between = b"\x01\x01\x02\x00\xc4\x01\x01\x01\x02\x01x\x00"
    behind = b"\x01\x01\x02\x00\x84\x01\x01\x01x\x00"
    before = b"\x01\x01\x02\x00\x44\x01\x02\x01x\x00"
    beside = b"\x01\x01\x02\x00\x84\x01\x02\x01x\x00"
    for cut in (between, behind, before):
        assert taken([*emoji, cut]) is None
        assert taken([cut], applied(emoji).get_update()) is None
    assert taken([*emoji, beside]) is not None


@pytest.mark.parametrize(
    "updates",
    [
        typed("hello")[:2] + typed("hello")[3:],
        [*typed("hello"), b"\xff\xfe not an update"],
        [*typed("hello"), b"\x00\x01\x01\x01\x03\x07"],
        [chain(first, 100) for first in range(0, 600, 100)],
    ],
    ids=["a row is missing", "rubbish", "deletes what is not there", "nested too deep"],
)
def test_what_wants_a_closer_look(updates):
    assert taken(updates) is None


def test_a_checkpoint_that_is_none():
    with pytest.raises(DamagedRoom):
        anyio.run(from_checkpoint, "room", b"\x01")


def test_it_is_worth_it(figure):
    """A log of 20,000 rows, as 20 people leave it behind who type all at once."""
    authors = [typed("x" * 1_000, client=1 + number, name="text") for number in range(20)]
    log = Stored(1, None, 0, rows([update for turn in zip(*authors, strict=True) for update in turn]))

    async def seconds(call: Any, *args: object) -> float:
        began = time.perf_counter()
        await call("room", log, *args)
        return time.perf_counter() - began

    closely = min(anyio.run(seconds, recovery._look_closely, []) for _ in range(3))
    plainly = min(anyio.run(seconds, recovery.build) for _ in range(3))
    figure(f"20,000 rows: {plainly * 1000:.0f} ms, with a closer look {closely * 1000:.0f} ms")
    assert plainly < closely / 2
