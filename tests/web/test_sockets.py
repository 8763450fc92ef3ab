"""What becomes of a WebSocket before it has a room."""

from __future__ import annotations

import pytest

from tests.faults.tokens import SECRET, token
from tests.support.raw import Raw, Refused, sync1
from tests.support.server import Server
from tests.support.waiting import until

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def server():
    with Server(env={"COLLAB_LIMITS__CONNECTIONS": "3", "COLLAB_LIMITS__CONNECTIONS_PER_ROOM": "2"}) as running:
        yield running


@pytest.fixture(autouse=True)
async def _nobody_is_left(server):
    yield
    await until(lambda: server.metrics().get("collab_connections") == 0, "everybody counted out")


async def test_the_first_subprotocol_offered_is_spoken(server):
    """A browser that offered some fails the connection when none is chosen."""
    async with await Raw.open(server.url, headers=[("Sec-WebSocket-Protocol", "token.abc, other")]) as client:
        assert client.headers["sec-websocket-protocol"] == "token.abc"
        await client.expect("sync1")
    async with await Raw.open(server.url) as client:
        assert "sec-websocket-protocol" not in client.headers


OFFER = [("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits")]


SLOW = {"COLLAB_SERVER__FAST_PATH": "no"}
PLAIN = {"COLLAB_SERVER__COMPRESSION": "no"}


async def test_compression_is_agreed_to_on_the_fast_path():
    with Server() as server:
        async with await Raw.open(server.url, headers=OFFER) as client:
            agreed = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
            assert client.headers["sec-websocket-extensions"] == agreed
            await client.expect("sync1")
            assert server.metrics().get("collab_connections", transport="takeover") == 1
        assert server.metrics().get("collab_fast_path") == 1


@pytest.mark.parametrize(("env", "carrier"), [(SLOW, "asgi"), (PLAIN, "takeover")])
async def test_compression_is_not_agreed_to(env, carrier):
    """On the path that every ASGI server has, a small message could inflate to more than the server has."""
    with Server(env=env) as server:
        await _refuses_compression(server, carrier)
        server.terminate()
        assert (await server.exited(10)).code == 0 and server.complaints() == []


async def _refuses_compression(server, carrier):
    async with await Raw.open(server.url, headers=OFFER) as client:
        assert server.metrics().get("collab_connections", transport=carrier) == 1
        assert server.metrics().get("collab_fast_path") == (carrier == "takeover")
        assert "sec-websocket-extensions" not in client.headers
        await client.expect("sync1")
        await client.send(b"\x03", rsv=4)  # compressed all the same
        assert (await client.closed()).code in (1002, None)


async def test_a_full_server_refuses_the_upgrade(server):
    """Before the handshake: even old clients back off then."""
    before = server.metrics().get("collab_connection_attempts_total", outcome="refused")
    clients = [await Raw.open(server.url, room=f"room {nth}") for nth in range(3)]
    with pytest.raises(Refused) as refused:
        await Raw.open(server.url, room="one more")
    assert refused.value.status == 429
    assert b"too many connections: the limit is 3" in refused.value.body
    assert refused.value.headers["retry-after"]
    assert server.metrics().get("collab_connection_attempts_total", outcome="refused") == before + 1
    clients.pop().fin()
    await until(lambda: server.metrics().get("collab_connections") == 2, "one has gone")
    clients.append(await Raw.open(server.url, room="one more"))
    for client in clients:
        client.fin()


async def test_a_full_room_says_so(server):
    clients = [await Raw.open(server.url, room="full") for _ in range(2)]
    for client in clients:
        await client.expect("sync1")
    async with await Raw.open(server.url, room="full") as late:
        denied = await late.expect("auth")
        assert "too many clients in this room" in str(denied)
        assert (await late.closed()).code == 1013
    for client in clients:
        await client.send(sync1())
        await client.expect("sync2")
        client.fin()


@pytest.mark.parametrize("target", ["/", "/%20", "/%00", "/%ff", "/" + "n" * 600])
async def test_impossible_names_are_told_why(server, target):
    async with await Raw.open(server.url, target) as client:
        await client.send(sync1())  # at "/" the first frame tells the protocol
        denied = await client.expect("auth")
        assert "room's name" in str(denied)
        ended = await client.closed()
        assert ended.code == 4400 and "room's name" in ended.reason


async def test_the_query_is_not_part_of_the_name(server):
    async with await Raw.open(server.url, "/notes?token=s3cret") as one, await Raw.open(server.url, "/notes") as other:
        for client in (one, other):
            await client.expect("sync1")
    assert "s3cret" not in server.logs()


async def test_a_room_that_stays_empty_is_made_once():
    """Looking into it again and again, as an editor does that is opened and closed, uses nothing up."""
    env = {"JWT_SECRET": SECRET, "COLLAB_LIMITS__ROOMS_CREATED_PER_USER": "2"}
    with Server(env=env) as server:
        shown = token({"**": "write"})

        async def enters(room: str) -> bool:
            async with await Raw.open(server.url, f"/{room}?token={shown}") as raw:
                await raw.send(sync1())
                while (frame := await raw.recv()) is not None:
                    if frame[:2] == b"\x00\x01":
                        return True
                return False

        assert [await enters("empty") for _ in range(6)] == [True] * 6
        assert await enters("another") and not await enters("third")
