"""The short cut: it says what the long way says, or nothing."""

from __future__ import annotations

import random
import timeit
from base64 import b64decode
from contextlib import suppress
from functools import partial

import pytest
from pycrdt import Doc, Text

from collab.errors import BadMessage
from collab.wire import keystroke
from collab.wire.lib0 import MAX_SAFE, var_bytes, var_uint
from collab.wire.structs import MAX_CLOCK, walk
from tests.support.histories import Editors
from tests.wire.test_vet import TAKEN, by_name, damaged


def the_long_way(update: bytes) -> object:
    with suppress(BadMessage, IndexError):
        return walk(update)
    return None


def agrees(update: bytes) -> bool:
    """Whether the short cut knew the update; fails where it says anything else than the long way."""
    read = keystroke.read(update)
    if read is not None:
        assert read == the_long_way(update), update.hex()
    return read is not None


def typed(client: int, text: str, beside: tuple[int, int] = (5, 8), clock: int = 7, info: int = 0x84) -> bytes:
    ref = var_uint(beside[0]) + var_uint(beside[1])
    body = bytes([info]) + ref * (2 if info & 0xC0 == 0xC0 else 1) + var_bytes(text.encode())
    return b"\x01\x01" + var_uint(client) + var_uint(clock) + body + b"\x00"


@pytest.mark.parametrize("case", TAKEN, ids=by_name)
def test_what_yjs_writes(case):
    for made in [*case["updates"], case["whole"]]:
        agrees(b64decode(made["update"]))


def test_it_knows_what_people_do_all_day():
    made: list[bytes] = []
    doc: Doc = Doc(client_id=3_000_000_000)
    text = doc.get("t", type=Text)
    text.insert(0, "ends")
    doc.observe(lambda event: made.append(event.update))
    text.insert(4, "a")
    text.insert(5, "ü😀")
    text.insert(2, "in the middle")
    text.insert(0, "before")
    del text[3]
    with doc.transaction():
        del text[1]
        text.insert(1, "replaced")
    assert [agrees(update) for update in made] == [True] * 6


def test_it_knows_many_who_type_at_once():
    one, two = typed(6, "a")[2:-1], typed(300, "b😀", beside=(5, 7), info=0xC4)[2:-1]
    for runs, tail in ((b"\x02\x01" + one + b"\x01" + two, b"\x00"), (b"\x01\x01" + two, b"\x01\x05\x01\x03\x02")):
        assert agrees(runs + tail)
    assert keystroke.read(b"\x02\x01" + one + b"\x01" + one + b"\x00") is None  # yrs reads on where Yjs begins anew
    assert keystroke.read(b"\x02\x01" + one + b"\x00") is None


@pytest.mark.parametrize("seed", range(30))
def test_damaged_updates(seed):
    """Mostly nonsense, sometimes something else that makes sense."""
    dice, known = random.Random(seed), 0
    updates = Editors(seed).updates + [typed(dice.choice((1, 300, 2**31)), "ab😀"), b"\x00\x01\x05\x01\x03\x02"]
    updates.append(b"\x02\x01" + typed(6, "ab")[2:-1] + b"\x01" + typed(300, "c", beside=(5, 7))[2:])
    for update in updates * 10:
        known += agrees(damaged(dice, update))
    assert known


@pytest.mark.parametrize(
    "made",
    [
        typed(5, "a", beside=(5, 7)),  # beside itself
        typed(5, "a", beside=(5, 9)),
        typed(5, "a", beside=(5, 9), info=0xC4),
        typed(5, ""),
        typed(5, "a", clock=MAX_CLOCK),
        typed(5, "a", info=0xA4),  # the value of a key
        typed(5, "a")[:-1],
        typed(5, "a") + b"\x00",
        typed(5, "a")[:-1] + b"\x01\x05\x01\x03\x00",
        typed(5, "a")[:-1] + b"\x01\x05\x01\x03" + var_uint(MAX_CLOCK),
        typed(5, "a").replace(b"a", b"\xff"),
        typed(5, "a").replace(b"\x01a", b"\x02a"),
        typed(5, "a").replace(b"\x01\x01\x05", b"\x01\x01\x85\x00"),
        typed(MAX_SAFE + 1, "a"),
        b"\x00\x00",
        b"\x00\x01\x05\x01\x03\x00",
        b"\x00\x01\x05\x02\x03\x01\x09\x01",
        b"",
    ],
    ids=lambda made: made.hex() or "nothing",
)
def test_the_rest_is_left_to_the_long_way(made):
    assert keystroke.read(made) is None


def test_what_it_remembers_is_bounded(monkeypatch):
    monkeypatch.setattr(keystroke, "_MOST_KNOWN", 10)
    monkeypatch.setattr(keystroke, "_known", {})
    for client in range(1000, 1100):
        assert agrees(typed(client, "a"))
    assert len(keystroke._known) <= 10


def test_it_is_worth_it(figure):
    made = typed(3_000_000_000, "a", beside=(3_000_000_000, 6))
    short, long = (min(timeit.repeat(partial(read, made), number=2_000, repeat=9)) for read in (keystroke.read, walk))
    figure(f"vetting of a keystroke: {short / 2_000 * 1e6:.1f} us, the long way {long / 2_000 * 1e6:.1f} us")
    assert short < long
