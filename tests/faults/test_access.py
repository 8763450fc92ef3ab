"""Access, on a running server that checks tokens: who is let in, what readers may do, how access ends (A03, A05, A08,
A11, S13 of the catalogue)."""

from __future__ import annotations

import base64
import time

import jwt
import pytest
from pycrdt import Doc, Text

from collab.wire.hocuspocus import Hocuspocus
from collab.wire.lib0 import var_string
from collab.wire.messages import Denied, Granted, Message, Saved, SyncStep1, TokenWanted, Update
from collab.wire.messages import SyncStep2 as Step2
from tests.support.raw import Raw, sync1, update
from tests.support.server import Server

pytestmark = pytest.mark.anyio
SECRET = "a secret of at least thirty-two bytes, for tests"


def token(rooms: dict[str, str], seconds: float = 60, **claims: object) -> str:
    return jwt.encode({"sub": "ana", "exp": time.time() + seconds, "rooms": rooms} | claims, SECRET, "HS256")


def typed(text: str = "hello") -> bytes:
    doc: Doc = Doc()
    doc["t"] = Text(text)
    return doc.get_update()


def auth(name: str, shown: str) -> bytes:
    return var_string(name) + b"\x02\x00" + var_string(shown) + var_string("4.8.0")


@pytest.fixture(scope="module")
def server():
    env = {
        "JWT_SECRET": SECRET,
        "COLLAB_LIMITS__AUTH_SECONDS": "2",
        "COLLAB_AUTH__LEEWAY_SECONDS": "0",
        "COLLAB_LIMITS__HOLD_SECONDS": "1",
    }
    with Server(env=env) as running:
        yield running


async def test_without_a_token_nobody_is_let_in(server):
    for shown in (None, "rubbish", token({"other": "write"}), token({"notes": "write"}, seconds=-30)):
        target = "/notes" if shown is None else f"/notes?token={shown}"
        async with await Raw.open(server.url, target) as client:
            await client.send(sync1())
            await client.expect("auth")
            ended = await client.closed()
            assert ended.code in (4401, 4403), ended


@pytest.mark.parametrize("place", ["query", "header", "subprotocol"])
async def test_the_token_may_stand_in_several_places_and_is_never_logged(server, place):
    shown = token({"notes": "write"}, jti=place)
    target, headers = "/notes", []
    if place == "query":
        target = f"/notes?token={shown}"
    elif place == "header":
        headers = [("Authorization", f"Bearer {shown}")]
    else:
        wrapped = base64.urlsafe_b64encode(shown.encode()).decode().rstrip("=")
        headers = [("Sec-WebSocket-Protocol", f"collab, collab.token.{wrapped}")]
    async with await Raw.open(server.url, target, headers=headers) as client:
        await client.expect("sync1")
        assert client.headers.get("sec-websocket-protocol") == ("collab" if place == "subprotocol" else None)
    assert shown not in server.logs() and shown.split(".")[2] not in server.logs()


async def test_a_reader_changes_nothing(server, figure):
    reader, writer = token({"shared": "read"}), token({"shared": "write"})
    async with await Raw.open(server.url, f"/shared?token={reader}") as client:
        await client.send(sync1())
        await client.expect("sync2")
        for frame in (update(typed()), b"\x00\x01" + var_string("")[:1], b"\x00\x01\x02\x00\x00"):
            await client.send(frame)
    async with await Raw.open(server.url, f"/shared?token={writer}") as client:
        await client.send(sync1())
        assert (await client.expect("sync2")).content == b"\x00\x00"
    figure("A05: a reader's step 2 and updates over y-websocket: 0 changes")


async def test_hocuspocus_is_denied_in_band_and_may_try_again(server):
    speak = Hocuspocus("notes")
    async with await Raw.open(server.url, "/") as client:
        await client.send(auth("notes", "wrong"))
        assert await client.recv(5) == speak.encode(Denied("the token is not valid"))
        await client.send(auth("notes", token({"notes": "write"})))
        assert await client.recv(5) == speak.encode(Granted(True))


async def test_a_reader_over_hocuspocus_is_told_that_nothing_is_saved(server):
    speak = Hocuspocus("paper")
    doc: Doc = Doc()
    doc["t"] = Text("mine")
    frames: list[Message] = [SyncStep1(b"\x00"), Update(doc.get_update()), Step2(b"\x00\x00")]
    async with await Raw.open(server.url, "/hocuspocus") as client:
        await client.send(auth("paper", token({"paper": "read"})))
        assert await client.recv(5) == speak.encode(Granted(False))
        for message in frames:
            frame = speak.encode(message)
            assert frame is not None
            await client.send(frame)
        heard = [await client.recv(5) for _ in range(4)]
        assert heard[2:] == [speak.encode(Saved(False)), speak.encode(Saved(True))]


async def test_access_ends_with_the_token(server, figure):
    """A03: within a beat of its end; Hocuspocus is asked for a new one first, and may stay with it."""
    async with await Raw.open(server.url, f"/brief?token={token({'brief': 'write'}, seconds=3)}") as client:
        await client.send(sync1())
        await client.expect("sync2")
        ended = await client.closed(8)
        assert ended.code == 4401 and "expired" in ended.reason
    speak, began = Hocuspocus("brief"), time.monotonic()
    async with await Raw.open(server.url, "/") as client:
        await client.send(auth("brief", token({"brief": "write"}, seconds=4)))
        assert await client.recv(5) == speak.encode(Granted(True))
        asked = await client.recv(5)
        while asked != speak.encode(TokenWanted()):
            asked = await client.recv(5)
        await client.send(auth("brief", token({"brief": "write"}, seconds=60)))
        while await client.recv(5) != speak.encode(Granted(True)):
            pass
        assert time.monotonic() - began < 4
    figure("A03: closed 4401 within 1 s of the token's end; with a new token the session goes on")


async def test_nobody_stays_without_access(server, figure):
    """S13: the deadline counts from the handshake; what is sent meanwhile makes it no longer."""
    began = time.monotonic()
    async with await Raw.open(server.url, "/hocuspocus") as client:
        ended = await client.closed(8)
        figure(
            f"S13: a client that says nothing was closed {ended.code} after {time.monotonic() - began:.1f} s (limit 2)"
        )
        assert ended.code in (4408, 4401)
