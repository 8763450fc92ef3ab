"""Headers as nobody should send them: each is answered, and none by a traceback."""

from __future__ import annotations

import asyncio
import base64
import os
from collections import Counter
from contextlib import suppress

import pytest

from collab.transport.handshake import NAMES, is_sound
from tests.support.server import Server

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
SOUND = {
    b"host": b"collab",
    b"upgrade": b"websocket",
    b"connection": b"keep-alive, Upgrade",
    b"sec-websocket-version": b"13",
    b"sec-websocket-key": KEY,
    b"sec-websocket-protocol": b"collab, collab.token.eA",
    b"sec-websocket-extensions": b'permessage-deflate; client_max_window_bits, x; y="z"',
}
ODD = [bytes([byte]) for byte in (*range(0x20), *range(0x7F, 0x100))]
OTHERS = (b"origin", b"authorization", b"cookie", b"forwarded", b"x-forwarded-for", b"traceparent", b"x-anything")


def test_what_clients_send():
    assert is_sound(SOUND.items())
    assert is_sound([])
    assert is_sound([(b"host", b"\xff"), (b"cookie", b"\x01")]), "others look at these"
    for _ in range(100):
        assert is_sound([(b"sec-websocket-key", base64.b64encode(os.urandom(16)))])


@pytest.mark.parametrize("name", sorted(NAMES))
def test_bytes_that_are_no_text(name):
    for odd in ODD:
        for value in (odd, SOUND[name] + odd, odd + SOUND[name], SOUND[name][:3] + odd + SOUND[name][3:]):
            wrong = name == b"sec-websocket-key" or odd != b"\t"
            assert is_sound((SOUND | {name: value}).items()) is not wrong, value


@pytest.mark.parametrize("key", [b"", b"x", KEY[:-1], KEY + b"=", KEY[:-4], b"=" * 24, b"-" + KEY[1:], KEY + b"\n"])
def test_keys_that_are_none(key):
    """RFC 6455, 4.2.1: a base64-encoded value that, when decoded, is 16 bytes in length."""
    assert not is_sound((SOUND | {b"sec-websocket-key": key}).items())


def test_two_keys():
    assert not is_sound([*SOUND.items(), (b"sec-websocket-key", KEY)])


# ---------------------------------------------------------------------- at a running server


async def status(server: Server, headers: list[tuple[bytes, bytes]], body: bytes = b"") -> str:
    """What the status line of the answer says; nothing when there is none."""
    reader, writer = await asyncio.open_connection(server.host, server.port)
    try:
        lines = [b"GET /room HTTP/1.1", *(name + b": " + value for name, value in headers), b"", body]
        writer.write(b"\r\n".join(lines))
        with suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(20):
                return (await reader.readline())[9:12].decode()
        return ""
    finally:
        writer.close()


@pytest.fixture(scope="module", params=["yes", "no"], ids=["fast path", "plain path"])
def server(request):
    with Server(env={"COLLAB_SERVER__FAST_PATH": request.param, "COLLAB_LOG__LEVEL": "warning"}) as running:
        yield running
        assert running.complaints() == [], "not a single traceback"


@pytest.mark.anyio
async def test_every_answer_has_a_status(server, figure):
    """Before the repair the first of these got no answer, and 3.5 KB of log."""
    answers: Counter[str] = Counter()
    for name in (*SOUND, *OTHERS):
        good = SOUND.get(name, b"a")
        odd = (b"\x80", b"\xff", b"\x01", b"\x7f", b"\xc3\xa9", b"\x00", b"\x0b", b"\x1c", b"\x85", b"\xa0")
        values = [value for byte in odd for value in (byte, good + byte, good + b", " + byte)]
        tries = [[*(SOUND | {name: value}).items()] for value in (*values, b"")]
        tries += [[*SOUND.items(), (name, b"\xff")], [(name, b"\xff"), *SOUND.items()]]
        for headers in tries:
            said = await status(server, headers)
            assert said in ("101", "400", "404"), (said, headers)
            if name in NAMES and not is_sound(headers):
                assert said == "400", headers
            answers[said] += 1
    figure(f"handshakes with odd bytes: {answers.total()}, answers: {dict(sorted(answers.items()))}")
    assert await status(server, [*SOUND.items()]) == "101"


@pytest.mark.anyio
async def test_a_handshake_with_a_body(server):
    for more in ({b"content-length": b"5"}, {b"transfer-encoding": b"chunked"}, {b"expect": b"100-continue"}):
        for body in (b"", b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"):
            assert await status(server, [*(SOUND | more).items()], body) in ("100", "101", "400"), (more, body)
