"""A client's way into a room: who may, what waits meanwhile, and what becomes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from pycrdt import Doc, Text

from collab.auth import Authorize, Grant, Knock, Level
from collab.errors import BadUpdate, CollabError, Forbidden, TooLarge, TooMany, Unauthorized, Unavailable
from collab.hub import Hub
from collab.intake import Intake
from collab.log import get_logger
from collab.place import Place
from collab.settings import Settings
from collab.transport import Socket
from collab.vetting import LONG
from collab.wire import yjs
from collab.wire.hocuspocus import Hocuspocus
from collab.wire.messages import Stateless, SyncStep1, Update
from tests.support.stores import Obedient
from tests.support.waiting import until
from tests.test_liveness import Wire

pytestmark = pytest.mark.anyio

WRITE, READ, NONE = Grant(Level.WRITE), Grant(Level.READ), Grant(Level.NONE)


class Front:
    """A door that writes down what it is told."""

    def __init__(self, hub: Hub, answer: Callable[[Knock], Any]) -> None:
        self.hub = hub
        self.log = get_logger(__name__)
        self.number = 1
        self.address = "1.2.3.4"
        self.origin: str | None = "https://example.org"
        self.authorize: Authorize = self._decide
        self.knocks: list[Knock] = []
        self.answer = answer
        self.socket: Socket = Wire()
        self.sent: list[bytes] = []
        self.errors: list[CollabError] = []
        self.intake = Intake(
            self.socket, hub.settings.limits, hub.metrics, self.errors.append, hub.call_later, visitor=None, pace=None
        )
        self.happened: list[str] = []
        self.full = False
        self.crowded = False
        self.seats = 0
        self.revoked: Callable[[Grant], bool] = lambda grant: False

    def _decide(self, knock: Knock) -> Grant | Awaitable[Grant]:
        self.knocks.append(knock)
        answer: Grant | Awaitable[Grant] = self.answer(knock)
        return answer

    def clock(self) -> float:
        return 0.0

    def send(self, frame: bytes) -> None:
        self.sent.append(frame)

    def keep(self, size: int) -> None:
        self.intake.keep(size, may_pause=False)

    @property
    def waiting(self) -> int:
        return self.intake._waiting_bytes

    def denied(self, place: Place, error: CollabError) -> None:
        self.happened.append("denied")
        self.errors.append(error)

    def shown(self, place: Place, token: str) -> None:
        self.happened.append(f"shown {token}")
        place.ask(token)

    def trouble(self, place: Place, error: CollabError) -> None:
        self.happened.append("trouble")
        self.errors.append(error)

    def admitted(self, place: Place) -> None:
        self.happened.append("admitted")

    def greet(self, name: str, grant: Grant, *, new: bool) -> Callable[[], None]:
        self.happened.append("greeted, new" if new else "greeted")
        if self.full:
            raise TooMany("connections per user", 1)
        self.seats += 1

        def give_back() -> None:
            self.seats -= 1

        return give_back

    def is_refused(self) -> bool:
        return bool(self.errors)

    def entered(self, place: Place) -> None:
        self.happened.append("entered")

    def done(self) -> None:
        self.happened.append("done")


@pytest.fixture
async def hub(monkeypatch):
    monkeypatch.setattr("collab.beats.BEAT_SECONDS", 1e9)
    settings = Settings(store={"url": "memory:"}, limits={"connections_per_room": 2, "document_bytes": 1024 * 1024})
    store = Obedient()
    async with Hub(settings, store=store) as hub:
        yield hub
        store.reads.set()
        await until(lambda: not hub._opening, "all opened")
        assert sum(opened.holders + opened.seats for opened in hub._rooms.values()) == 0, "nobody is left behind"


def typed(text: str, client: int = 7) -> bytes:
    doc: Doc[Any] = Doc({"t": Text(text)}, client_id=client)
    return yjs.encode(Update(doc.get_update()))


def stored(hub: Hub) -> str:
    assert isinstance(hub.store, Obedient)
    return str(hub.store.document("room").get("t", type=Text))


async def seated(hub: Hub, grant: Grant = WRITE, dialect: Any = yjs) -> tuple[Place, Front]:
    front = Front(hub, lambda knock: grant)
    place = Place(front, "room", dialect)
    place.knock(None)
    await until(lambda: place.seat is not None, "seated")
    return place, front


async def test_what_a_knock_says(hub):
    front = Front(hub, lambda knock: NONE)
    Place(front, "room", yjs).knock("token")
    assert front.knocks == [Knock("room", "token", "1.2.3.4", "https://example.org")]


async def test_from_the_knock_to_the_seat(hub):
    place, front = await seated(hub)
    assert front.happened == ["admitted", "greeted, new", "entered", "done"]
    assert place.grant == WRITE and place.seat is not None and place.seat.may_write and not place.busy
    assert isinstance(yjs.decode(front.sent[0]), SyncStep1)
    assert front.seats == 1
    place.leave()
    place.leave()
    assert front.seats == 0, "given back, once"


async def test_a_room_in_memory_is_entered_at_once(hub):
    first, _ = await seated(hub)
    front = Front(hub, lambda knock: WRITE)
    second = Place(front, "room", yjs)
    second.knock(None)
    assert second.seat is not None and front.happened == ["admitted", "greeted, new", "entered"]
    first.leave()
    second.leave()


@pytest.mark.parametrize("later", [False, True], ids=["at once", "later"])
@pytest.mark.parametrize("error", [Unauthorized("no token"), Forbidden("not you"), Unavailable("access control"), None])
async def test_nobody_gets_in_without_access(hub, later, error):
    def decide(knock: Knock) -> Grant:
        if error is not None:
            raise error
        return NONE

    async def decide_later(knock: Knock) -> Grant:
        await asyncio.sleep(0)
        return decide(knock)

    front = Front(hub, decide_later if later else decide)
    place = Place(front, "room", yjs)
    place.knock(None)
    place.hear(typed("not let in"))
    await until(lambda: front.errors and not place.busy, "denied")
    assert isinstance(front.errors[0], Forbidden if error is None else type(error))
    assert place.seat is None and hub.find("room") is None
    assert isinstance(hub.store, Obedient) and not hub.store.loads, "not even read"
    place.close()
    assert front.waiting == 0


async def test_a_decision_that_breaks_down_is_no_access(hub):
    async def broken(knock: Knock) -> Grant:
        raise ZeroDivisionError

    front = Front(hub, broken)
    place = Place(front, "room", yjs)
    place.knock(None)
    await until(lambda: "done" in front.happened, "decided")
    assert isinstance(front.errors[0], Unavailable) and place.seat is None and not place.busy


async def test_a_better_token_meanwhile(hub):
    """The verdict on the first is not the client's any more."""
    first, second = asyncio.Event(), asyncio.Event()

    async def decide(knock: Knock) -> Grant:
        await (second if knock.token else first).wait()
        if knock.token is None:
            raise Unauthorized("no token")
        return WRITE

    front = Front(hub, decide)
    place = Place(front, "room", yjs)
    place.knock(None)
    place.knock("good")
    first.set()
    await until(lambda: place.busy == 1, "the first was decided")
    assert front.errors == []
    second.set()
    await until(lambda: place.seat is not None, "seated")
    place.leave()


async def test_what_comes_before_the_seat_waits_and_is_taken_in_order(hub):
    decided = asyncio.Event()

    async def decide(knock: Knock) -> Grant:
        await decided.wait()
        return WRITE

    front = Front(hub, decide)
    place = Place(front, "room", yjs)
    place.knock(None)
    frames = [yjs.encode(SyncStep1(b"\x00")), typed("typed")]
    for frame in frames:
        place.hear(frame)
    assert front.waiting == sum(map(len, frames))
    decided.set()
    await until(lambda: "entered" in front.happened, "seated")
    assert front.waiting == 0
    await hub.flush()
    assert stored(hub) == "typed"
    place.leave()


async def test_what_came_before_the_client_went_is_taken_in(hub):
    """Its access was still being decided when it left."""
    decided = asyncio.Event()

    async def decide(knock: Knock) -> Grant:
        await decided.wait()
        return WRITE

    front = Front(hub, decide)
    place = Place(front, "room", yjs)
    place.knock(None)
    place.hear(typed("typed"))
    place.close()
    decided.set()
    await until(lambda: not place.busy and "entered" in front.happened, "taken in")
    await hub.flush()
    assert stored(hub) == "typed" and place.seat is None


async def test_dropped_it_takes_in_what_waits_and_nothing_more(hub):
    assert isinstance(hub.store, Obedient)
    hub.store.reads.clear()
    front = Front(hub, lambda knock: WRITE)
    place = Place(front, "room", yjs)
    place.knock(None)
    place.hear(typed("in time"))
    place.drop()
    place.hear(typed("too late", 9))
    hub.store.reads.set()
    await until(lambda: not place.busy, "opened")
    await hub.flush()
    assert stored(hub) == "in time" and place.seat is None and "entered" not in front.happened
    assert front.sent == []


async def test_refused_at_the_table(hub):
    """A full room, a user with too many connections, a room that one may not make: no seat, and none is counted."""
    front = Front(hub, lambda knock: Grant(Level.WRITE, may_create=False))
    place = Place(front, "room", yjs)
    place.knock(None)
    await until(lambda: front.errors, "denied")
    assert isinstance(front.errors[0], Forbidden) and place.seat is None
    busy = Front(hub, lambda knock: WRITE)
    busy.full = True
    Place(busy, "room", yjs).knock(None)
    await until(lambda: busy.errors, "denied")
    guests = [await seated(hub) for _ in range(2)]
    late = Front(hub, lambda knock: WRITE)
    Place(late, "room", yjs).knock(None)
    assert [str(error) for error in late.errors] == ["too many clients in this room: the limit is 2"]
    opened = hub.find("room")
    assert opened is not None and opened.seats == opened.holders == 2
    for guest, _ in guests:
        guest.leave()


async def test_who_may_not_make_rooms_may_enter_one_that_is_there(hub):
    author, _ = await seated(hub)
    author.hear(typed("there"))
    await hub.flush()
    place, front = await seated(hub, Grant(Level.WRITE, may_create=False))
    assert "greeted" in front.happened
    author.leave()
    place.leave()


async def test_a_reader_hears_and_is_not_thrown_out_for_typing(hub):
    place, front = await seated(hub, READ, Hocuspocus("d"))
    assert b"\x01d\x02\x02\x08readonly" in front.sent
    place.hear(b"\x01d" + typed("no"))
    await hub.flush()
    assert stored(hub) == "" and front.errors == [] and front.sent[-1] == b"\x01d\x08\x00"
    place.leave()


@pytest.mark.parametrize("dialect", [yjs, Hocuspocus("d")], ids=["y-websocket", "Hocuspocus"])
async def test_less_access_from_now_on(hub, dialect):
    """A Hocuspocus provider is told; y-websocket has no word for it, so the client has to go."""
    place, front = await seated(hub, WRITE, dialect)
    front.answer = lambda knock: READ
    place.knock("less")
    assert place.seat is not None and not place.seat.may_write and place.grant == READ
    if dialect is yjs:
        assert [type(error) for error in front.errors] == [Forbidden]
    else:
        assert front.errors == [] and front.sent[-1] == b"\x01d\x02\x02\x08readonly"
    front.answer = lambda knock: WRITE
    place.knock("more")
    assert place.seat.may_write
    place.leave()


async def test_words_for_the_application(hub):
    heard: list[tuple[str, str, object]] = []
    hub.stateless = lambda room, text, seat: heard.append((room, text, seat))
    place, _ = await seated(hub, WRITE, Hocuspocus("d"))
    frame = Hocuspocus("d").encode(Stateless("hello"))
    assert frame is not None
    place.hear(frame)
    assert heard == [("room", "hello", place.seat)]
    place.leave()


async def test_a_document_that_is_too_large_takes_nothing_more(hub):
    place, front = await seated(hub)
    place.hear(typed("x" * (1024 * 1024 + 1)))
    await read_on(front)
    await hub.flush()
    place.hear(typed("one more", 9))
    assert [type(error) for error in front.errors] == [TooLarge]
    place.leave()


async def test_what_once_was_large_is_measured_anew(hub):
    place, front = await seated(hub)
    opened = hub.find("room")
    assert opened is not None
    opened.core.bytes = 10 * 1024 * 1024  # all that ever came
    place.hear(typed("still fits"))
    await hub.flush()
    assert front.errors == [] and stored(hub) == "still fits"
    place.leave()


# ---------------------------------------------------------------------- what takes a while to look through


def long(client: int = 7) -> bytes:
    return typed("x" * LONG, client)


async def read_on(front: Front) -> None:
    await until(lambda: not front.intake.held, "looked through")


async def test_what_comes_behind_a_long_update_is_taken_in_behind_it(hub):
    place, front = await seated(hub)
    doc: Doc[Any] = Doc(client_id=7)
    frames: list[bytes] = []
    doc.observe(lambda event: frames.append(yjs.encode(Update(event.update))))
    text = doc.get("t", type=Text)
    for part in ("x" * LONG, "a", "b", "y" * LONG, "c"):
        text += part
    for frame in frames:
        place.hear(frame)
    assert isinstance(front.socket, Wire) and front.socket.paused and front.intake.held == 1
    assert not place.type(yjs.encode(Update(doc.get_update()))), "no short way past it"
    await read_on(front)
    await hub.flush()
    assert stored(hub) == str(text) and not front.errors and not front.socket.paused
    place.hear(typed("z", 9))
    await hub.flush()
    assert "z" in stored(hub)
    place.leave()


async def test_what_waited_for_the_room_may_be_long(hub):
    hub.store.reads = asyncio.Event()
    front = Front(hub, lambda knock: WRITE)
    place = Place(front, "room", yjs)
    place.knock(None)
    front.intake.admitted()
    for frame in (typed("a", 1), long(2), typed("b", 3)):
        place.hear(frame)
    hub.store.reads.set()
    await until(lambda: place.seat is not None, "seated")
    await read_on(front)
    await hub.flush()
    assert {"a", "b", "x"} == set(stored(hub)) and front.waiting == 0
    place.leave()


async def test_whoever_goes_meanwhile_is_heard_to_the_end(hub):
    place, front = await seated(hub)
    place.hear(long())
    place.hear(typed("the end", 9))
    place.close()
    assert place.seat is not None, "not yet"
    await until(lambda: place.seat is None, "gone")
    assert front.happened[-1] == "done"
    await hub.flush()
    assert "the end" in stored(hub) and "x" * LONG in stored(hub)


async def test_what_came_before_a_refusal_counts(hub):
    place, front = await seated(hub)
    place.hear(long())
    place.hear(typed("before", 9))
    place.drop()
    place.hear(typed("after", 10))
    await until(lambda: place.seat is None, "gone")
    await hub.flush()
    assert "before" in stored(hub) and "after" not in stored(hub)


async def test_a_document_that_is_over_takes_nothing_more_in(hub):
    place, front = await seated(hub, WRITE, Hocuspocus("d"))
    place.hear(b"\x01d" + long())
    place.end(Forbidden("go"))
    assert place.seat is None
    await read_on(front)
    await hub.flush()
    assert stored(hub) == "" and not front.errors


async def test_nothing_is_taken_in_behind_a_long_update_that_is_none(hub, monkeypatch):
    place, front = await seated(hub)

    def refuse(place: Place, error: CollabError) -> None:
        front.errors.append(error)
        place.drop()

    monkeypatch.setattr(front, "trouble", refuse)
    place.hear(yjs.encode(Update(b"\x07" * LONG)))
    place.hear(typed("behind", 9))
    await until(lambda: place.seat is None, "gone")
    await hub.flush()
    assert [type(error) for error in front.errors] == [BadUpdate] and stored(hub) == ""


async def test_the_end_of_one_document(hub):
    """With a seat it is closed, without one denied; either is said once, and nothing after it."""
    place, front = await seated(hub, WRITE, Hocuspocus("d"))
    place.end(Forbidden("go"))
    assert front.sent[-1] == b"\x01d\x07\x02go" and place.seat is None and place.over
    said = len(front.sent)
    place.end(Forbidden("go"))
    place.send(b"\x01d\x08\x01")
    place.hear(b"\x01d" + typed("ignored"))
    assert len(front.sent) == said
    other = Place(front, "room", Hocuspocus("e"))
    other.hear(b"\x01e\x03")
    other.end(Forbidden("no"))
    assert front.sent[-1] == b"\x01e\x02\x01\x02no" and front.waiting == 0


async def test_what_is_revoked_lets_nobody_in(hub):
    """However the answer came: at once, later, or while the client sits there already."""

    async def later() -> Grant:
        return WRITE

    answers: list[Grant | Awaitable[Grant]] = [WRITE, later()]
    while answers:
        front = Front(hub, lambda knock: answers.pop())
        front.revoked = WRITE.__eq__
        place = Place(front, "room", yjs)
        place.knock("token")
        await until(front.is_refused, "the answer")
        assert front.happened[0] == "denied" and isinstance(front.errors[0], Unauthorized) and place.seat is None
    place, front = await seated(hub)
    front.revoked = lambda grant: True
    place.knock("another")
    assert [type(error) for error in front.errors] == [Unauthorized]
    place.leave()


async def test_to_leave_twice_is_harmless(hub):
    place, _ = await seated(hub)
    opened = hub.find("room")
    assert opened is not None
    for _ in range(2):
        place.leave()
        place.close()
    assert (opened.seats, opened.holders) == (0, 0)
