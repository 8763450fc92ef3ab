"""One way to ask another server: bounded in size and time, no redirects, no proxies from the environment."""

from __future__ import annotations

import asyncio

import httpx


def open_client(connections: int) -> httpx.AsyncClient:
    """A client with at most so many connections. Its own time limits are off: `ask` has one for everything."""
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    return httpx.AsyncClient(
        timeout=None,  # noqa: S113
        limits=limits,
        trust_env=False,
        follow_redirects=False,
        headers={"accept": "application/json", "accept-encoding": "identity", "user-agent": "collab"},
    )


async def ask(
    client: httpx.AsyncClient,
    method: str,
    url: str,
    *,
    seconds: float,
    max_bytes: int,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, bytes]:
    """Send a request; returns the status and the body of the answer.

    Args:
        seconds: For all of it, from connecting to the last byte.
        max_bytes: Largest answer; of a larger one no more than that is read.

    Raises:
        OSError: There was no whole answer. TimeoutError is one, too.
    """
    try:
        async with (
            asyncio.timeout(seconds),
            client.stream(method, url, content=body, headers=headers) as response,
        ):
            if response.headers.get("content-encoding", "identity") != "identity":
                raise OSError("the answer is compressed, which was not asked for")
            read = bytearray()
            async for piece in response.aiter_raw():
                read += piece
                if len(read) > max_bytes:
                    raise OSError(f"the answer is larger than {max_bytes} bytes")
            return response.status_code, bytes(read)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise OSError(type(error).__name__) from None  # its text may hold the URL
