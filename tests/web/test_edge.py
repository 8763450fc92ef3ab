"""Addresses, origins and headers: what may be believed, and what is told."""

from __future__ import annotations

import itertools

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from collab.settings.values import parse_networks
from collab.web.edge import Hardened, Origins, asked_at, client_address, is_loopback, shows_token, with_cors

PROXIES = parse_networks("10.0.0.0/8, 192.168.1.1, fd00::/8")


def xff(*values: str) -> list[tuple[bytes, bytes]]:
    return [(b"x-forwarded-for", value.encode()) for value in values]


def forwarded(*values: str) -> list[tuple[bytes, bytes]]:
    return [(b"forwarded", value.encode()) for value in values]


# ---------------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    ("peer", "headers", "address"),
    [
        # nobody is believed who is not a proxy of ours
        ("203.0.113.9", xff("1.1.1.1"), "203.0.113.9"),
        ("203.0.113.9", forwarded("for=1.1.1.1"), "203.0.113.9"),
        ("127.0.0.1", xff("1.1.1.1"), "127.0.0.1"),
        (None, xff("1.1.1.1"), "unknown"),
        ("a socket", xff("1.1.1.1"), "a socket"),
        # one, two, three hops; what the client wrote itself stands left
        ("10.0.0.1", xff("198.51.100.7"), "198.51.100.7"),
        ("10.0.0.1", xff("1.1.1.1, 198.51.100.7"), "198.51.100.7"),
        ("10.0.0.1", xff("1.1.1.1, 198.51.100.7, 10.0.0.2"), "198.51.100.7"),
        ("10.0.0.1", xff("1.1.1.1, 198.51.100.7, 192.168.1.1, 10.0.0.2"), "198.51.100.7"),
        ("10.0.0.1", xff("1.1.1.1", "198.51.100.7", "10.0.0.2"), "198.51.100.7"),
        ("10.0.0.1", xff("10.0.0.3, 10.0.0.2"), "10.0.0.3"),
        ("10.0.0.1", [], "10.0.0.1"),
        # ports, brackets, IPv6, IPv4 in IPv6 clothes
        ("10.0.0.1", xff("198.51.100.7:443"), "198.51.100.7"),
        ("10.0.0.1", xff("[2001:db8::1]:443"), "2001:db8::1"),
        ("10.0.0.1", xff("2001:db8::1"), "2001:db8::1"),
        ("::ffff:10.0.0.1", xff("::ffff:198.51.100.7"), "198.51.100.7"),
        ("fd00::1%eth0", xff("2001:db8:0:0::1"), "2001:db8::1"),
        ("::ffff:203.0.113.9", [], "203.0.113.9"),
        # garbage: the proxy that wrote it is all that is known
        ("10.0.0.1", xff("198.51.100.7, unknown"), "10.0.0.1"),
        ("10.0.0.1", xff("198.51.100.7, "), "10.0.0.1"),
        ("10.0.0.1", xff("198.51.100.7, 1.2.3.4.5"), "10.0.0.1"),
        ("10.0.0.1", xff("198.51.100.7, 010.0.0.1"), "10.0.0.1"),
        ("10.0.0.1", xff("\xff\x00"), "10.0.0.1"),
        ("10.0.0.1", xff("nonsense, 198.51.100.7"), "198.51.100.7"),
        ("10.0.0.1", xff("nonsense, 10.0.0.2"), "10.0.0.2"),
        # the other header
        ("10.0.0.1", forwarded("for=1.1.1.1, for=198.51.100.7;proto=https"), "198.51.100.7"),
        ("10.0.0.1", forwarded('proto=https; For="[2001:db8::1]:4711"'), "2001:db8::1"),
        ("10.0.0.1", forwarded('for="1.1.1.1, for=198.51.100.7'), "198.51.100.7"),
        ("10.0.0.1", forwarded("for=_hidden"), "10.0.0.1"),
        ("10.0.0.1", forwarded("proto=https"), "10.0.0.1"),
        # both: they agree, or the client wrote one of them
        ("10.0.0.1", xff("198.51.100.7") + forwarded("for=198.51.100.7"), "198.51.100.7"),
        ("10.0.0.1", xff("198.51.100.7") + forwarded("for=1.1.1.1"), "10.0.0.1"),
    ],
)
def test_a12_where_a_client_is(peer, headers, address):
    assert client_address(peer, headers, PROXIES) == address


@given(st.lists(st.binary(max_size=40), max_size=5), st.integers(1, 3), st.booleans())
def test_a12_no_client_evades_by_what_it_writes(lies, hops, in_one):
    """Whatever stands there when it comes to the first proxy, each proxy adds what it sees."""
    seen = [b"198.51.100.7", b"10.0.0.2", b"192.168.1.1"][:hops]
    lies = [lie for lie in lies if b"\n" not in lie and b"\r" not in lie]
    values = [b", ".join([*lies, *seen])] if in_one else [*lies, *seen]
    assert client_address("10.0.0.1", [(b"X-Forwarded-For", value) for value in values], PROXIES) == "198.51.100.7"


def test_loopback():
    assert is_loopback("127.0.0.1") and is_loopback("127.8.8.8") and is_loopback("::1")
    assert is_loopback("::ffff:127.0.0.1")
    assert not any(map(is_loopback, ("unknown", "", "10.0.0.1", "127.0.0.1.evil.example", "localhost")))


# ---------------------------------------------------------------------- origins


def asks(origin: str | None, *, host: str = "collab.example.com", **more: str) -> list[tuple[bytes, bytes]]:
    headers = [(b"host", host.encode())]
    if origin is not None:
        headers.append((b"origin", origin.encode()))
    return headers + [(name.replace("_", "-").encode(), value.encode()) for name, value in more.items()]


def refused(origins: Origins, *, secure: bool = True, **headers) -> bool:
    return origins.refusal(asks(**headers), secure=secure) is not None


TRICKS = [
    *("null", "", "https://", "https://app.example.com.evil.net", "https://evil-app.example.com", "file://"),
    *("https://app.example.com@evil.net", "https://app.example.com:444", "http://app.example.com"),
    *("https://app.example.com/", "https://app.example.com/x", "https://app.example.com#", "https://app.example.com."),
    *(" https://app.example.com", "https://app.example.com evil.net", "https://app.example.com, https://evil.net"),
    *("https://x.app.example.com", "https://appXexample.com", "chrome-extension://app.example.com", "app.example.com"),
    *("https://*.example.com", "*", "same", "javascript://app.example.com", "https://example.com", "https://evil.net"),
    *("https://app.example.com\x00", "https://app.example.com%00.evil.net", "https://app。example.com"),
]


@pytest.mark.case("A07")
@pytest.mark.parametrize("cookies", [True, False])
def test_a07_listed_pages_and_no_others(cookies, figure):
    origins = Origins(["https://app.example.com"], cookies=cookies)
    for good in ("https://app.example.com", "https://app.example.com:443", "HTTPS://APP.example.com"):
        assert not refused(origins, origin=good, sec_fetch_site="cross-site")
    accepted = [trick for trick in TRICKS if not refused(origins, origin=trick)]
    assert accepted == []
    figure(f"A07: {len(TRICKS)} origins that only look like the listed one, accepted: {len(accepted)}")


def test_a07_sub_domains():
    origins = Origins(["https://*.example.com", "http://*.test.local:3000"])
    for good in ("https://a.example.com", "https://a.b.example.com", "http://x.test.local:3000"):
        assert not refused(origins, origin=good)
    bad = ["https://example.com", "https://aexample.com", "https://.example.com", "https://evil.net/.example.com"]
    bad += ["http://a.example.com", "https://a.example.com.evil.net", "http://x.test.local", "https://*.example.com"]
    for origin in bad:
        assert refused(origins, origin=origin), origin


@pytest.mark.parametrize(
    "origins", [Origins(cookies=True), Origins(["same"]), Origins(["https://a.org"], cookies=True)]
)
def test_a07_pages_of_the_same_host(origins):
    assert not refused(origins, origin="https://collab.example.com", sec_fetch_site="same-origin")
    assert not refused(origins, origin="https://collab.example.com:8443"), "ports share cookies"
    assert not refused(origins, secure=False, origin="http://localhost:3000", host="localhost:1234")
    assert refused(origins, origin="http://collab.example.com"), "who sits on the wire can write that page"
    assert refused(origins, origin="https://collab.example.com", sec_fetch_site="cross-site")
    assert refused(origins, origin="https://example.com")
    assert refused(origins, origin="https://collab.example.com", host="")
    headers = asks("https://collab.example.com")
    assert origins.refusal([*headers, headers[1]], secure=True) is not None, "two origins"
    assert origins.refusal([*headers, (b"host", b"evil.net")], secure=True) is not None, "two hosts"


def test_a07_who_is_no_browser():
    strict, cookies, free = Origins(["same"]), Origins(cookies=True), Origins()
    for origins in (strict, cookies, free):
        assert not refused(origins, origin=None)
    for origins in (strict, cookies):
        assert refused(origins, origin=None, sec_fetch_site="cross-site")
        assert not refused(origins, origin=None, sec_fetch_site="same-origin")
    assert refused(cookies, origin=None, cookie="session=1")
    assert not refused(strict, origin=None, cookie="unrelated=1")


def test_a07_with_tokens_all_pages_may_try():
    for origins in (Origins(), Origins(["*"])):
        assert not any(refused(origins, origin=trick, cookie="x=1", sec_fetch_site="cross-site") for trick in TRICKS)


def test_all_pages_and_cookies_do_not_go_together():
    with pytest.raises(ValueError, match="cookies"):
        Origins(["*"], cookies=True)


# ---------------------------------------------------------------------- headers


async def _page(request) -> PlainTextResponse:
    return PlainTextResponse("page", headers={"referrer-policy": "origin"} if "own" in request.url.query else {})


def browser(allowed: str | None = None, url: str = "http://server") -> httpx.AsyncClient:
    app = Hardened(with_cors(Starlette(routes=[Route("/", _page)]), allowed))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=url)


@pytest.mark.anyio
async def test_every_answer_is_hardened():
    async with browser() as http:
        for answer in (await http.get("/"), await http.get("/missing")):
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["referrer-policy"] == "no-referrer"
            assert answer.headers["content-security-policy"] == "frame-ancestors 'none'"
            assert "strict-transport-security" not in answer.headers
        assert (await http.get("/?own")).headers["referrer-policy"] == "origin"
    async with browser(url="https://server") as http:
        assert "max-age=31536000" in (await http.get("/")).headers["strict-transport-security"]


@pytest.mark.anyio
async def test_other_hosts_pages_read_answers_when_listed():
    wanted = "https://app.example.com, https://*.example.org, http://localhost:3000"
    good = ("https://app.example.com", "https://a.b.example.org", "http://localhost:3000")
    bad = ("https://evil.net", "https://app.example.com.evil.net", "https://example.org", "http://localhost", "null")
    async with browser(wanted) as http:
        for origin in good:
            answer = await http.get("/", headers={"origin": origin})
            assert answer.headers["access-control-allow-origin"] == origin
            assert "access-control-allow-credentials" not in answer.headers
        for origin in bad:
            assert "access-control-allow-origin" not in (await http.get("/", headers={"origin": origin})).headers
    for nothing in (None, "same", ""):
        async with browser(nothing) as http:
            for origin in itertools.chain(good, bad):
                assert "access-control-allow-origin" not in (await http.get("/", headers={"origin": origin})).headers
    async with browser("*") as http:
        assert (await http.get("/", headers={"origin": "https://x.y"})).headers["access-control-allow-origin"] == "*"


def test_a_token_is_shown_whole_and_once():
    def shown(*values: bytes) -> bool:
        return shows_token([(b"authorization", value) for value in values], "hush")

    assert shown(b"Bearer hush") and shown(b"bearer  hush ")
    assert not any(map(shown, (b"", b"hush", b"Basic hush", b"Bearer", b"Bearer ", b"Bearer hus", b"Bearer hushh")))
    assert not shown() and not shown(b"Bearer hush", b"Bearer hush") and not shown(b"Bearer \xff")


def test_which_port_was_asked():
    assert asked_at({"server": ("127.0.0.1", 9)}, 9)
    assert not asked_at({"server": ("127.0.0.1", 9)}, 8)
    assert not any(asked_at(scope, port) for scope in ({}, {"server": None}) for port in (None, 9))
