"""Tokens: signed claims (JWT, RFC 7519) in, a `Grant` for one room out. Time is an argument.

Every bad token gets the same sentence, whatever is wrong with it, and no error holds or carries a piece of it. Only one
that is right in everything but its age is called expired, and one that is right in everything but its end, which is no
time at all, is told so.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt

from ..errors import Forbidden, Unauthorized
from . import Grant, Level, patterns
from .keys import Key, KeyRing

TOKEN_BYTES = 16 * 1024
"""Longest token, in bytes; servers take no longer header either."""
TEXT_BYTES = 512
"""Longest `sub`, `jti` and `kid`, in bytes of UTF-8."""
USER_BYTES = 4 * 1024
"""Most that is stamped into presence, in bytes of JSON."""
RULES = 1_000
"""Most patterns in one claim."""
LATEST = 253_402_300_800
"""Seconds since the epoch at the end of the year 9999. What ends later never ends, or was meant in milliseconds."""

NOT_VALID = "the token is not valid"
EXPIRED = "the token has expired"
ENDLESS = "the token is not valid: its exp is no time before the year 10000, in seconds since 1970"
MISSING = "a token is needed"
NOT_COVERED = "the token does not cover this room"
NOT_EVERYWHERE = "the token does not cover every room, which this needs: the rule `**`, and none that says less"

LEVELS = {level.name.lower(): level for level in Level}

# What makes a header point outside, or change what the signature means.
POISON = {"crit", "b64", "jku", "jwk", "x5u", "x5c", "x5t", "x5t#S256", "zip", "enc"}
TYPES = {"jwt", "at+jwt", "application/at+jwt"}


@dataclass(frozen=True, slots=True)
class Terms:
    """What a token must say beside its signature.

    Attributes:
        issuer: The exact `iss`; None takes any.
        audiences: `aud` must name one of these; when there are none, a token that names an audience is not for us.
        leeway: How far clocks may be apart, in seconds.
        require_exp: Whether a token without an end is refused.
        default_level: What a token may do that says nothing about rooms.
        may_create: Whether a token may make rooms that says nothing about that.
    """

    issuer: str | None = None
    audiences: tuple[str, ...] = ()
    leeway: float = 30.0
    require_exp: bool = True
    default_level: Level = Level.NONE
    may_create: bool = True


def key_name(token: str) -> str | None:
    """The `kid` that a token names, not verified: good for choosing among known keys, and for nothing else.

    Raises:
        Unauthorized: It is no token.
    """
    return _parse(token)[0].get("kid")


def verify(token: str, ring: KeyRing) -> dict[str, Any]:
    """The claims of a token that one of the keys has signed.

    Raises:
        Unauthorized: No key has, or it is no token.
    """
    header, claims, signed, signature = _parse(token)
    for key in ring.fitting(header["alg"], header.get("kid")):
        if key.verify(signed, signature):
            return _json(claims)
    raise Unauthorized(NOT_VALID)


def to_grant(claims: Mapping[str, Any], room: str | None, terms: Terms, now: float) -> Grant:
    """What verified claims allow in a room at `now` (seconds since the epoch); in every room there may be, for None.

    The grant counts until `exp` and the leeway have passed.

    Raises:
        Unauthorized: The claims do not hold, or hold no longer.
        Forbidden: They hold, but not for this room, or not for every one.
    """
    try:
        expires, issued = _times(claims, terms, now)
        _names(claims, terms)
        subject, token_id, user = _text(claims, "sub"), _text(claims, "jti"), _user(claims)
        level, may_create = _level(claims, room, terms), _may_create(claims, room, terms)
    except ValueError:
        raise Unauthorized(NOT_VALID) from None
    if expires is not None and now >= expires:
        raise Unauthorized(EXPIRED)
    if expires is not None and expires >= LATEST:
        raise Unauthorized(ENDLESS)  # or `exp` would be required, and mean nothing
    if level is Level.NONE:
        raise Forbidden(NOT_EVERYWHERE if room is None else NOT_COVERED)
    return Grant(level, subject, token_id, expires, issued, user, may_create)


def mint(claims: Mapping[str, Any], key: Key) -> str:
    """A token with these claims, signed with a shared secret: for trials; an application makes its own."""
    return jwt.encode(dict(claims), key.material, key.algorithm)


def _parse(token: str) -> tuple[dict[str, Any], bytes, bytes, bytes]:
    """Header, claims as JSON, what was signed, signature; the header is fit to choose a key with."""
    try:
        if len(token) > TOKEN_BYTES:
            raise ValueError
        head, body, mark = token.encode("ascii").split(b".")
        header = _json(_decode(head))
        claims, signature = _decode(body), _decode(mark)
    except ValueError:
        raise Unauthorized(NOT_VALID) from None
    kid, kind = header.get("kid"), header.get("typ", "JWT")
    fit = (
        isinstance(header.get("alg"), str)
        and not POISON & header.keys()
        and (kid is None or (isinstance(kid, str) and 0 < len(kid) <= TEXT_BYTES))
        and (isinstance(kind, str) and kind.lower() in TYPES)
    )
    if not fit:
        raise Unauthorized(NOT_VALID)
    return header, claims, head + b"." + body, signature


def _decode(part: bytes) -> bytes:
    """base64url without padding, in the one spelling there is for each value."""
    try:
        raw = base64.b64decode(part + b"=" * (-len(part) % 4), b"-_", validate=True)
    except binascii.Error:
        raise ValueError from None
    if base64.urlsafe_b64encode(raw).rstrip(b"=") != part:
        raise ValueError
    return raw


def _json(raw: bytes) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):  # two readers could take different ones
            raise ValueError
        return found

    def never(_: str) -> None:
        raise ValueError  # NaN and Infinity are no JSON

    try:
        value = json.loads(raw.decode(), object_pairs_hook=once, parse_constant=never)
    except (ValueError, RecursionError):
        raise Unauthorized(NOT_VALID) from None
    if not isinstance(value, dict):
        raise Unauthorized(NOT_VALID)
    return value


def _number(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None and name not in claims:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError
    try:
        number = float(value)
    except OverflowError:
        raise ValueError from None
    if not math.isfinite(number) or number < -LATEST:
        raise ValueError
    return number


def _text(claims: Mapping[str, Any], name: str) -> str | None:
    value = claims.get(name)
    if value is not None and not (isinstance(value, str) and 0 < len(value.encode()) <= TEXT_BYTES):
        raise ValueError  # also for half a character, which nothing could write down again
    return value


def _times(claims: Mapping[str, Any], terms: Terms, now: float) -> tuple[float | None, float | None]:
    exp, nbf, iat = (_number(claims, name) for name in ("exp", "nbf", "iat"))
    if exp is None and terms.require_exp:
        raise ValueError
    for begin in (nbf, iat):
        if begin is not None and begin > now + terms.leeway:
            raise ValueError
    return None if exp is None else exp + terms.leeway, iat


def _names(claims: Mapping[str, Any], terms: Terms) -> None:
    if terms.issuer is not None and claims.get("iss") != terms.issuer:
        raise ValueError
    named = claims.get("aud")
    if named is None and "aud" not in claims:
        if terms.audiences:
            raise ValueError
        return
    listed = [named] if isinstance(named, str) else named
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        raise ValueError
    if not set(listed) & set(terms.audiences):
        raise ValueError


def _user(claims: Mapping[str, Any]) -> dict[str, object] | None:
    user = claims.get("user")
    if user is None:
        return None
    if not isinstance(user, dict) or len(json.dumps(user, ensure_ascii=False).encode()) > USER_BYTES:
        raise ValueError
    return user


def _patterns(names: object) -> list[str]:
    if not isinstance(names, list) or len(names) > RULES or not all(isinstance(name, str) for name in names):
        raise ValueError
    return names


def _level(claims: Mapping[str, Any], room: str | None, terms: Terms) -> Level:
    if "rooms" in claims:
        return _from_rooms(claims["rooms"], room)
    lists = {name: claims[f"{name}DocumentNames"] for name in TIPTAP if f"{name}DocumentNames" in claims}
    return _from_tiptap(lists, room, terms.default_level) if lists else terms.default_level


def _from_rooms(rooms: object, room: str | None) -> Level:
    if not isinstance(rooms, dict) or len(rooms) > RULES:
        raise ValueError
    for pattern, word in rooms.items():
        patterns.check(pattern)
        if not isinstance(word, str) or word not in LEVELS:
            raise ValueError
    levels = {pattern: LEVELS[word] for pattern, word in rooms.items()}
    found = patterns.everywhere(levels, min) if room is None else patterns.most_specific(levels, room)
    return Level.NONE if found is None else found


TIPTAP = {"comment": Level.COMMENT, "readonly": Level.READ, "allowed": Level.WRITE}
"""The prefixes of TipTap's claims, in the order in which they are asked: a name that is read-only, too, is not written
to, although it is allowed."""


def _from_tiptap(lists: Mapping[str, object], room: str | None, default: Level) -> Level:
    checked = {name: _patterns(names) for name, names in lists.items()}
    if room is None:
        return Level.NONE  # they list names, and give nobody more than `write`
    for name, level in TIPTAP.items():
        if any(patterns.tiptap_matches(entry, room) for entry in checked.get(name, ())):
            return level
    return Level.NONE if "allowed" in checked else default


def _may_create(claims: Mapping[str, Any], room: str | None, terms: Terms) -> bool:
    create = claims.get("create", terms.may_create)
    if isinstance(create, bool):
        return create
    listed = _patterns([create] if isinstance(create, str) else create)
    for pattern in listed:
        patterns.check(pattern)
    return patterns.ALL in listed if room is None else patterns.any_matches(listed, room)
