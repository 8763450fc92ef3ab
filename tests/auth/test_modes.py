"""Which mode the settings make, what is refused at start, and each mode from knock to grant."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Awaitable

import pytest

from collab.auth import Grant, Knock, Level
from collab.auth.modes import Authorizer, authorizer
from collab.errors import Forbidden, SettingsError, Unauthorized, Unavailable
from collab.settings.access import AuthSettings

from .conftest import NOW, SECRET, http, served, sign

pytestmark = pytest.mark.anyio

CLAIMS = {"sub": "ana", "jti": "t1", "iat": NOW, "exp": NOW + 60, "rooms": {"r": "write"}}
URL = "https://app.example/hook"


def made(host="127.0.0.1", clock=None, **settings) -> Authorizer:
    clocks = {"wall": clock, "monotonic": clock} if clock else {}
    return authorizer(AuthSettings(**settings), host=host, **clocks)


async def decided(answer: Grant | Awaitable[Grant]) -> Grant:
    """What an authorizer said, at once or later."""
    return answer if isinstance(answer, Grant) else await answer


@pytest.mark.parametrize(
    ("settings", "host", "mode"),
    [
        ({}, "127.0.0.1", "open"),
        ({}, "::1", "open"),
        ({}, "localhost", "open"),
        ({"mode": "open"}, "0.0.0.0", "open"),
        ({"jwt_secret": SECRET}, "0.0.0.0", "jwt"),
        ({"jwks_url": "https://id.example/keys"}, "::", "jwt"),
        ({"webhook_url": URL, "webhook_secret": SECRET}, "0.0.0.0", "webhook"),
        ({"webhook_url": URL, "webhook_secret": SECRET, "jwt_secret": SECRET, "mode": "jwt"}, "::", "jwt"),
    ],
)
def test_mode(settings, host, mode):
    assert made(host, **settings).mode == mode


@pytest.mark.parametrize(
    ("settings", "host", "remedy"),
    [
        ({}, "0.0.0.0", "COLLAB_AUTH__MODE=open"),
        ({}, "::", "COLLAB_AUTH__JWT_SECRET"),
        ({}, "collab.example", "COLLAB_AUTH__MODE=open"),
        ({"mode": "jwt"}, "127.0.0.1", "COLLAB_AUTH__JWKS_URL"),
        ({"mode": "webhook"}, "127.0.0.1", "COLLAB_AUTH__WEBHOOK_URL"),
        ({"mode": "open", "jwt_secret": SECRET}, "127.0.0.1", "set the mode to jwt"),
        ({"mode": "open", "webhook_url": URL}, "127.0.0.1", "set the mode to webhook"),
        ({"jwt_secret": SECRET, "webhook_url": URL, "webhook_secret": SECRET}, "::1", "which one decides"),
        ({"jwt_secret": "hush"}, "127.0.0.1", "openssl rand"),
        ({"jwt_secret": SECRET, "jwt_algorithm": "RS256"}, "127.0.0.1", "COLLAB_AUTH__JWT_ALGORITHM"),
        ({"webhook_url": URL}, "127.0.0.1", "COLLAB_AUTH__WEBHOOK_SECRET"),
    ],
)
def test_refused_at_start(settings, host, remedy):
    with pytest.raises(SettingsError, match=remedy) as caught:
        made(host, **settings)
    assert "hush" not in str(caught.value) and SECRET not in str(caught.value)


async def test_open_says_so(caplog):
    async with made("0.0.0.0", mode="open") as authorize:
        assert authorize(Knock("r")) == Grant(Level.WRITE)
    assert "no access control" in caplog.text
    caplog.clear()
    async with made():
        assert caplog.text == ""


async def test_a_token_is_judged_at_once(clock, pairs, tmp_path):
    keys, secret = tmp_path / "keys.pem", tmp_path / "secret"
    keys.write_bytes(pairs["ES256"].pem)
    secret.write_text(f"{SECRET}\n")
    async with made(clock=clock, jwt_public_key_file=keys, jwt_secret_file=secret) as authorize:
        for token in (sign(CLAIMS, SECRET, "HS256"), sign(CLAIMS, pairs["ES256"].private, "ES256")):
            grant = authorize(Knock("r", token))
            assert isinstance(grant, Grant) and grant.level is Level.WRITE
            with pytest.raises(Forbidden):
                authorize(Knock("q", token))
        for nothing in (None, ""):
            with pytest.raises(Unauthorized, match="needed"):
                authorize(Knock("r", nothing))
        clock.now += 90
        with pytest.raises(Unauthorized, match="expired"):
            authorize(Knock("r", token=sign(CLAIMS, SECRET, "HS256")))


async def test_terms_come_from_the_settings(clock):
    async with made(
        clock=clock,
        jwt_secret=SECRET,
        jwt_issuer="me",
        jwt_audience="a, b",
        require_exp=False,
        default_level="read",
        may_create=False,
        leeway_seconds=0,
    ) as authorize:
        grant = authorize(Knock("r", sign({"iss": "me", "aud": "b"}, SECRET, "HS256")))
        assert grant == Grant(Level.READ, may_create=False)
        for wrong in ({"iss": "you"}, {"aud": "c"}, {"nbf": NOW + 1}):
            with pytest.raises(Unauthorized):
                authorize(Knock("r", sign({"iss": "me", "aud": "b"} | wrong, SECRET, "HS256")))


async def test_published_keys(clock, pairs):
    async def answer(headers, body):
        return http(200, {"keys": [pairs["RSA"].jwk(kid="k1")]})

    async with (
        served(answer) as endpoint,
        made(clock=clock, jwks_url=endpoint.url, jwt_secret=SECRET) as authorize,
    ):
        theirs = sign(CLAIMS, pairs["RSA"].private, "RS256", kid="k1")
        assert isinstance(authorize(Knock("r", sign(CLAIMS, SECRET, "HS256"))), Grant)
        later = authorize(Knock("r", theirs))
        assert inspect.isawaitable(later)
        assert (await later).level is Level.WRITE
        assert isinstance(authorize(Knock("r", theirs)), Grant)  # now the keys are at hand
        with pytest.raises(Unauthorized):
            authorize(Knock("r", sign(CLAIMS, pairs["ES256"].private, "ES256", kid="other")))
        with pytest.raises(Unauthorized):
            authorize(Knock("r", sign(CLAIMS, pairs["RSA"].pem.hex(), "HS256", kid="k1")))
        assert len(endpoint.asked) == 1


async def test_published_keys_that_cannot_be_had(clock):
    async def answer(headers, body):
        return http(503)

    async with served(answer) as endpoint, made(clock=clock, jwks_url=endpoint.url) as authorize:
        for _ in range(3):
            with pytest.raises(Unavailable):
                await decided(authorize(Knock("r", sign(CLAIMS, SECRET, "HS256"))))
        assert len(endpoint.asked) == 1


async def test_webhook(clock):
    async def answer(headers, body):
        return http(200, {"level": "comment", "subject": json.loads(body)["token"]})

    async with (
        served(answer) as endpoint,
        made(clock=clock, webhook_url=endpoint.url, webhook_secret=SECRET) as authorize,
    ):
        grant = await decided(authorize(Knock("r", "ana")))
        assert (grant.level, grant.subject) == (Level.COMMENT, "ana")
        assert grant.issued == NOW, "so that a revocation covers the answers that were given before it"


async def test_a_webhook_whose_secret_is_in_a_file(clock, tmp_path):
    async def answer(headers, body):
        return http(200, {"level": "read", "subject": "ana"})

    file = tmp_path / "secret"
    file.write_text(SECRET + "\n")
    async with (
        served(answer) as endpoint,
        made(clock=clock, webhook_url=endpoint.url, webhook_secret_file=file) as authorize,
    ):
        assert (await decided(authorize(Knock("r", "ana")))).level == Level.READ
    file.write_text("short")
    with pytest.raises(SettingsError, match="COLLAB_AUTH__WEBHOOK_SECRET_FILE has 5 bytes"):
        made(webhook_url=URL, webhook_secret_file=file)


async def test_a_webhook_needs_its_client():
    with pytest.raises(RuntimeError, match="async with"):
        await decided(made(webhook_url=URL, webhook_secret=SECRET)(Knock("r")))


async def test_leaving_ends_a_fetch(clock):
    never = asyncio.Event()

    async def answer(headers, body):
        await never.wait()
        return b""

    async with served(answer) as endpoint:
        async with made(clock=clock, jwks_url=endpoint.url):
            pass
        assert [task for task in asyncio.all_tasks() if task.get_name() == "jwks"] == []
        never.set()


def test_the_cookie_of_the_settings():
    headers = [(b"cookie", b"login=x"), (b"origin", b"https://app.example")]
    shown = made(cookie="login").find_token(b"", headers, allowed=lambda origin: True)
    assert (shown.token, shown.place) == ("x", "cookie")
    assert made(cookie="login").find_token(b"", headers, allowed=lambda origin: False).token is None
    assert made().find_token(b"", headers, allowed=lambda origin: True).token is None


async def test_every_room_at_once(clock, pairs):
    every = CLAIMS | {"rooms": {"**": "admin"}}

    async def answer(headers, body):
        return http(200, {"keys": [pairs["RSA"].jwk(kid="k1")]})

    async with (
        served(answer) as endpoint,
        made(clock=clock, jwks_url=endpoint.url, jwt_secret=SECRET) as authorize,
    ):
        theirs = sign(every, pairs["RSA"].private, "RS256", kid="k1")
        assert (await decided(authorize.everywhere(sign(every, SECRET, "HS256")))).level is Level.ADMIN
        assert (await decided(authorize.everywhere(theirs))).level is Level.ADMIN
        for rooms in ({"*/**": "admin"}, {"**": "admin", "r": "none"}):
            with pytest.raises(Forbidden, match="every room"):
                await decided(authorize.everywhere(sign(CLAIMS | {"rooms": rooms}, SECRET, "HS256")))
        with pytest.raises(Unauthorized):
            await decided(authorize.everywhere("no token"))


def test_who_is_asked_by_name_cannot_speak_for_every_room():
    for authorize in (made(), made(webhook_url=URL, webhook_secret=SECRET)):
        with pytest.raises(Forbidden, match="COLLAB_ADMIN__TOKEN"):
            authorize.everywhere("ana")
