"""The awareness update (y-protocols/awareness.js): how many, then client id, clock and state (JSON) of each."""

from __future__ import annotations

from ..errors import BadMessage, TooLarge
from .lib0 import MAX_SAFE, expect_end, read_var_uint, var_string, var_uint

GONE = b"null"
"""The state of a client that is not there any more, as editors write it."""
ANY = 2**70
"""Any number that is not longer than numbers may be."""


def entry(client: int, clock: int, text: str | None) -> bytes:
    """What an update says of one client; None for "gone"."""
    return var_uint(client) + var_uint(clock) + var_string("null" if text is None else text)


def joined(entries: list[bytes]) -> bytes:
    """The update that says all of `entries`."""
    return var_uint(len(entries)) + b"".join(entries)


def newest(update: bytes, most: int) -> dict[int, tuple[int, int, int]]:
    """Where the newest state of each client stands in `update`: client id -> clock, begin and end of its JSON.

    No state is looked at. What a client is said to be several times costs no more than these numbers: 3 us for each.
    What has a clock that no browser can count is left out. It may not be its sender's fault: whoever is told of itself
    with a higher clock than its own goes on from there.

    Args:
        update: The whole of it.
        most: How many states it may have.

    Raises:
        BadMessage: It is truncated, or something follows.
        TooLarge: It has more than `most`.
    """
    count, at = read_var_uint(update, 0)
    if 3 * count > len(update):
        raise BadMessage(f"{count} awareness states are announced in {len(update)} bytes")
    if count > most:
        raise TooLarge("an awareness update", count, most, unit="states")
    found: dict[int, tuple[int, int, int]] = {}
    for _ in range(count):
        client, at = read_var_uint(update, at)
        clock, at = read_var_uint(update, at, ANY)
        size, begin = read_var_uint(update, at)
        at = begin + size
        if clock > MAX_SAFE:
            continue
        known = found.get(client)
        if known is None or clock > known[0] or (clock == known[0] and update[begin:at] == GONE):
            found[client] = clock, begin, at
    expect_end(update, at)
    return found


def is_gone(update: bytes, begin: int, end: int) -> bool:
    """Whether what stands there says that the client has gone; JSON may have white space around it."""
    return end - begin < 100 and update[begin:end].strip() == GONE


def read_text(update: bytes, begin: int, end: int) -> str:
    """The JSON that stands there; raises `BadMessage` if it is not UTF-8."""
    try:
        return update[begin:end].decode()
    except UnicodeDecodeError:
        raise BadMessage("an awareness state is not UTF-8") from None
