"""Many documents on one socket: what is said on one address stays there."""

from __future__ import annotations

import pytest

from collab.addresses import CLOSED_ADDRESSES, SESSION_LENGTH
from collab.wire.hocuspocus import PONG, Hocuspocus
from collab.wire.messages import Close, Denied, Granted, Saved
from tests.support.door import Door
from tests.support.raw import Raw
from tests.support.raw.hocuspocus import Attached, step1, token

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


async def until_entered(client: Raw, name: str) -> None:
    """There is more to hear than that."""
    await client.send(token(name, "rw"))
    await until_heard(client, Hocuspocus(name).encode(Granted(True)))


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


async def test_one_socket_has_so_many_documents():
    """What is one too many is denied by itself, and what is sent there all the same is not answered."""
    with Door(env={"COLLAB_LIMITS__DOCUMENTS_PER_CONNECTION": "5", "COLLAB_LOG__FORMAT": "json"}) as server:
        async with await Raw.open(server.url, "/") as client:
            for number in range(5):
                last = await enter(client, f"no {number}")
            denied = Denied("too many documents on one connection: the limit is 5")
            for number in range(5, 50):
                await client.send_many([token(f"no {number}", "rw"), step1(f"no {number}")])
                assert await client.recv() == Hocuspocus(f"no {number}").encode(denied)
            await client.send(last.encode(Close()) or b"")
            await until_heard(client, last.encode(Close("provider_initiated")))
            await enter(client, "no 5")
        metrics = server.metrics()
        assert metrics.get("collab_limited_total", limit="documents_per_connection") == 45
        lines = [line for line in server.json_logs() if line["event"] == "document refused"]
        assert len(lines) == 1, "the others are counted"


async def test_one_socket_has_so_many_sessions_of_a_document():
    env = {"COLLAB_LIMITS__SESSIONS_PER_DOCUMENT": "3", "COLLAB_LIMITS__CONNECTIONS_PER_ROOM": "4"}
    with Door(env=env) as server:
        async with await Raw.open(server.url, "/") as client:
            for number in range(3):
                await enter(client, f"room\0{number}")
            denied = Denied("too many sessions of one document on one connection: the limit is 3")
            for number in range(3, 20):
                await client.send(token(f"room\0{number}", "rw"))
                await until_heard(client, Hocuspocus(f"room\0{number}").encode(denied))
            await until_entered(client, "another room")
            async with await Attached.open(server.url, "room") as other:
                await other.saved()
            first = Hocuspocus("room\0" + "0")
            await client.send(first.encode(Close()) or b"")
            await until_heard(client, first.encode(Close("provider_initiated")))
            await until_entered(client, "room\0again")


async def test_the_name_of_a_session_has_an_end(server):
    async with await Raw.open(server.url, "/") as client:
        await enter(client, "room\0" + "s" * (SESSION_LENGTH - 1))
        longer = "room\0" + "s" * SESSION_LENGTH
        await client.send(token(longer, "rw"))
        assert await client.recv() == Hocuspocus(longer).encode(Denied("the session's name is too long"))
        await enter(client, "another room")


async def test_of_many_documents_not_each_is_logged():
    with Door(env={"COLLAB_LOG__FORMAT": "json"}) as server:
        async with await Raw.open(server.url, "/") as client:
            for number in range(100):
                await enter(client, f"no {number}")
        lines = [line for line in server.json_logs() if line["event"] == "client joined"]
        assert len(lines) <= 12, "ten, and one that counts the others"
