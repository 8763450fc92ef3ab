"""`collab token`: a token for trials. An application makes its own, with the same secret."""

from __future__ import annotations

import re
import secrets
import time
from typing import Annotated, Any

import typer

from ..auth import patterns
from ..auth.keys import HMAC
from ..auth.modes import local_keys
from ..auth.tokens import LEVELS, mint
from ..errors import SettingsError
from ..settings import load_settings
from ..settings.values import parse_list
from .app import AsJson, app, print_json

UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
FOREVER_SECONDS = 10 * 365 * UNITS["d"]


@app.command()
def token(
    sub: Annotated[str, typer.Option("--sub", metavar="NAME", help="Who it is for.")],
    room: Annotated[
        list[str],
        typer.Option("--room", metavar="PATTERN=LEVEL", help="Where it allows what; may be given several times."),
    ],
    level: Annotated[
        str | None, typer.Option("--level", help="The level of every --room that is a name alone.")
    ] = None,
    expires: Annotated[
        str, typer.Option("--expires", metavar="SPAN", help="How long it counts: 90s, 15m, 1h, 7d.")
    ] = "1h",
    name: Annotated[str | None, typer.Option("--name", help="Name that others see at the cursor.")] = None,
    color: Annotated[str | None, typer.Option("--color", help="Color of the cursor, such as #3366ff.")] = None,
    create: Annotated[
        bool | None, typer.Option("--create/--no-create", help="Whether it may make rooms by entering them.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print a token that this server takes, signed with its secret. For trials: it is as good as a login."""
    settings = load_settings()
    key = next((key for key in local_keys(settings.auth) if key.algorithm in HMAC), None)
    if key is None:
        raise SettingsError("there is no secret to sign with: set COLLAB_AUTH__JWT_SECRET to the server's own")
    now = int(time.time())
    user = {field: value for field, value in (("name", name), ("color", color)) if value is not None}
    audiences = parse_list(settings.auth.jwt_audience)
    claims: dict[str, Any] = {
        "sub": sub,
        "jti": secrets.token_urlsafe(12),
        "iat": now,
        "exp": now + span_seconds(expires, "--expires"),
        "rooms": dict(_rule(text, level) for text in room),
    }
    for claim, value in (
        ("iss", settings.auth.jwt_issuer),
        ("aud", audiences[0] if audiences else None),
        ("user", user or None),
        ("create", create),
    ):
        if value is not None:
            claims[claim] = value
    signed = mint(claims, key)
    if as_json:
        print_json({"token": signed, "claims": claims})
    else:
        print(signed)


def _rule(text: str, level: str | None) -> tuple[str, str]:
    pattern, word = (text, level) if level is not None else text.rpartition("=")[::2]
    if not pattern or word not in LEVELS:
        raise typer.BadParameter(
            f"{text!r} should be PATTERN=LEVEL, or a name beside --level; a level is one of {', '.join(LEVELS)}",
            param_hint="--room",
        )
    try:
        patterns.check(pattern)
    except ValueError as error:
        raise typer.BadParameter(f"{pattern!r}: {error}", param_hint="--room") from None
    return pattern, word


def span_seconds(span: str, option: str) -> int:
    """What a span such as 15m means; `option` is where it was said."""
    match = re.fullmatch(r"([1-9][0-9]{0,9})([smhd])", span)
    seconds = int(match[1]) * UNITS[match[2]] if match else 0
    if not 0 < seconds <= FOREVER_SECONDS:
        raise typer.BadParameter(f"{span!r} should be a span such as 90s, 15m, 1h or 7d", param_hint=option)
    return seconds
