"""Asking a server that is slow, huge, elsewhere or wrong."""

from __future__ import annotations

import asyncio

import pytest

from collab.auth.outside import ask, open_client

from .conftest import http, served

pytestmark = pytest.mark.anyio


async def said(reply: bytes):
    async def answer(headers, body):
        return reply

    async with served(answer) as endpoint, open_client(2) as client:
        result = await ask(client, "POST", endpoint.url, seconds=5, max_bytes=100, body=b"q")
        assert endpoint.asked[0][1] == b"q" and endpoint.asked[0][0]["accept-encoding"] == "identity"
        return result


async def test_an_answer():
    assert await said(http(200, b"x" * 100)) == (200, b"x" * 100)
    assert await said(http(503, b"no")) == (503, b"no")


async def test_redirects_are_not_followed():
    assert (await said(http(302, location="http://127.0.0.1:9/")))[0] == 302


@pytest.mark.parametrize(
    "reply", [http(200, b"x" * 101), http(200, b"x", content_encoding="gzip"), b"nonsense\r\n\r\n", b""]
)
async def test_no_answer(reply):
    with pytest.raises(OSError):
        await said(reply)


async def test_nobody_there():
    async with open_client(1) as client:
        with pytest.raises(OSError) as caught:
            await ask(client, "GET", "http://127.0.0.1:9/secret", seconds=5, max_bytes=1)
    assert "secret" not in str(caught.value)


async def test_slow():
    never = asyncio.Event()

    async def answer(headers, body):
        await never.wait()
        return b""

    async with served(answer) as endpoint, open_client(1) as client:
        with pytest.raises(TimeoutError):
            await ask(client, "GET", endpoint.url, seconds=0.05, max_bytes=1)
        never.set()
