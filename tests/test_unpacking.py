"""An export is read: what is wrong in it is found, wherever it is, and nothing of the room concerned is handed on."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from collab import bundle, unpacking
from collab.errors import BadMessage, BadRoomName, BadUpdate, CollabError, TooLarge
from collab.store.memory import MemoryStore
from collab.unpacking import Head, Scratch, Source, unpack
from tests.support.rooms import content, fill
from tests.test_bundle import exported, records

pytestmark = pytest.mark.anyio


async def cut(stream: bytes, size: int) -> AsyncIterator[bytes]:
    for at in range(0, len(stream), size):
        yield stream[at : at + size]


async def read(stream: bytes, *, size: int = 1000, largest: int = 1 << 20) -> tuple[list[str], Head]:
    """The rooms in it; raises what is wrong with it, with the rooms before that as its note."""
    names: list[str] = []
    head = Head()
    try:
        async with Scratch(None) as scratch:
            async for info in unpack(Source(cut(stream, size), largest), scratch, head, name_bytes=100):
                names.append(info.name)
    except CollabError as error:
        error.add_note(" ".join(names))
        raise
    return names, head


async def wrong(
    stream: bytes, kind: type[CollabError] = BadMessage, match: str | None = None, **options: int
) -> list[str]:
    """That it is refused, and the rooms that came before."""
    with pytest.raises(kind, match=match) as refused:
        await read(stream, **options)
    assert refused.type is kind
    return refused.value.__notes__[0].split()


def written(found: list[tuple[dict[str, Any], bytes]]) -> bytes:
    """Records as a stream, with checksums that are right."""
    stream, section = b"", b""
    for said, blob in found:
        said = dict(said)
        if said["record"] == "room":
            section = b""
        if said["record"] == "end of room":
            said["sha256"] = hashlib.sha256(section).hexdigest()
        if said["record"] == "end":
            said["sha256"] = hashlib.sha256(stream).hexdigest()
        if "bytes" in said:
            said["bytes"] = len(blob)
        if said["record"] == "snapshot":
            said["sha256"] = hashlib.sha256(blob).hexdigest()
        part = json.dumps(said).encode() + b"\n" + blob
        stream += part
        section += part
    return stream


@pytest.fixture
async def stream() -> bytes:
    async with MemoryStore() as store:
        await fill(store, "first", forgotten=12)
        await fill(store, "second", 3)
        await fill(store, "third", forgotten=20)
        return await exported(store)


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
async def test_all_of_it(stream, size, monkeypatch):
    monkeypatch.setattr(unpacking, "ROWS", 4)
    monkeypatch.setattr(unpacking, "FULL", 1)
    assert await read(stream, size=size) == (["first", "second", "third"], Head(3, 0))
    assert await read(written(records(stream)), size=size) == (["first", "second", "third"], Head(3, 0))


async def test_what_is_handed_on_is_the_room():
    async with MemoryStore() as store:
        await fill(store, "first", forgotten=12)
        stream = await exported(store)
        expected = (await content(store))["first"]
    async with Scratch(None) as scratch:
        rooms = unpack(Source(cut(stream, 999), 1 << 20), scratch, Head(), name_bytes=100)
        info = await anext(rooms)
        assert (info.name, info.seq, info.covers, info.forgotten) == ("first", 30, 20, 12)
        assert (await content(scratch.store))["first"] == expected
        await rooms.aclose()


async def test_cut_short_anywhere(stream):
    for at in random.Random(1).sample(range(len(stream)), 40):
        before = await wrong(stream[:at])
        assert before == ["first", "second", "third"][: stream[:at].count(b'{"record":"end of room"')][: len(before)]


async def test_a_bit_flipped_anywhere(stream, figure):
    """Checksums find it before the room is handed on, whatever it is."""
    dice, refusals = random.Random(2), 0
    for at in dice.sample(range(len(stream)), 60):
        altered = bytearray(stream)
        altered[at] ^= 1 << dice.randrange(8)
        with pytest.raises(CollabError) as refused:
            await read(bytes(altered))
        assert 400 <= refused.value.http_status < 500, refused.value
        hurt = stream[:at].count(b'{"record":"end of room"')
        assert len(refused.value.__notes__[0].split()) <= hurt
        refusals += 1
    figure(f"one bit flipped: {refusals} of {refusals} exports refused with 4xx, before the room that it is in")


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\n",
        b"hello\n",
        b"null\n",
        b"[" * 100_000 + b"\n",
        b'{"record":"export","version":2,"rooms":0}\n',
        b'{"record":"export","version":1,"rooms":' + b"9" * 5000 + b"}\n",
        b'{"record":"export","version":1,"rooms":-1}\n',
        b'{"record":"export","version":1,"rooms":true}\n',
        b'{"record":"room","name":"a","seq":1,"covers":0,"forgotten":0}\n',
        b"SQLite format 3\0" + bytes(10_000) + b"\n",
        b"\x01\x01\x07\x00\x08\n",
    ],
    ids=range(12),
)
async def test_garbage(garbage):
    assert await wrong(garbage) == []


async def test_what_is_huge(stream):
    assert await wrong(b"x" * 1_000_000, TooLarge, "line of record 1") == []
    assert await wrong(b'{"x":"' + b"x" * 300_000 + b'"}\n', TooLarge, size=1 << 20) == []
    assert await wrong(stream, TooLarge, "what follows record", largest=50) == []
    announced = b'{"record":"row","time":1,"author":null,"kind":0,"bytes":9007199254740992}\n'
    assert await wrong(stream.split(b'{"record":"row"', 1)[0] + announced, TooLarge) == []


async def test_something_behind_it(stream):
    assert await wrong(stream + b"x", match="after the end") == ["first", "second", "third"]
    assert await wrong(stream + stream, match="after the end", size=1 << 20) == ["first", "second", "third"]


CHANGES: dict[str, tuple[str, Any, type[CollabError]]] = {
    "no name": ("room", {"name": None}, BadMessage),
    "half a character": ("room", {"name": "\ud800"}, BadMessage),
    "an empty name": ("room", {"name": ""}, BadRoomName),
    "a long name": ("room", {"name": "x" * 200}, BadRoomName),
    "more rows": ("room", {"seq": 31}, BadMessage),
    "fewer rows": ("room", {"seq": 29}, BadMessage),
    "no rows": ("room", {"seq": 0, "covers": 0, "forgotten": 0}, BadMessage),
    "a great hole": ("room", {"seq": 2**53, "covers": 2**53, "forgotten": 2**53 - 1}, BadMessage),
    "a checkpoint beyond": ("room", {"covers": 31}, BadMessage),
    "no checkpoint": ("room", {"covers": 0, "forgotten": 0, "seq": 18}, BadMessage),
    "a time": ("row", {"time": float("nan")}, BadMessage),
    "no time": ("row", {"time": "noon"}, BadMessage),
    "a great time": ("row", {"time": 10**300}, BadMessage),
    "an author": ("row", {"author": 7}, BadMessage),
    "a kind": ("row", {"kind": 9}, BadMessage),
    "a reason": ("snapshot", {"reason": "none of ours"}, BadMessage),
    "a pin": ("snapshot", {"pinned": 1}, BadMessage),
    "a moment": ("snapshot", {"covers": 31}, BadMessage),
    "a label": ("snapshot", {"label": None}, BadMessage),
    "a count": ("end of room", {"snapshots": 7}, BadMessage),
    "a strange record": ("row", {"record": "rows"}, BadMessage),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_fields_that_are_wrong(stream, change):
    """With checksums that are right: it is no accident, then."""
    kind, fields, error = CHANGES[change]
    found = records(stream)
    at = next(nth for nth, (said, _) in enumerate(found) if said["record"] == kind)
    found[at] = (found[at][0] | fields, found[at][1])
    assert await wrong(written(found), error) == []


@pytest.mark.parametrize("kind", ["row", "snapshot", "checkpoint"])
@pytest.mark.parametrize("blob", [b"", b"\x00", b"no update", b"\x01\x01\x14\x01\x00\x00\x00", b"\x00\x00\x00"])
async def test_what_is_no_update(stream, kind, blob):
    found = records(stream)
    at = next(nth for nth, (said, _) in enumerate(found) if said["record"] == kind)
    found[at] = (found[at][0], blob)
    assert await wrong(written(found), BadUpdate, "no Yjs update") == []


async def test_what_does_not_add_up(stream):
    """Each record for itself is right."""
    found = records(stream)
    rows = [nth for nth, (said, _) in enumerate(found) if said["record"] == "row"]
    tail = rows[17]  # the last one of the first room
    other = (found[tail][0], found[rows[-1]][1])
    empty = (found[tail][0], b"\x00\x00")
    last = next(nth for nth, (said, _) in enumerate(found) if said["record"] == "end of room")
    assert await wrong(written([*found[:10], *found[11:]]), match="missing") == []
    assert await wrong(written([*found[:tail], other, *found[tail + 1 :]]), match="does not add up") == []
    assert await wrong(written([*found[: tail - 1], empty, *found[tail:]]), match="does not add up") == []
    assert await wrong(written([*found[:last], found[last - 1], *found[last:]]), match="last of a room") == []
    again = [found[0], *found[1 : last + 1], *found[1 : last + 1], found[-1]]
    assert await wrong(written(again), match="came before") == ["first"]
    assert await wrong(written([found[0], *found[1 : last + 1], found[-1]]), match="lost or altered") == ["first"]


async def test_rooms_that_were_damaged_are_counted(stream):
    found = records(stream)
    damaged: tuple[dict[str, Any], bytes] = ({"record": "damaged", "name": "fourth", "what": "it is"}, b"")
    assert await read(written([*found[:-1], damaged, found[-1]])) == (["first", "second", "third"], Head(3, 1))


def test_the_version_is_the_one_that_is_written():
    assert b'"version":%d' % bundle.VERSION in bundle.line("export", version=bundle.VERSION)
