"""What a seat knows of the socket behind it."""

from __future__ import annotations

from typing import get_args

from collab.metrics import Metrics
from collab.outlet import KINDS, Dialect
from collab.wire import yjs
from collab.wire.hocuspocus import Hocuspocus
from collab.wire.messages import Message, QueryAwareness


def test_every_message_is_counted_as_something():
    metrics = Metrics()
    assert set(KINDS) == set(get_args(Message))
    assert set(KINDS.values()) <= set(metrics.sent)


def test_both_dialects_are_what_a_seat_needs():
    dialects: list[Dialect] = [yjs, Hocuspocus("d")]
    for dialect in dialects:
        frame = dialect.encode(QueryAwareness())
        assert frame is not None and dialect.typed(frame) is None
        assert dialect.NAME and isinstance(dialect.ACKNOWLEDGES, bool)
    assert yjs.decode(b"\x03") == QueryAwareness()
