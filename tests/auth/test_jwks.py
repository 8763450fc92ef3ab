"""A13: a key set that is slow, huge, rotating or down, and a storm of unknown keys."""

from __future__ import annotations

import asyncio

import pytest

from collab.auth.jwks import SET_BYTES, PublishedKeys
from collab.auth.outside import open_client
from collab.errors import Unavailable

from .conftest import Clock, http, served

pytestmark = pytest.mark.anyio


class Provider:
    """An identity provider whose answer a test changes; `gate` holds answers back."""

    def __init__(self, *jwks):
        self.reply = http(200, {"keys": list(jwks)})
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, headers, body):
        await self.gate.wait()
        return self.reply


@pytest.fixture
async def provider(pairs):
    return Provider(pairs["RSA"].jwk(kid="a"))


@pytest.fixture
async def published(provider, clock):
    async with served(provider) as endpoint, open_client(1) as client:
        made = PublishedKeys(
            endpoint.url,
            client,
            algorithm=None,
            timeout=1.0,
            fresh_seconds=100,
            retry_seconds=10,
            monotonic=clock,
        )
        yield made
        provider.gate.set()
        await made.aclose()


def names(ring):
    return [key.kid for key in ring.keys]


async def test_fetched_once_for_all_who_wait(published):
    assert published.now("a") is None
    rings = await asyncio.gather(*(published.fetched("a") for _ in range(100)))
    assert {id(ring) for ring in rings} == {id(published.ring)}
    assert names(published.now("a")) == ["a"]
    assert published.fetches == 1


async def test_one_who_goes_does_not_take_the_fetch_along(published, provider):
    provider.gate.clear()
    first = asyncio.create_task(published.fetched("a"))
    second = asyncio.create_task(published.fetched("a"))
    await asyncio.sleep(0)
    first.cancel()
    provider.gate.set()
    assert names(await second) == ["a"]
    assert published.fetches == 1


async def test_an_unknown_kid_storm(published, clock: Clock, figure):
    await published.fetched("a")
    for second in range(100):
        clock.now += 0.7
        for number in range(100):
            kid = f"unknown-{second}-{number}"
            if published.now(kid) is None:
                await published.fetched(kid)
    figure(f"fetches caused by 10,000 unknown keys in 70 s: {published.fetches - 1}")
    assert published.fetches - 1 <= 7


async def test_a_rotated_key_is_found_at_once(published, provider, pairs, clock):
    await published.fetched("a")
    provider.reply = http(200, {"keys": [pairs["RSA"].jwk(kid="a"), pairs["ES256"].jwk(kid="b")]})
    clock.now += 10
    assert published.now("b") is None
    assert names(await published.fetched("b")) == ["a", "b"]


async def test_a_key_that_was_withdrawn_is_gone_when_the_set_is_old(published, provider, pairs, clock):
    await published.fetched("a")
    provider.reply = http(200, {"keys": [pairs["ES256"].jwk(kid="b")]})
    clock.now += 79
    assert names(published.now("a")) == ["a"] and published.fetches == 1
    clock.now += 1
    assert names(published.now("a")) == ["a"]  # at once, and asked for in the background
    assert names(await published.fetched("b")) == ["b"]
    assert published.fetches == 2


@pytest.mark.parametrize(
    "reply",
    [
        http(500),
        http(302, location="http://127.0.0.1:9/"),
        http(200, b"x" * (SET_BYTES + 1)),
        http(200, b"no json"),
        http(200, b"[" * 100_000),
        http(200, {"keys": []}),
        http(200, {"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}),
        b"",
    ],
    ids=["500", "redirect", "huge", "no json", "nested", "empty", "oct", "cut"],
)
async def test_the_last_good_set_is_kept(published, provider, clock, reply):
    await published.fetched("a")
    provider.reply = reply
    for _ in range(3):
        clock.now += 200
        assert names(published.now("a")) == ["a"]
        assert names(await published.fetched("unknown")) == ["a"]
    assert published.fetches == 4


async def test_down_from_the_start(published, provider, clock, pairs):
    provider.reply = http(500)
    for _ in range(5):
        assert published.now("a") is None
        with pytest.raises(Unavailable):
            await published.fetched("a")
    assert published.fetches == 1
    provider.reply = http(200, {"keys": [pairs["RSA"].jwk(kid="a")]})
    clock.now += 10
    assert names(await published.fetched("a")) == ["a"]


async def test_slow(provider, clock):
    provider.gate.clear()
    async with served(provider) as endpoint, open_client(1) as client:
        slow = PublishedKeys(
            endpoint.url, client, algorithm=None, timeout=0.05, fresh_seconds=9, retry_seconds=9, monotonic=clock
        )
        with pytest.raises(Unavailable):
            await slow.fetched("a")
        provider.gate.set()
