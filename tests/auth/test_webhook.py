"""The application decides: what it is asked, what it may answer, and what happens when it does not."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from contextlib import asynccontextmanager

import pytest

from collab.auth import Grant, Knock, Level
from collab.auth.outside import open_client
from collab.auth.tokens import TOKEN_BYTES
from collab.auth.webhook import ANSWER_BYTES, Breaker, Webhook, read_answer
from collab.errors import Forbidden, Unauthorized, Unavailable

from .conftest import NOW, SECRET, Clock, http, served

pytestmark = pytest.mark.anyio

KNOCK = Knock("r", "t0ken", "192.0.2.7", "https://app.example")


@asynccontextmanager
async def webhook(answer, clock, **more):
    terms = {"timeout": 5.0, "cache_seconds": 10.0, "concurrency": 4, "failures": 3, "pause_seconds": 5.0} | more
    async with served(answer) as endpoint, open_client(terms["concurrency"]) as client:
        made = Webhook(endpoint.url, SECRET.encode(), client, wall=clock, monotonic=clock, **terms)
        yield made, endpoint


def always(*reply, **headers):
    async def answer(_headers, _body):
        return http(*reply, **headers)

    return answer


async def test_what_is_asked(clock):
    async with webhook(always(200, {"level": "write"}), clock) as (ask, endpoint):
        assert await ask.grant(KNOCK) == Grant(Level.WRITE, issued=NOW)
    [(headers, body)] = endpoint.asked
    assert json.loads(body) == {
        "room": "r",
        "token": "t0ken",
        "address": "192.0.2.7",
        "origin": "https://app.example",
    }
    assert headers[""] == "POST /there HTTP/1.1"
    assert headers["collab-timestamp"] == str(int(NOW))
    wanted = hmac.new(SECRET.encode(), f"{int(NOW)}.".encode() + body, hashlib.sha256).hexdigest()
    assert headers["collab-signature"] == f"v1={wanted}"


async def test_all_that_it_may_say(clock):
    full = {"level": "read", "subject": "ana", "user": {"name": "Ana"}, "expires": NOW + 5, "may_create": False}
    async with webhook(always(200, full), clock) as (ask, _):
        grant = await ask.grant(KNOCK)
        assert grant == Grant(Level.READ, "ana", expires=NOW + 5, issued=NOW, user={"name": "Ana"}, may_create=False)
        clock.now += 5
        with pytest.raises(Unauthorized):
            await ask.grant(KNOCK)


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        ((401, b"the token t0ken is bad"), Unauthorized),
        ((403,), Forbidden),
        ((200, {"level": "none"}), Forbidden),
        ((500,), Unavailable),
        ((404,), Unavailable),
        ((302,), Unavailable),
        ((204,), Unavailable),
        ((200, b"x" * (ANSWER_BYTES + 1)), Unavailable),
        ((200, b"[" * 50_000), Unavailable),
        ((200, {}), Unavailable),
    ],
)
async def test_refusals(clock, reply, error):
    async with webhook(always(*reply, location="http://127.0.0.1:9/"), clock) as (ask, endpoint):
        for _ in range(2):
            with pytest.raises(error) as caught:
                await ask.grant(KNOCK)
            assert "t0ken" not in str(caught.value) and caught.value.__cause__ is None
        assert len(endpoint.asked) == (2 if error is Unavailable else 1)


@pytest.mark.parametrize(
    "answer",
    [
        b"no json",
        b"[]",
        b'{"level": "owner"}',
        b'{"level": 3}',
        b'{"level": "write", "subject": 7}',
        b'{"level": "write", "subject": ""}',
        b'{"level": "write", "subject": "\\ud800"}',
        b'{"level": "write", "expires": "soon"}',
        b'{"level": "write", "expires": true}',
        b'{"level": "write", "expires": NaN}',
        b'{"level": "write", "user": []}',
        b'{"level": "write", "may_create": "no"}',
    ],
)
def test_answers_that_mean_nothing(answer):
    with pytest.raises(ValueError) as caught:
        read_answer(200, answer)
    assert "owner" not in str(caught.value)


async def test_kept_by_all_that_was_asked(clock):
    async with webhook(always(200, {"level": "write"}), clock) as (ask, endpoint):
        for _ in range(3):
            await ask.grant(KNOCK)
        assert len(endpoint.asked) == 1
        for other in (
            Knock("q", "t0ken", "192.0.2.7", "https://app.example"),
            Knock("r", "other", "192.0.2.7", "https://app.example"),
            Knock("r", "t0ken", "192.0.2.8", "https://app.example"),
            Knock("r", "t0ken", "192.0.2.7", None),
            Knock("r", None, "192.0.2.7", "https://app.example"),
        ):
            await ask.grant(other)
        assert len(endpoint.asked) == 6
        clock.now += 10
        await ask.grant(KNOCK)
        assert len(endpoint.asked) == 7


async def test_the_cache_is_bounded(clock, monkeypatch):
    monkeypatch.setattr("collab.auth.webhook.CACHED", 2)
    async with webhook(always(200, {"level": "write"}), clock) as (ask, endpoint):
        for room in ("a", "b", "c", "b", "c", "a"):
            await ask.grant(Knock(room, "t"))
        assert len(endpoint.asked) == 4


async def test_no_cache(clock):
    async with webhook(always(200, {"level": "write"}), clock, cache_seconds=0) as (ask, endpoint):
        await ask.grant(KNOCK)
        await ask.grant(KNOCK)
        assert len(endpoint.asked) == 2


async def test_a_token_too_long_is_not_sent(clock):
    async with webhook(always(200, {"level": "write"}), clock) as (ask, endpoint):
        with pytest.raises(Unauthorized):
            await ask.grant(Knock("r", "t" * (TOKEN_BYTES + 1)))
        assert endpoint.asked == []


async def test_only_so_many_at_once(clock, figure):
    """A10: more than may be asked at once wait for their turn."""
    gate, four = asyncio.Event(), asyncio.Event()

    async def answer(headers, body):
        if endpoint.open == 4:
            four.set()
        await gate.wait()
        return http(200, {"level": "read"})

    async with webhook(answer, clock) as (ask, endpoint):
        knocks = [asyncio.create_task(ask.grant(Knock(f"r{number}", "t"))) for number in range(50)]
        await asyncio.wait_for(four.wait(), 5)
        gate.set()
        grants = await asyncio.gather(*knocks)
    figure(f"questions open at once, of 50 clients: {endpoint.most}")
    assert {grant.level for grant in grants} == {Level.READ}
    assert endpoint.most == 4


async def test_slow(clock):
    never = asyncio.Event()

    async def answer(headers, body):
        await never.wait()
        return b""

    async with webhook(answer, clock, timeout=0.1, concurrency=1, failures=1) as (ask, endpoint):
        results = await asyncio.gather(*(ask.grant(Knock(f"r{n}", "t")) for n in range(20)), return_exceptions=True)
        assert {type(result) for result in results} == {Unavailable}
        assert len(endpoint.asked) == 1  # the others waited in vain, and then nobody asked any more
        never.set()


async def test_a_client_that_goes_is_no_failure(clock):
    arrived, never = asyncio.Event(), asyncio.Event()

    async def answer(headers, body):
        arrived.set()
        if json.loads(body)["room"] == "slow":
            await never.wait()
        return http(200, {"level": "read"})

    async with webhook(answer, clock, failures=1) as (ask, _):
        gone = asyncio.create_task(ask.grant(Knock("slow", "t")))
        await arrived.wait()
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        assert (await ask.grant(Knock("fast", "t"))).level is Level.READ
        never.set()


async def test_a_broken_application_is_left_alone_for_a_while(clock):
    works = False

    async def answer(headers, body):
        return http(200, {"level": "read"}) if works else http(500)

    async with webhook(answer, clock) as (ask, endpoint):
        for _ in range(10):
            with pytest.raises(Unavailable):
                await ask.grant(KNOCK)
        assert len(endpoint.asked) == 3
        clock.now += 5
        works = True
        assert (await ask.grant(KNOCK)).level is Level.READ


def test_breaker(clock: Clock):
    breaker = Breaker(2, 5.0)
    breaker.failed(0)
    assert breaker.allows(0)
    breaker.worked()
    breaker.failed(0)
    assert breaker.allows(0)
    breaker.failed(0)
    assert [breaker.allows(now) for now in (0, 4.9, 5, 5, 9, 10)] == [False, False, True, False, False, True]
    breaker.worked()
    assert breaker.allows(10)
