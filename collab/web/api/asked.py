"""What the operations have in common: who asks, which room is meant, where a list goes on."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Annotated, Any
from urllib.parse import unquote_to_bytes

from fastapi import Depends, Path, Query
from starlette.requests import Request

from ...errors import BadMessage
from ...names import checked_name
from .access import Admin

PAGE = 1_000
"""The longest page of a list."""


async def _admin(request: Request) -> Admin:
    admin: Admin = request.state.admin
    return admin


async def _room(
    request: Request,
    name: Annotated[
        str, Path(description="The room's exact name, as one segment: every `/` in it is `%2F`, every `%` is `%25`.")
    ],
) -> str:
    return checked_name(unquote_to_bytes(name), max_bytes=request.app.state.name_bytes)


Asks = Annotated[Admin, Depends(_admin)]
RoomName = Annotated[str, Depends(_room)]
Limit = Annotated[int, Query(ge=1, le=PAGE, description="Most items on the page.")]
Cursor = Annotated[str | None, Query(max_length=4096, description="Where to go on: `next` of the page before.")]


def cursor_of(place: list[Any]) -> str:
    """A cursor that names the place of an item in an order."""
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


def place_of(cursor: str, kinds: tuple[type | tuple[type, ...], ...]) -> list[Any]:
    """The place that a cursor names, with values of these kinds.

    Raises:
        BadMessage: It is none of ours.
    """
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True)
        place = json.loads(raw)
    except (binascii.Error, ValueError, RecursionError):
        place = None
    if (
        not isinstance(place, list)
        or len(place) != len(kinds)
        or not all(isinstance(value, kind) for value, kind in zip(place, kinds, strict=True))
    ):
        raise BadMessage("the cursor should be `next` of the page before")
    return place
