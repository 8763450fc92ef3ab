"""Where in a request the token stands. The first place that shows one counts, in this order:

1. the header `Authorization: Bearer TOKEN`,
2. an offered subprotocol `collab.token.` followed by the token in base64url without padding,
3. the query parameter `token`,
4. the cookie whose name is a setting, if the page's `Origin` is allowed.

One place that shows two is refused: the proxy in front and this server could each read another one. A browser sends
cookies by itself, whichever page asks, so there the origin decides; the other three a page has to know.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from ..errors import Unauthorized

SUBPROTOCOL = "collab.token."
PARAMETERS = 100


@dataclass(frozen=True, slots=True)
class Shown:
    """What a request shows.

    Attributes:
        token: The token; None when there is none. Not in the repr.
        place: "header", "subprotocol", "query" or "cookie"; None without a token.
        subprotocol: What to select of the subprotocols offered: the first that is no token. None when there is none,
            and then browsers give up if they offered any: a page offers `collab` beside its token.
    """

    token: str | None = field(repr=False)
    place: str | None
    subprotocol: str | None


def find_token(
    query: bytes,
    headers: Sequence[tuple[bytes, bytes]],
    subprotocols: Sequence[str] = (),
    *,
    cookie: str | None = None,
    allowed: Callable[[str], bool] = lambda origin: False,
) -> Shown:
    """Look for the token, in the order above.

    Args:
        query: The query string as it was sent, without "?".
        headers: Lower-case names and values, as in an ASGI scope.
        subprotocols: What the client offers, in its order.
        cookie: Name of the cookie; None to read none.
        allowed: Whether the cookies of a page from this origin count.

    Raises:
        Unauthorized: One place shows several tokens, or something that can be none.
    """
    select = next((name for name in subprotocols if not name.startswith(SUBPROTOCOL)), None)
    for place, found in (
        ("header", _bearer(headers)),
        ("subprotocol", [_unwrap(name) for name in subprotocols if name.startswith(SUBPROTOCOL)]),
        ("query", _query(query)),
        ("cookie", _cookies(headers, cookie) if cookie and _from_page(headers, allowed) else []),
    ):
        if len(found) > 1:
            raise Unauthorized(f"the request shows more than one token ({place})")
        if found and found[0]:
            return Shown(found[0], place, select)
    return Shown(None, None, select)


def _from_page(headers: Sequence[tuple[bytes, bytes]], allowed: Callable[[str], bool]) -> bool:
    """Whether one `Origin` is sent, no other beside it, and it is allowed; `null`, which any page can send, is not."""
    sent = _values(headers, b"origin")
    return len(sent) == 1 and sent[0] not in ("", "null") and allowed(sent[0])


def _values(headers: Sequence[tuple[bytes, bytes]], name: bytes) -> list[str]:
    return [value.decode("latin-1").strip() for key, value in headers if key == name]


def _bearer(headers: Sequence[tuple[bytes, bytes]]) -> list[str]:
    sent = [value.split(None, 1) for value in _values(headers, b"authorization")]
    return [words[1] if len(words) == 2 else "" for words in sent if words and words[0].lower() == "bearer"]


def _unwrap(name: str) -> str:
    wrapped = name.removeprefix(SUBPROTOCOL)
    try:
        raw = base64.b64decode(wrapped + "=" * (-len(wrapped) % 4), b"-_", validate=True)
        return raw.decode("ascii")
    except (binascii.Error, ValueError):
        raise Unauthorized("the subprotocol holds no token") from None


def _query(query: bytes) -> list[str]:
    try:
        pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=PARAMETERS)
    except ValueError:
        raise Unauthorized(f"the query has more than {PARAMETERS} parameters") from None
    return [value for name, value in pairs if name == "token"]


def _cookies(headers: Sequence[tuple[bytes, bytes]], wanted: str) -> list[str]:
    pairs = [part.partition("=") for value in _values(headers, b"cookie") for part in value.split(";")]
    return [value.strip().strip('"') for name, _, value in pairs if name.strip() == wanted]
