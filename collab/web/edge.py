"""What the outside may say of itself, and what it is told: addresses, origins, headers. Values in, values out.

Who may believe whom: the peer of the socket is a fact. What a proxy adds about its client is believed when the proxy is
one of `server.trusted_proxies`, counted from the right, as each appends on that side. Everything else in these headers
was written by whoever wanted to.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, MutableMapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from ..settings.values import parse_list, parse_origin

Network = IPv4Network | IPv6Network
RawHeaders = Iterable[tuple[bytes, bytes]]

UNKNOWN = "unknown"
"""The address of a client that the ASGI server says nothing about: a Unix socket, most likely."""
YEAR_SECONDS = 365 * 24 * 3600

_FOR = re.compile(r'(?:^|;)\s*for\s*=\s*"?([^";]*)"?', re.IGNORECASE)
_PORT = re.compile(r"^(?:\[([^]]+)\]|([0-9.]+))(?::[0-9]{1,5})?$")


def client_address(peer: str | None, headers: RawHeaders, trusted: Sequence[Network]) -> str:
    """Where a client is: the peer, or what trusted proxies say, from the right.

    The first address that is not one of the proxies' is the client. An entry that is no address ends the search: what
    stands left of it may be anybody's, so the proxy that wrote it counts as the client. A client that sends the one
    header of which its proxy writes the other counts as the proxy, too: it shares limits with its like alone.

    Args:
        peer: The address at the other end of the socket.
        headers: The request's headers, as ASGI gives them.
        trusted: Networks of the proxies that are believed.
    """
    if peer is None:
        return UNKNOWN
    here = _address(peer)
    if here is None:
        return peer
    if not trusted or not _within(here, trusted):
        return str(here)
    lists: dict[bytes, list[str]] = {}
    for name, value in headers:
        lowered = name.lower()
        if lowered in (b"x-forwarded-for", b"forwarded"):
            lists.setdefault(lowered, []).extend(value.decode("latin-1").split(","))
    found = {
        str(_from_the_right(here, entries if name == b"x-forwarded-for" else map(_forwarded_for, entries), trusted))
        for name, entries in lists.items()
    }
    return found.pop() if len(found) == 1 else str(here)


def _from_the_right(
    peer: IPv4Address | IPv6Address, entries: Iterable[str], trusted: Sequence[Network]
) -> IPv4Address | IPv6Address:
    nearest = peer
    for entry in reversed(list(entries)):
        address = _address(entry)
        if address is None:
            break
        nearest = address
        if not _within(address, trusted):
            break
    return nearest


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """The address in `1.2.3.4`, `1.2.3.4:80`, `::1` or `[::1]:80`; IPv4 in IPv6 clothes is IPv4."""
    text = text.strip()
    match = _PORT.match(text)
    try:
        found = ip_address((match[1] or match[2] if match else text).partition("%")[0])
    except ValueError:
        return None
    return found.ipv4_mapped or found if isinstance(found, IPv6Address) else found


def _forwarded_for(element: str) -> str:
    match = _FOR.search(element)
    return match[1] if match else ""


def _within(address: IPv4Address | IPv6Address, networks: Sequence[Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)


def is_trusted(peer: str, trusted: Sequence[Network]) -> bool:
    """Whether a peer is one of the proxies that are believed."""
    found = _address(peer)
    return found is not None and _within(found, trusted)


def is_loopback(address: str) -> bool:
    """Whether it is this machine's own."""
    found = _address(address)
    return found is not None and found.is_loopback


class Origins:
    """Which pages may connect.

    A browser lets every page of the web open a WebSocket to anywhere, and says in `Origin` which page it is. Where a
    token gives access, the page has to have it, so all may try. Where access comes by itself with the browser (a
    cookie), a foreign page would act as its visitor: then only pages of the server's own host, or listed ones, may.

    Args:
        allowed: Origins, with `*.` for every sub-domain; `same` (own host alone) or `*` (all). Empty: all, or `same`
            when there are cookies.
        cookies: Whether a cookie gives access.

    Raises:
        ValueError: An origin is malformed, or all are let in where cookies give access.
    """

    def __init__(self, allowed: Iterable[str] = (), *, cookies: bool = False) -> None:
        words = [word.lower() for word in allowed]
        self.cookies = cookies
        if "*" in words and cookies:
            raise ValueError("it should name the pages that may connect: where cookies give access, `*` lets in any")
        self.everyone = "*" in words or not (words or cookies)
        parsed = [parse_origin(word) for word in words if word not in ("*", "same")]
        self.exact = {origin for origin in parsed if not origin[1].startswith("*.")}
        self.below = [(scheme, host[1:], port) for scheme, host, port in parsed if host.startswith("*.")]

    def refusal(self, headers: RawHeaders, *, secure: bool) -> str | None:
        """Why a request may not connect; None when it may.

        Args:
            headers: The request's headers.
            secure: Whether it came over TLS.
        """
        if self.everyone:
            return None
        found = Headers(raw=list(headers))
        origins = found.getlist("origin")
        site = found.get("sec-fetch-site")
        if not origins:
            # Every browser names the page that opens a WebSocket, so this is none, or somebody took the name away.
            if site not in (None, "none", "same-origin"):
                return "the page that connects is not named"
            if self.cookies and "cookie" in found:
                return "there is a cookie and the page that connects is not named"
            return None
        if len(origins) > 1:
            return "several pages are named"
        try:
            origin = parse_origin(origins[0])
        except ValueError:
            return "the page that connects has no address of its own"
        if origin[1].startswith("*"):
            return "this page may not connect"
        if self.listed(origin):
            return None
        if site in ("cross-site",) or not _same_host(origin, found.getlist("host"), secure=secure):
            return "this page may not connect"
        return None

    def listed(self, origin: tuple[str, str, int]) -> bool:
        """Whether the list names this origin (scheme, host, port)."""
        scheme, host, port = origin
        return origin in self.exact or any(
            scheme == wanted and port == number and host.endswith(end) and len(host) > len(end)
            for wanted, end, number in self.below
        )


def _same_host(origin: tuple[str, str, int], hosts: list[str], *, secure: bool) -> bool:
    """Whether a page is of the host that is asked. Ports do not matter: they share cookies."""
    scheme, host, _ = origin
    if len(hosts) != 1 or (secure and scheme != "https"):
        return False
    name = re.sub(r":[0-9]*$", "", hosts[0].strip().lower())
    return bool(name) and name == host


def with_cors(app: ASGIApp, allowed: str | None) -> ASGIApp:
    """The HTTP app, answering listed pages of other hosts. Never with cookies; nothing is added when none is listed."""
    words = [word.lower() for word in parse_list(allowed) if word != "same"]
    if not words:
        return app
    if "*" in words:
        return CORSMiddleware(app, allow_origins=["*"], allow_headers=["authorization"])
    # As browsers write them: the usual port is left out.
    patterns = [re.escape(word).replace(r"\*\.", r"(?:[a-z0-9_-]+\.)+") for word in map(_as_sent, words)]
    return CORSMiddleware(app, allow_origin_regex="|".join(patterns), allow_headers=["authorization"])


def _as_sent(text: str) -> str:
    scheme, host, port = parse_origin(text)
    return f"{scheme}://{host}" + ("" if port == {"http": 80, "https": 443}[scheme] else f":{port}")


class Hardened:
    """The HTTP app with the headers that keep browsers from guessing, framing and leaking. An answer's own go first."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def answer(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("x-content-type-options", "nosniff")
                headers.setdefault("referrer-policy", "no-referrer")
                headers.setdefault("content-security-policy", "frame-ancestors 'none'")
                if scope.get("scheme") == "https":
                    headers.setdefault("strict-transport-security", f"max-age={YEAR_SECONDS}")
            await send(message)

        await self.app(scope, receive, answer)


def shows_token(headers: RawHeaders, token: str) -> bool:
    """Whether the request shows `token` as `Authorization: Bearer`. Takes as long for each wrong token."""
    shown = [value for name, value in headers if name.lower() == b"authorization"]
    if len(shown) != 1:
        return False
    scheme, _, word = shown[0].partition(b" ")
    return scheme.lower() == b"bearer" and hmac.compare_digest(word.strip(), token.encode())


def asked_at(scope: MutableMapping[str, Any], port: int | None) -> bool:
    """Whether a request came in at this port of ours."""
    server = scope.get("server")
    return port is not None and server is not None and server[1] == port
