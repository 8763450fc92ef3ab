"""The ETag of a document: every change moves it, deletions too; a state vector alone is a name as well."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from pycrdt import Doc, Text

from collab.errors import BadMessage, Conflict, Stale
from collab.room import RoomCore
from collab.web.api import tags


@pytest.fixture
def doc() -> Doc[Any]:
    return Doc({"t": Text("abc")})


def core(doc: Doc[Any]) -> RoomCore:
    copy: Doc[Any] = Doc()
    copy.apply_update(doc.get_update())
    return RoomCore("room", copy)


def test_every_change_moves_it(doc):
    seen = [tags.tag(core(doc))]
    for change in (
        lambda text: text.insert(0, "x"),
        lambda text: text.__delitem__(slice(0, 1)),
        lambda text: text.clear(),
    ):
        change(doc["t"])
        assert tags.tag(core(doc)) == tags.tag(core(doc))
        seen.append(tags.tag(core(doc)))
    assert len(set(seen)) == len(seen)


def test_names(doc):
    room = core(doc)
    vector = base64.urlsafe_b64encode(doc.get_state()).decode().rstrip("=")
    for header in (None, "*", tags.tag(room), f'"{vector}"', f'"AA", {tags.tag(room)}', f' "{vector}" '):
        tags.demand(header, room)
    del doc["t"][0:1]
    tags.demand(f'"{vector}"', core(doc))  # a state vector does not tell of deletions
    for header in (tags.tag(room), '"AA"', f'W/"{vector}"'):
        with pytest.raises(Stale):
            tags.demand(header, core(doc))
    for header in ("", "x", "garbage"):
        with pytest.raises((BadMessage, Stale)):
            tags.demand(header, room)
    for header in (vector, '"!"', '"é"', '"A"', '"AQ"', f'"{vector}'):
        with pytest.raises(BadMessage):
            tags.demand(header, room)


def test_nothing(doc):
    empty = RoomCore("room")
    with pytest.raises(Stale):
        tags.demand("*", empty)
    tags.demand(tags.tag(empty), empty)
    tags.demand_none("*", empty)
    with pytest.raises(Conflict):
        tags.demand_none("*", core(doc))
    assert tags.tag(empty) == '"AA.0"'


def test_same(doc):
    current = tags.tag(core(doc))
    assert tags.same(current, current) and tags.same(f"W/{current}", current)
    assert not any(tags.same(header, current) for header in (None, "", "*", '"AA.0"', "garbage"))
