"""The places a token is looked for in, their order, and what is refused."""

from __future__ import annotations

import base64

import pytest

from collab.auth.where import SUBPROTOCOL, find_token
from collab.errors import Unauthorized


def wrapped(token: str) -> str:
    return SUBPROTOCOL + base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")


BEARER = (b"authorization", b"Bearer from-header")
COOKIE = (b"cookie", b"a=1; login=from-cookie; b=2")
ORIGIN = (b"origin", b"https://app.example")


def allowed(origin: str) -> bool:
    return origin == "https://app.example"


def find(query=b"", headers=(), subprotocols=(), cookie="login"):
    return find_token(query, headers, subprotocols, cookie=cookie, allowed=allowed)


def test_the_order():
    everywhere = (b"token=from-query", [BEARER, COOKIE, ORIGIN], ["collab", wrapped("from-protocol")])
    assert (find(*everywhere).token, find(*everywhere).place) == ("from-header", "header")
    assert find(b"token=from-query", [COOKIE, ORIGIN], [wrapped("from-protocol")]).token == "from-protocol"
    assert find(b"token=from-query", [COOKIE, ORIGIN]).token == "from-query"
    assert find(b"", [COOKIE, ORIGIN]).token == "from-cookie"
    assert find().token is None


@pytest.mark.parametrize(
    ("query", "token"),
    [
        (b"a=1&token=a%20b%26c", "a b&c"),
        (b"token=", None),
        (b"TOKEN=x", None),
        (b"access_token=x", None),
        (b"%ff=%fe", None),
    ],
)
def test_query(query, token):
    assert find(query).token == token


@pytest.mark.parametrize("value", [b"bearer  x", b"BEARER x"])
def test_bearer_in_any_case(value):
    assert find(headers=[(b"authorization", value)]).token == "x"


@pytest.mark.parametrize("value", [b"Basic eDp5", b"Bearer", b"", b"Bearerx y"])
def test_other_schemes_are_no_token(value):
    assert find(headers=[(b"authorization", value)]).token is None


@pytest.mark.parametrize(
    "request_",
    [
        {"query": b"token=a&token=b"},
        {"query": b"token=a&token="},
        {"headers": [BEARER, BEARER]},
        {"subprotocols": [wrapped("a"), wrapped("b")]},
        {"headers": [ORIGIN, (b"cookie", b"login=a; login=b")]},
        {"headers": [ORIGIN, (b"cookie", b"login=a"), (b"cookie", b"login=b")]},
    ],
)
def test_two_in_one_place_are_refused(request_):
    with pytest.raises(Unauthorized, match="more than one") as caught:
        find(**request_)
    assert "login=" not in str(caught.value)


@pytest.mark.parametrize("bad", ["!!!!", "a", "_w"])
def test_a_subprotocol_that_holds_none(bad):
    with pytest.raises(Unauthorized, match="holds no token") as caught:
        find(subprotocols=[SUBPROTOCOL + bad])
    assert caught.value.__cause__ is None and caught.value.__suppress_context__


def test_too_many_parameters():
    with pytest.raises(Unauthorized):
        find(b"&".join(b"a=1" for _ in range(101)))


def test_the_token_is_never_the_subprotocol_that_is_answered():
    assert find(subprotocols=[wrapped("x"), "collab"]).subprotocol == "collab"
    assert find(subprotocols=[wrapped("x")]).subprotocol is None
    assert find(b"token=x", subprotocols=["first", "second"]).subprotocol == "first"


@pytest.mark.parametrize(
    "origins",
    [
        [],
        [b"null"],
        [b""],
        [b"https://evil.example"],
        [b"https://app.example.evil.example"],
        [b"https://app.example", b"https://app.example"],
    ],
)
def test_a_cookie_needs_an_allowed_origin(origins):
    """A07"""
    assert find(headers=[COOKIE, *((b"origin", origin) for origin in origins)]).token is None


def test_no_cookie_unless_it_is_named():
    assert find(headers=[COOKIE, ORIGIN], cookie=None).token is None
    assert find(headers=[COOKIE, ORIGIN], cookie="Login").token is None
    assert find_token(b"", [COOKIE, ORIGIN], cookie="login").token is None


def test_not_in_the_repr():
    assert "from-" not in repr(find(headers=[BEARER]))
