"""What a room may be called, and how a path names one: decoded once, kept exact. Two names are never one room.

Unicode is not normalised: a name in NFC and the same in NFD are two rooms, as they are two strings for every client.
"""

from __future__ import annotations

import unicodedata
from urllib.parse import quote, unquote_to_bytes

from .errors import BadRoomName


def room_name(raw_path: bytes, root_path: str = "", *, max_bytes: int) -> str:
    """The name of the room at `raw_path` (as it stood in the request line, without the query).

    Raises:
        BadRoomName: It is empty or blank, longer than `max_bytes` in UTF-8, not UTF-8, or has control characters.
    """
    prefix = quote(root_path.rstrip("/")).encode() + b"/"
    path = raw_path.removeprefix(prefix if raw_path.startswith(prefix) else b"/")
    return checked_name(unquote_to_bytes(path), max_bytes=max_bytes)


def checked_name(raw: bytes, *, max_bytes: int) -> str:
    """The name that `raw` is in UTF-8.

    Raises:
        BadRoomName: It is empty or blank, longer than `max_bytes`, not UTF-8, or has control characters.
    """
    if len(raw) > max_bytes:
        raise BadRoomName(f"the room's name is longer than {max_bytes} bytes")
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        raise BadRoomName("the room's name is not UTF-8") from None
    if not name.strip():
        raise BadRoomName("the room's name is empty")
    if any(unicodedata.category(character) == "Cc" for character in name):
        raise BadRoomName("the room's name has control characters")
    return name
