"""pycrdt's own Provider: both directions, beside each other and beside real editors."""

from __future__ import annotations

import pytest
from pycrdt import Array, Doc, Map, Text

from tests.support.channels import over_httpx, over_websockets, synced
from tests.support.waiting import until

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[over_httpx, over_websockets])
def channel(request):
    return request.param


def text_of(doc: Doc) -> Text:
    return doc.get("text", type=Text)


async def text_is(doc: Doc, wanted: str) -> None:
    await until(lambda: str(text_of(doc)) == wanted, lambda: f"{wanted!r} instead of {str(text_of(doc))!r}")


async def test_both_directions(server, room, channel):
    one: Doc = Doc()
    other: Doc = Doc()
    async with synced(channel(server.url, room), one), synced(channel(server.url, room), other):
        text_of(one).insert(0, "Grüße")
        await text_is(other, "Grüße")
        text_of(other).insert(len(text_of(other)), " zurück 🙂")
        await text_is(one, "Grüße zurück 🙂")
        one.get("map", type=Map)["list"] = Array([1, 2, "drei"])
        await until(lambda: other.get("map", type=Map).to_py() == {"list": [1, 2, "drei"]}, "the map")


async def test_what_was_written_before_connecting_is_uploaded(server, room, channel):
    one: Doc = Doc()
    text_of(one).insert(0, "offline")
    async with synced(channel(server.url, room), one):
        other: Doc = Doc()
        async with synced(channel(server.url, room), other):
            await text_is(other, "offline")
    late: Doc = Doc()
    async with synced(channel(server.url, room), late):  # everybody had left
        await text_is(late, "offline")


async def test_a_name_that_is_not_ascii(server, channel):
    one: Doc = Doc()
    other: Doc = Doc()
    room = "資料/réunion 🙂"
    async with synced(channel(server.url, room), one), synced(channel(server.url, room), other):
        text_of(one).insert(0, "here")
        await text_is(other, "here")


async def test_beside_real_editors(server, node, room, version, channel):
    doc: Doc = Doc()
    anna = await node.client(server.url, room, version=version, awareness={"name": "anna"})
    async with synced(channel(server.url, room), doc):
        await anna.synced()
        await anna.insert("text", 0, "from JavaScript")
        await text_is(doc, "from JavaScript")
        text_of(doc).insert(15, ", from Python")
        await anna.text_is("from JavaScript, from Python")
        await anna.set_presence({"name": "anna", "cursor": 3})  # which pycrdt's Provider passes over
        text_of(doc).insert(0, "> ")
        await anna.text_is("> from JavaScript, from Python")
        assert len(await anna.presence()) == 1, "only the editor itself: neither Python nor the server has presence"


async def test_its_words_survive_a_restart_of_the_server(server, room, channel):
    doc: Doc = Doc()
    async with synced(channel(server.url, room), doc):
        text_of(doc).insert(0, "kept")
        other: Doc = Doc()
        async with synced(channel(server.url, room), other):
            await text_is(other, "kept")
    server.restart()
    late: Doc = Doc()
    async with synced(channel(server.url, room), late):
        await text_is(late, "kept")
