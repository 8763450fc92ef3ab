"""Whether the headers that ask for a WebSocket (RFC 6455, 4.2.1) are ones to answer. Values in, values out."""

from __future__ import annotations

import re
from collections.abc import Iterable

KEY = b"sec-websocket-key"
NAMES = {b"connection", b"upgrade", KEY, *(b"sec-websocket-" + of for of in (b"version", b"protocol", b"extensions"))}

_PRINTABLE = re.compile(rb"[\t -~]*")
_KEY = re.compile(rb"[A-Za-z0-9+/]{22}==")
"""What 16 bytes are in base64."""


def is_sound(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a request may go on to whoever looks at what it asks for; else it is to be answered with 400.

    The server under us decodes these headers as ASCII and fails where they are not, without an answer and with a
    traceback in the log, before anybody was counted or let in. And a key that is none is not to be answered: what is
    said to it proves nothing about who said it.

    Args:
        headers: All of the request, with lower-case names.
    """
    keys = 0
    for name, value in headers:
        if name not in NAMES:
            continue
        if not _PRINTABLE.fullmatch(value):
            return False
        if name == KEY:
            keys += 1
            if keys > 1 or not _KEY.fullmatch(value):
                return False
    return True
