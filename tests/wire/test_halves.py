"""Halves of characters: where they are, who cuts them, and that what is mended is what Yjs has."""

from __future__ import annotations

import json
import random
import sys
import time
from base64 import b64decode
from pathlib import Path

import pytest
from pycrdt import Text

from collab.wire import halves, vet
from collab.wire.halves import Pairs, cuts, mended, pairs, whole
from collab.wire.lib0 import var_string, var_uint
from collab.wire.structs import walk
from tests.support.histories import Editors, applied, clocks
from tests.wire.test_keyed import between
from tests.wire.test_vet import Server, after, by_name, run, text, update

CASES = json.loads(Path(__file__).with_name("yjs_halves.json").read_text())


def text_of(updates: list[bytes]) -> str:
    return str(applied(updates).get("text", type=Text))


def test_where_the_second_halves_are():
    made = update(run(text("a😀b"), b"\x00\x02", after(7, 0, "😀😀"), clock=3), run(b"\x01\x01\x01t\x05", client=9))
    assert pairs(made) == {(7, 5), (7, 10), (7, 12)}
    assert pairs(update(run(text("aé€"), client=0xF0BFBFBF))) == set()


@pytest.mark.parametrize(
    ("made", "points"),
    [
        (update(run(after(7, 1, "x"), client=8)), {(7, 2)}),
        (update(run(b"\x44\x07\x02" + var_string("x"), client=8)), {(7, 2)}),
        (update(run(b"\xc4\x07\x01\x09\x05" + var_string("x"), client=8)), {(7, 2), (9, 5)}),
        (update(run(text("x", parent=b"\x00\x07\x02"), client=8)), set()),  # a parent is not cut
        (update(deletes=b"\x01\x07\x01\x02\x03"), {(7, 2), (7, 5)}),
        (update(run(text("abcd"))), {(7, 2)}),  # two of it are there already
        (update(run(text("ab"))), set()),
    ],
)
def test_where_an_update_cuts(made, points):
    assert cuts(made, {7: 2}) == points


def test_what_is_mended_keeps_its_place():
    made = update(run(text("a😀b😀"), after(7, 5, "😀")), deletes=b"\x01\x07\x01\x00\x01")
    assert mended(made, {(7, 5)}) == update(
        run(text("a😀b\ufffd\ufffd"), after(7, 5, "😀")), deletes=b"\x01\x07\x01\x00\x01"
    )
    assert mended(made, {(7, 1), (7, 3), (8, 2)}) == made  # none of these is a second half
    assert vet.parse(mended(made, pairs(made))) == vet.parse(made)


def test_pairs_of_a_document():
    known = Pairs()
    known.add(update(run(text("a😀"))), {})
    known.add(update(run(text("a😀"), after(7, 2, "😀"))), {7: 3})
    assert (7, 2) in known and (7, 4) in known and (7, 3) not in known and (8, 2) not in known
    assert len(known) == 2
    assert known.cut(update(deletes=b"\x01\x07\x01\x02\x01"), {7: 5}) == {(7, 2)}
    assert known.cut(update(deletes=b"\x01\x07\x01\x01\x02"), {7: 5}) == set()
    known.forget({(7, 2), (9, 9)})
    assert (7, 2) not in known and len(known) == 1
    known.add(update(run(text("a😀"))), {7: 5})  # known for long, and cut by now
    assert (7, 2) not in known
    known.forget({(7, 4)})
    assert len(known) == 0


@pytest.mark.parametrize(
    ("item", "touched", "cut"),
    [
        (after(7, 0), False, False),
        (after(7, 1), True, True),
        (after(7, 2), False, False),
        (between((7, 0), (7, 3)), False, False),
        (between((7, 1), (7, 2)), True, True),
        (between((7, 0), (7, 1)), True, False),  # a closer look tells
        (after(7, 0, "😀"), True, False),
    ],
)
def test_what_stands_beside_one(item, touched, cut):
    known = Pairs()
    known.add(update(run(text("a😀b"))), {})  # a is 0, the emoji 1 and 2, b 3
    made = update(run(item, client=8))
    assert known.touched(made, walk(made)) is touched and bool(known.cut(made, {7: 4})) is cut


def test_a_clients_id_that_looks_like_one_is_none():
    """Its letters would take the long way into the document, each of them."""
    client = 268_437_362  # as a varUint f2 8e 80 80 01
    assert bytes.fromhex("f28e808001") in (made := update(run(text("a"), after(client, 0), client=client)))
    assert not Pairs().touched(made, walk(made))
    made = update(run(text("a"), after(client, 0, "😀"), client=client))
    assert Pairs().touched(made, walk(made))


def test_an_update_may_cut_its_own():
    made = update(run(text("😀"), after(7, 0, "x")))
    assert Pairs().cut(made, {}) == {(7, 1)}


@pytest.mark.parametrize("case", CASES, ids=by_name)
@pytest.mark.parametrize("seed", range(3))
def test_a_log_that_is_read_at_once_is_what_yjs_has(case, seed):
    updates = [b64decode(made) for made in case["updates"]]
    if seed:
        random.Random(seed).shuffle(updates)
    server = Server()  # yrs alone goes astray with what is missing
    for made in whole(updates):
        server.receive(made)
    doc = server.doc
    assert not server.held
    assert str(doc.get("text", type=Text)) == case["text"]
    assert clocks(doc) == {int(client): clock for client, clock in case["vector"].items()}
    assert text_of([doc.get_update()]) == case["text"]


def test_without_mending_it_goes_wrong():
    """Once yrs reads all of these as Yjs does, this module can go."""
    wrong = [case["name"] for case in CASES if text_of([b64decode(made) for made in case["updates"]]) != case["text"]]
    assert wrong


@pytest.mark.parametrize("seed", range(40))
def test_nothing_is_mended_that_is_whole(seed):
    updates = Editors(seed).updates
    assert whole(updates) == updates
    assert all(mended(made, ()) is made for made in updates)


def test_what_it_costs(figure):
    """A text of nothing but emoji: 4 bytes for each in memory; a keystroke elsewhere: a few microseconds."""
    count = 200_000
    emoji = update(run(text("😀" * count)))
    known = Pairs()
    began = time.perf_counter()
    known.add(emoji, {})
    seconds = time.perf_counter() - began
    size = sum(sys.getsizeof(clocks) for clocks in known._seconds.values())
    keystroke = update(run(after(8, 3, "x"), client=8, clock=4))
    spent = {}
    for name, document in (("without", Pairs()), ("with", known)):
        began = time.perf_counter()
        for _ in range(2_000):
            document.cut(keystroke, {8: 4})
        spent[name] = (time.perf_counter() - began) / 2_000 * 1e6
    figure(
        f"{count:,} emoji: {size / count:.1f} bytes each, {seconds / count * 1e9:.0f} ns each to note; a keystroke is "
        f"looked at for {spent['without']:.1f} us in a document without any, {spent['with']:.1f} us in one with"
    )
    assert size < 4.6 * count
    assert spent["without"] < 20 and spent["with"] < 200


def test_the_first_look_is_no_more_than_that():
    """Numbers may look like characters of two units; what is found is read from the text alone."""
    clock = 0x0FFFFFF0  # f0 ff ff 7f in the update
    made = update(run(b"\x84\x08" + var_uint(clock) + b"\x01a", client=0xFFFFFFF0))
    assert halves.pairs(made) == set()
