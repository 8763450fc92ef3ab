"""How long it takes with large documents and long logs."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest
from pycrdt import Doc, Text, XmlElement, XmlFragment, XmlText

from collab.history.attribution import attribution
from collab.history.diff import diff
from collab.history.restore import restore
from collab.history.timeline import EMPTY, state_at
from collab.history.undo import by, undo
from collab.store import Kind, Row, State
from tests.history.histories import PEOPLE
from tests.support.histories import applied

pytestmark = pytest.mark.anyio

PARAGRAPHS = 20_000
LOG = 100_000


class Clock:
    """How long each step took."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self._began = time.perf_counter()

    def step(self, name: str) -> None:
        now = time.perf_counter()
        self.steps.append(f"{name} {now - self._began:.2f} s")
        self._began = time.perf_counter()

    def __str__(self) -> str:
        return ", ".join(self.steps)


def large(paragraphs: int) -> tuple[bytes, Doc[Any]]:
    """A document of so many paragraphs of 500 characters, and the same after a tenth of it was changed."""
    chance = random.Random(1)
    doc: Doc[Any] = Doc()
    root = doc.get("default", type=XmlFragment).children
    with doc.transaction():
        for nth in range(paragraphs):
            text = " ".join(f"word{chance.randrange(9999)}" for _ in range(60))[:495] + f" {nth}."
            root.insert(0, XmlElement("paragraph", None, [XmlText(text)]))
    before = doc.get_update()
    with doc.transaction():
        for nth in range(paragraphs - 1, -1, -10):
            if nth % 3 == 0:
                del root[nth]
            else:
                root[nth].children[0].insert(7, "new words ")
    return before, doc


def test_a_document_of_10_mb(full, figure):
    before, doc = large(PARAGRAPHS if full else PARAGRAPHS // 50)
    now = doc.get_update()
    clock = Clock()
    edit = restore(now, before)
    clock.step("restore")
    doc.apply_update(edit)
    clock.step("applied")
    found = diff(before, now)
    clock.step("diff")
    figure(f"a document of {len(before) / 1e6:.1f} MB: {clock}; the edit is {len(edit) / 1e3:.0f} kB")
    assert len(found["nodes"]["default"]["content"]) > 10
    assert diff(before, doc.get_update()) == {"text": {}, "nodes": {}}


def log(length: int) -> list[Row]:
    """What three people type and delete, each in bursts in places of their own."""
    chance = random.Random(1)
    doc: Doc[Any] = Doc()
    text = doc.get("text", type=Text)
    rows: list[Row] = []
    author = PEOPLE[0]
    doc.observe(lambda event: rows.append(Row(len(rows) + 1, event.update, float(len(rows) + 1), author, Kind.RAW)))
    places = dict.fromkeys(PEOPLE, 0)
    while len(rows) < length:
        if chance.random() < 0.05:
            author = chance.choice(PEOPLE)
            if chance.random() < 0.1:
                places[author] = chance.randint(0, len(text))
        at = min(places[author], len(text))
        if at and chance.random() < 0.1:
            del text[at - 1 : at]
            places[author] = at - 1
        else:
            text.insert(at, chance.choice("abc "))
            places[author] = at + 1
    return rows


async def test_a_log_of_100_000_updates(full, figure):
    rows = log(LOG if full else LOG // 50)
    half = len(rows) // 2
    clock = Clock()
    now = await state_at("a room", EMPTY, rows)
    clock.step("the document at the end")
    then = await state_at("a room", EMPTY, rows, seq=half)
    clock.step("in the middle")
    middle = await state_at("a room", State(then.update, half), rows, seq=half + 1_000)
    clock.step("1,000 rows after a snapshot")
    assert middle.covers == half + 1_000
    edit = restore(now.whole, then.whole)
    clock.step("restore")
    found = attribution(EMPTY, rows, now)
    clock.step("attribution")
    back = undo(EMPTY, rows, now, by("ben", since=half))
    clock.step("undo of a third of a half")
    figure(f"a log of {len(rows)} updates: {clock}")
    live = applied([now.whole])
    live.apply_update(edit)
    assert str(live.get("text", type=Text)) == str(applied([then.whole]).get("text", type=Text))
    assert "".join(run.shown for run in found.runs) == str(applied([now.whole]).get("text", type=Text))
    live = applied([now.whole])
    live.apply_update(back)
    assert 0 < len(live.get("text", type=Text)) < len(applied([now.whole]).get("text", type=Text))
