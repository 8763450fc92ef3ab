"""A WebSocket client written by hand, for what well-behaved clients never do.

* Frames of the y-websocket protocol: `sync1()`, `sync2()`, `update()`, `awareness()`, `query()` build them, `parse()`
  reads them; `var()`, `var_bytes()`, `var_string()` are lib0's pieces. None of it is `collab.wire`'s: a second opinion.
* `Raw`: the socket. It reads only when asked to (so a test can be a slow reader), sends any bytes it is told to
  (unmasked, fragmented, glued to the handshake), and ends as told (close frame, FIN, RST).
* `Peer` puts a pycrdt document on a `Raw`: an editor in Python that pumps in the background.
"""

from .frames import (
    EMPTY_UPDATE,
    EMPTY_VECTOR,
    Message,
    awareness,
    parse,
    query,
    read_var,
    read_var_bytes,
    room_target,
    sync1,
    sync2,
    update,
    var,
    var_bytes,
    var_string,
)
from .peer import Peer
from .websocket import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Closed, Raw, Refused, encode_frame

__all__ = [
    "BINARY",
    "CLOSE",
    "CONTINUATION",
    "EMPTY_UPDATE",
    "EMPTY_VECTOR",
    "PING",
    "PONG",
    "TEXT",
    "Closed",
    "Message",
    "Peer",
    "Raw",
    "Refused",
    "awareness",
    "encode_frame",
    "parse",
    "query",
    "read_var",
    "read_var_bytes",
    "room_target",
    "sync1",
    "sync2",
    "update",
    "var",
    "var_bytes",
    "var_string",
]
