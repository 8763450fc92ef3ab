"""Many documents on one socket: what is said on one address stays there."""

from __future__ import annotations

import pytest

from collab.addresses import CLOSED_ADDRESSES
from collab.wire.hocuspocus import PONG, Hocuspocus
from collab.wire.messages import Close, Denied, Granted, Saved
from tests.support.door import Door
from tests.support.raw import Raw
from tests.support.raw.hocuspocus import step1, token

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def server():
    with Door() as running:
        yield running


async def enter(client: Raw, name: str) -> Hocuspocus:
    speak = Hocuspocus(name)
    await client.send(token(name, "rw"))
    assert await client.recv() == speak.encode(Granted(True))
    return speak


async def until_heard(client: Raw, wanted: bytes | None) -> None:
    while await client.recv() != wanted:
        pass


async def test_a_broken_message_closes_its_document_and_no_other(server):
    async with await Raw.open(server.url, "/") as client:
        one, other = await enter(client, "one"), await enter(client, "other")
        await client.send(b"\x03one\x63")
        heard = await client.recv()
        assert heard is not None and heard.startswith(b"\x03one\x07")
        await client.send(step1("one"))  # it is over: not answered, and no knock
        await client.send(step1("other"))
        assert (await client.recv() or b"").startswith(b"\x05other\x00\x00")
        await client.send(PONG)
        await client.send(b"\x05other\x00\x01\x02\x00\x00")
        await until_heard(client, other.encode(Saved(True)))
        await client.send(token("one", "rw"))
        await until_heard(client, one.encode(Granted(True)))


async def test_a_client_is_done_with_one_document(server):
    async with await Raw.open(server.url, "/") as client:
        one = await enter(client, "bye")
        await client.send(b"\x03bye\x07")
        await until_heard(client, one.encode(Close("provider_initiated")))
        await enter(client, "bye")


async def test_names_that_no_room_can_have_are_denied(server):
    async with await Raw.open(server.url, "/") as client:
        await enter(client, "fine")
        for name in (" ", "\x01", "n" * 600):
            await client.send(token(name, "rw"))
            heard = await client.recv()
            assert heard is not None and heard.startswith((Hocuspocus(name).encode(Denied("x")) or b"")[:-2])


async def test_as_many_documents_may_be_closed_as_one_likes(server):
    async with await Raw.open(server.url, "/") as client:
        await enter(client, "stays")
        for number in range(CLOSED_ADDRESSES + 20):
            await client.send(token(f"no {number}", "wrong"))
            heard = await client.recv()
            assert heard is not None and b"\x02\x01" in heard
        await enter(client, "one more")
