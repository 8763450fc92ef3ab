"""The walk over an update: every struct in its place, and what it says of parents and types."""

from __future__ import annotations

from base64 import b64decode

import pytest

from collab.errors import BadMessage, BadUpdate
from collab.wire.structs import GC, STRING, TYPE, Blocks, Most, blocks_of, walk
from tests.support.histories import Editors
from tests.wire.test_vet import TAKEN, after, by_name, run, text, update


@pytest.mark.parametrize("case", TAKEN, ids=by_name)
def test_structs_lie_side_by_side(case):
    """What they say of their place adds up to the update, and to the runs."""
    for made in [*case["updates"], case["whole"]]:
        data = b64decode(made["update"])
        for client, structs in blocks_of(data):
            for one, other in zip(structs, structs[1:], strict=False):
                assert one.end == other.start and one.to == other.at
            assert all(struct.at < struct.body <= struct.to for struct in structs)
            assert all(struct.info == data[struct.at] for struct in structs)
            assert any(run[0] == client for run in walk(data).structs)


def test_where_the_content_begins():
    made = update(
        run(text("ab"), after(7, 0, "cd"), b"\x24\x01\x01m\x01k\x01e", b"\xc4\x07\x00\x07\x01\x01f", b"\x00\x03")
    )
    [(client, structs)] = blocks_of(made)
    assert client == 7
    assert [made[struct.body : struct.to] for struct in structs] == [b"\x02ab", b"\x02cd", b"\x01e", b"\x01f", b"\x03"]
    assert [struct.kind for struct in structs] == [STRING] * 4 + [GC]
    assert [struct.refs for struct in structs] == [(), ((7, 0),), (), ((7, 0), (7, 1)), ()]


def test_as_far_as_the_structs_go():
    made = update(run(text("ab")), deletes=b"\x01\x07\x01\x00\x01")
    blocks: Blocks = []
    extent = walk(made, blocks, deletes=False)
    assert (extent.deletes, extent.structs, blocks) == ((), walk(made).structs, blocks_of(made))


@pytest.mark.parametrize(
    ("most", "what"),
    [
        (Most(1, 9, 9), "more than 1 clients"),
        (Most(9, 3, 9), "more than 3 structs"),
        (Most(9, 9, 2), "more than 2 deleted ranges"),
    ],
)
def test_what_an_update_announces_is_bounded(most, what):
    made = update(
        run(text("a"), after(7, 0)), run(text("b"), after(8, 0), client=8), deletes=b"\x01\x07\x03" + b"\x00\x01" * 3
    )
    assert walk(made, most=Most(2, 4, 3)) == walk(made)
    with pytest.raises(BadUpdate, match=what):
        walk(made, most=most)


def test_types_and_those_who_are_none():
    made = update(run(b"\x07\x01\x01t\x00", b"\x04\x00\x07\x00\x01a", b"\x04\x00\x07\x01\x01b"))
    extent = walk(made)
    assert extent.types == 1 and extent.foundlings == ((7, 1),)
    assert blocks_of(made)[0][1][0].kind == TYPE
    assert walk(update(run(text("a", parent=b"\x00\x05\x03")))).foundlings == ()  # not in this update


@pytest.mark.parametrize("seed", range(10))
def test_no_editor_writes_foundlings(seed):
    editors = Editors(seed)
    assert not [made for made in [*editors.updates, *(d.get_update() for d in editors.docs)] if walk(made).foundlings]


def test_what_ends_early():
    whole = update(run(text("hello"), b"\x07\x01\x01t\x03\x01p"), deletes=b"\x01\x07\x01\x00\x01")
    for size in range(len(whole)):
        with pytest.raises((BadMessage, IndexError)):
            walk(whole[:size])
