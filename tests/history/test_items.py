"""The order in which the parts of a document stand."""

from __future__ import annotations

import random
from typing import Any

import pytest
from pycrdt import Doc, Text

from collab.errors import BadUpdate
from collab.history.items import Item, Items, Layer
from collab.wire.structs import DELETED, GC
from tests.history.histories import Crowd, crowds
from tests.support.histories import applied


def ids(items: Items, parent: Any) -> list[tuple[int, int]]:
    """Every clock in a sequence, one by one."""
    return [(item.client, clock) for item in items.sequence(parent) for clock in range(item.start, item.end)]


def test_order_does_not_depend_on_how_it_was_told():
    """One update, or the rows in any order that they fit together: the same sequences."""
    for crowd in crowds(False):
        layers = [Layer.of(row.update) for row in crowd.rows]
        whole = Items([Layer.of(applied(row.update for row in crowd.rows).get_update())])
        random.Random(1).shuffle(layers)
        rows = Items(layers)
        assert rows.roots == whole.roots
        for name in whole.roots:
            assert ids(rows, name) == ids(whole, name)
            assert [key for key, _ in rows.values(name)] == [key for key, _ in whole.values(name)]
            for (_, mine), (_, theirs) in zip(rows.values(name), whole.values(name), strict=True):
                assert mine.end == theirs.end and mine.client == theirs.client


def test_content_comes_from_the_state_that_still_has_it():
    for seed in range(30):
        crowd = Crowd(seed)
        old = Layer.of(applied(row.update for row in crowd.rows[: seed + 1]).get_update())
        new = Layer.of(applied(row.update for row in crowd.rows).get_update())
        for layers in ([old, new], [new, old]):
            for item in Items(layers):
                assert item.kind not in (GC, DELETED) or not has_content(old, item)


def has_content(layer: Layer, item: Item) -> bool:
    """Whether there is something where an item begins."""
    return any(
        struct.start <= item.start < struct.end and struct.kind not in (GC, DELETED)
        for client, structs in layer.blocks
        if client == item.client
        for struct in structs
    )


def test_parts_are_cut_where_something_refers_into_them():
    doc: Doc[Any] = Doc(client_id=1)
    text = doc.get("text", type=Text)
    text.insert(0, "abcdef")
    other: Doc[Any] = Doc(client_id=2)
    other.apply_update(doc.get_update())
    other.get("text", type=Text).insert(2, "X")
    items = Items([Layer.of(other.get_update())], edges=[(1, 4, 5)])
    assert [(item.client, item.start, item.end) for item in items.sequence("text")] == [
        (1, 0, 2),
        (2, 0, 1),
        (1, 2, 4),
        (1, 4, 5),
        (1, 5, 6),
    ]
    assert items.clients == {1, 2}
    found = items.at((1, 3))
    assert found is not None and found.id == (1, 2)
    assert items.at((1, 6)) is None and items.at((3, 0)) is None
    assert [item.id for item in items.within([(1, 2, 5), (3, 0, 9)])] == [(1, 2), (1, 4)]


def test_what_builds_on_something_that_is_not_there():
    doc: Doc[Any] = Doc()
    doc.get("text", type=Text).insert(0, "a")
    known = doc.get_state()
    other: Doc[Any] = Doc()
    other.apply_update(doc.get_update())
    other.get("text", type=Text).insert(1, "b")
    with pytest.raises(BadUpdate):
        Items([Layer.of(other.get_update(known))])


def test_parts_that_wait_for_each_other():
    """Two layers, each sound by itself as far as one can see, of which neither can be first."""
    one = bytes([1, 1, 1, 0, 0x84, 2, 0, 1]) + b"a\x00"  # (1, 0) stands behind (2, 0)
    two = bytes([1, 1, 2, 0, 0x84, 1, 0, 1]) + b"b\x00"
    with pytest.raises(BadUpdate, match="wait for each other"):
        Items([Layer.of(one), Layer.of(two)])
