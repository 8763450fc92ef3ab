"""The ETag of a document: its state vector, and what of it is deleted, which a state vector does not tell."""

from __future__ import annotations

import base64
import binascii
import re
from hashlib import blake2b

from ...errors import BadMessage, Conflict, Stale
from ...room import RoomCore
from ...wire import vet

_ENTRY = re.compile(r'\s*(W/)?"([A-Za-z0-9_.-]*)"\s*(?:,|$)')


def tag(core: RoomCore) -> str:
    """The ETag as it stands in a header: `"STATEVECTOR.DELETED"`, the first in base64url, the second a digest.

    Raises:
        Panic: The document library could not read the document.
    """
    vector = vet.state_vector(dict(sorted(core.clocks.items())))
    return f'"{_encoded(vector)}.{_deleted(core)}"'


def demand(header: str | None, core: RoomCore) -> None:
    """Raise `Stale` unless the document is one that `If-Match` names; a state vector alone is a name, too.

    Raises:
        BadMessage: The header is malformed.
        Stale: It is another one.
        Panic: The document library could not read the document.
    """
    if header is None:
        return
    if header.strip() == "*":
        if core.clocks:
            return
        raise Stale
    if not any(_names(value, core) for weak, value in _entries(header) if not weak):
        raise Stale


def demand_none(header: str | None, core: RoomCore) -> None:
    """Raise `Conflict` when `If-None-Match: *` is sent, and the room holds something."""
    if header is not None and header.strip() == "*" and core.clocks:
        raise Conflict("the room holds something already")


def same(header: str | None, current: str) -> bool:
    """Whether `If-None-Match` names the document, so that it need not be sent again."""
    return header is not None and any(f'"{value}"' == current for _, value in _entries(header, strict=False))


def _entries(header: str, *, strict: bool = True) -> list[tuple[bool, str]]:
    found, at = [], 0
    while at < len(header):
        match = _ENTRY.match(header, at)
        if match is None:
            if not strict:
                return []
            raise BadMessage("If-Match should be an ETag that was read here, in its quotation marks")
        found.append((match[1] is not None, match[2]))
        at = match.end()
    return found


def _names(value: str, core: RoomCore) -> bool:
    vector, dot, deleted = value.partition(".")
    try:
        clocks = vet.parse_state_vector(base64.b64decode(vector + "=" * (-len(vector) % 4), b"-_", validate=True))
    except (binascii.Error, ValueError, BadMessage):
        raise BadMessage("If-Match should be an ETag that was read here, in its quotation marks") from None
    if {client: clock for client, clock in clocks.items() if clock} != core.clocks:
        return False
    return not dot or deleted == _deleted(core)


def _encoded(vector: bytes) -> str:
    return base64.urlsafe_b64encode(vector).decode().rstrip("=")


def _deleted(core: RoomCore) -> str:
    """A digest of all ranges that are deleted: `0` when there is none."""
    joined: list[list[int]] = []
    for client, start, end in sorted(vet.parse(core.difference(core.state_vector())).deletes):
        if joined and joined[-1][0] == client and joined[-1][2] >= start:
            joined[-1][2] = max(joined[-1][2], end)
        else:
            joined.append([client, start, end])
    return blake2b(repr(joined).encode(), digest_size=9).hexdigest() if joined else "0"
