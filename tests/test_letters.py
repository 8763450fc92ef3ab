"""Words beside the document: from one editor, back to it, to all; and on a running app."""

from __future__ import annotations

import pytest

from collab import Letter, Settings, create_app
from collab.letters import broadcast
from collab.metrics import Metrics
from collab.room import RoomCore
from collab.seat import Seat
from collab.wire import yjs
from collab.wire.hocuspocus import Hocuspocus
from collab.wire.messages import Stateless
from tests.support.waiting import until


class Heard:
    buffered = 0

    def __init__(self) -> None:
        self.frames: list[bytes] = []

    def send(self, frame: bytes) -> None:
        self.frames.append(frame)

    def expect(self, size: int) -> None: ...


def sit(core, dialect):
    outlet = Heard()
    seat = Seat(core, dialect, outlet, outbox_bytes=1000, metrics=Metrics(), trouble=lambda error: None, now=0.0)
    seat.enter()
    outlet.frames.clear()
    return seat, outlet


def test_one_is_answered_and_all_are_told():
    core, speak = RoomCore("d"), Hocuspocus("d")
    (one, ears), (_, others), (_, plain) = sit(core, speak), sit(core, Hocuspocus("d")), sit(core, yjs)
    letter = Letter("d", "hi", None, True, one)
    letter.answer("re:hi")
    letter.broadcast("all")
    assert ears.frames == [speak.encode(Stateless("re:hi")), speak.encode(Stateless("all"))]
    assert others.frames == [speak.encode(Stateless("all"))]
    assert plain.frames == []  # y-websocket has no word for it
    one.leave(1.0)
    letter.answer("too late")
    broadcast(core, "again")
    assert len(ears.frames) == 2 and len(others.frames) == 2


@pytest.mark.anyio
async def test_an_app_hears_answers_and_a_room_tells():
    heard: list[Letter] = []

    async def listen(letter: Letter) -> None:
        heard.append(letter)
        letter.answer("re:" + letter.text)

    app = create_app(Settings(store={"url": "memory:"}), on_stateless=listen)
    async with app, app.hub.room("d") as room:
        seat, ears = sit(room.core, Hocuspocus("d"))
        app.hub.stateless("d", "hi", seat)
        await until(lambda: ears.frames, "the answer")
        room.say("to all")
    assert [letter.text for letter in heard] == ["hi"]
    assert ears.frames == [Hocuspocus("d").encode(Stateless(text)) for text in ("re:hi", "to all")]
