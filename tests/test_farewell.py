"""How a client is told to go: at once, or later where it would only be back at once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from collab.errors import BadMessage, CollabError, Forbidden, TooLarge
from collab.farewell import EDITOR_SECONDS, Farewell
from collab.limits import Refusals
from collab.metrics import Metrics
from collab.settings import Settings
from collab.wire import yjs
from collab.wire.messages import Denied

SETTINGS = Settings()
HOLD = SETTINGS.limits.hold_seconds


class Line:
    """A socket that writes down what it is told."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.ended: tuple[int, str] | None = None

    def send(self, frame: bytes) -> None:
        self.sent.append(frame)

    def close(self, code: int, reason: str) -> None:
        self.ended = code, reason


class Gate:
    """Where clients of one address are refused."""

    def __init__(self) -> None:
        self.hub: Any = SimpleNamespace(metrics=Metrics(), settings=SETTINGS)
        self.refusals = Refusals(3 * HOLD)

    def refuse(
        self, error: CollabError, now: float, *, address: str = "1.2.3.4", dialect: Any = yjs
    ) -> tuple[Farewell, Line]:
        line: Any = Line()
        farewell = Farewell(self.hub, line, self.refusals, address, b"/room")
        farewell.say(error, error.close_code, dialect, now)
        return farewell, line


def test_the_first_time_at_once_and_then_later():
    gate = Gate()
    _, line = gate.refuse(Forbidden("no"), 0.0)
    assert line.ended == (4403, "no") and [yjs.decode(frame) for frame in line.sent] == [Denied("no")]
    again, held = gate.refuse(Forbidden("no"), 1.0)
    again.beat(HOLD, is_editor=True)
    assert held.ended is None and len(held.sent) == 1
    again.beat(1.0 + HOLD, is_editor=True)
    assert held.ended == (4403, "no")
    _, other = gate.refuse(Forbidden("no"), 2.0, address="5.6.7.8")
    assert other.ended is not None, "somebody else is not held"
    assert gate.hub.metrics.refused["4403"]._value.get() == 3


def test_who_shows_no_sign_of_an_editor_is_not_held_for_long():
    gate = Gate()
    gate.refuse(Forbidden("no"), 0.0)
    again, line = gate.refuse(Forbidden("no"), 1.0)
    again.beat(1.0 + EDITOR_SECONDS, is_editor=False)
    assert line.ended is not None


def test_of_hocuspocus_only_what_is_too_large_is_told_apart():
    gate = Gate()
    for _ in range(2):
        _, line = gate.refuse(Forbidden("no"), 0.0, dialect=None)
        assert line.ended is not None and line.sent == []
    gate.refuse(TooLarge("a message", 2, 1), 0.0, dialect=None)
    _, line = gate.refuse(TooLarge("a message", 2, 1), 0.0, dialect=None)
    assert line.ended is None


def test_who_sends_malformed_frames_again_is_held_whatever_it_looks_like():
    gate = Gate()
    _, line = gate.refuse(BadMessage("what?"), 0.0)
    assert line.ended == (4400, "what?")
    again, line = gate.refuse(BadMessage("what?"), 0.1)
    again.beat(0.1 + HOLD - 1, is_editor=False)
    assert line.ended is None
    again.beat(0.1 + HOLD, is_editor=False)
    assert line.ended == (4400, "what?")
    again.gone()
    assert not len(gate.refusals._held)


def test_no_more_of_those_are_held_than_may_be():
    """Neither for one address, nor for longer than their sockets are there."""
    gate = Gate()
    gate.refuse(BadMessage("what?"), 0.0)
    held = []
    for _ in range(gate.refusals._held.limit):
        farewell, line = gate.refuse(BadMessage("what?"), 1.0)
        assert line.ended is None
        held.append(farewell)
    _, line = gate.refuse(BadMessage("what?"), 1.0)
    assert line.ended is not None, "one too many"
    held[0].gone()
    held[0].gone()
    _, line = gate.refuse(BadMessage("what?"), 1.0)
    assert line.ended is None, "one has gone"
    gate.refuse(BadMessage("what?"), 1.0, address="5.6.7.8")
    _, line = gate.refuse(BadMessage("what?"), 1.0, address="5.6.7.8")
    assert line.ended is None, "another address has its own"
