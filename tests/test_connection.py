"""One client's connection: how it begins, what it may send, how it ends. The socket here only writes down."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from pycrdt import Doc, Text

from collab.connection import Connection
from collab.errors import Draining
from collab.fence import Panic
from collab.hub import Hub
from collab.limits import Refusals
from collab.settings import Settings
from collab.wire import yjs
from collab.wire.lib0 import var_string, var_uint
from collab.wire.messages import Awareness, Denied, Message, QueryAwareness, SyncStep1, SyncStep2, Update
from tests.support.stores import Obedient
from tests.support.waiting import until

pytestmark = pytest.mark.anyio


class Line:
    """A socket that writes down what it is told, and takes as much as it is told to."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.buffered = 0
        self.written = 0
        self.paused = False
        self.ended: tuple[int, str] | None = None
        self.aborted = False
        self.stuck = False

    def send(self, frame: bytes) -> None:
        if self.ended is None:
            self.sent.append(frame)
            if self.stuck:
                self.buffered += len(frame)
            else:
                self.written += len(frame)

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def close(self, code: int, reason: str) -> None:
        if self.ended is None:
            self.ended = code, reason

    def abort(self) -> None:
        self.aborted = True

    @property
    def said(self) -> list[Message]:
        return [yjs.decode(frame) for frame in self.sent]


class World:
    """A hub, a clock that stands still, and clients."""

    def __init__(self, hub: Hub, store: Obedient) -> None:
        self.hub, self.store = hub, store
        self.now = 1000.0
        self.refusals = Refusals(36)
        self.ended: list[Connection] = []
        self.begun = 0

    def connect(self, room: str = "room", *, address: str = "1.2.3.4") -> tuple[Connection, Line]:
        line = Line()
        connection = Connection(
            self.hub,
            line,
            room,
            address=address,
            path=room.encode(),
            refusals=self.refusals,
            clock=lambda: self.now,
            ended=self.ended.append,
        )
        self.begun += 1
        connection.begin()
        return connection, line

    async def join(self, room: str = "room", *, address: str = "1.2.3.4") -> tuple[Connection, Line]:
        """A client that has its sync step 2."""
        connection, line = self.connect(room, address=address)
        connection.received(yjs.encode(SyncStep1(b"\x00")))
        await until(lambda: any(isinstance(message, SyncStep2) for message in line.said), "sync step 2")
        return connection, line

    def pass_time(self, seconds: float) -> None:
        """As the hub's beat would, once a second."""
        until_ = self.now + seconds
        while self.now < until_:
            self.now = min(self.now + 1, until_)
            for beat in tuple(self.hub.beats):
                beat(self.now)

    @property
    def held(self) -> int:
        return sum(opened.holders + opened.seats for opened in self.hub._rooms.values())


@pytest.fixture
async def world():
    store = Obedient()
    settings = Settings(
        store={"url": "memory:"},
        limits={"waiting_messages": 5, "waiting_bytes": 4000, "connections_per_room": 3, "message_bytes": 10_000},
    )
    async with Hub(settings, store=store) as hub:
        world = World(hub, store)
        yield world
        for connection in [beat.__self__ for beat in tuple(hub.beats)]:  # type: ignore[attr-defined]
            connection.closed(1001)
        await until(lambda: len(world.ended) == world.begun, "every connection came to its end")
        assert world.held == 0 and not hub.beats


def typed(text: str, client: int = 7) -> bytes:
    """A frame with an update that makes a document say `text`."""
    doc: Doc[Any] = Doc({"t": Text(text)}, client_id=client)
    return yjs.encode(Update(doc.get_update()))


def seen(client: int, clock: int, state: str) -> bytes:
    return yjs.encode(Awareness(var_uint(1) + var_uint(client) + var_uint(clock) + var_string(state)))


async def test_a_client_is_told_what_the_room_has_and_who_is_here(world):
    first, _ = await world.join()
    first.received(seen(7, 1, '{"name":"ana"}'))
    _, line = await world.join()
    kinds = [type(message) for message in line.said]
    assert kinds[:2] == [SyncStep1, Awareness] and SyncStep2 in kinds
    assert b"ana" in line.sent[1]


async def test_connect_type_and_leave_in_one_instant(world):
    """The room has still to be read; what the client sent is taken in when it is there."""
    world.store.reads.clear()
    connection, line = world.connect()
    connection.received(yjs.encode(SyncStep1(b"\x00")))
    connection.received(typed("typed"))
    connection.closed(1001)
    assert world.ended == [], "it is not over"
    world.store.reads.set()
    await until(lambda: world.ended == [connection], "over")
    await world.hub.flush()
    assert str(world.store.document("room").get("t", type=Text)) == "typed"


async def test_frames_before_the_room_is_open_are_bounded(world):
    world.store.reads.clear()
    connection, line = world.connect()
    connection.received(b"\x01" + b"x" * 2500)
    assert line.paused, "the network is held up first"
    for _ in range(5):
        connection.received(b"\x03")
    assert line.ended is not None and line.ended[0] == 1013
    world.store.reads.set()


async def test_reading_goes_on_when_the_room_is_open(world):
    world.store.reads.clear()
    connection, line = world.connect()
    connection.received(typed("x" * 2500))
    assert line.paused
    world.store.reads.set()
    await until(lambda: not line.paused, "reading again")
    await world.hub.flush()
    assert world.store.commits


@pytest.mark.parametrize(
    "frame",
    [b"", b"\x63", b"\x00", b"\x00\x07\x00", b"\x00\x02\x05ab", b"\x03\x03", b"\x80\x00", "text", b"\x02\x00\x00"],
)
async def test_a_frame_that_is_no_message_is_answered_and_counted(world, frame):
    connection, line = await world.join()
    connection.received(frame)
    assert isinstance(line.said[-1], Denied)
    assert line.ended is not None and line.ended[0] == 4400 and line.ended[1]
    assert world.hub.metrics.refused["4400"]._value.get() == 1
    connection.received(typed("after that"))
    await world.hub.flush()
    assert not world.store.commits, "nothing more is heard from it"


async def test_an_update_that_is_none(world):
    connection, line = await world.join()
    connection.received(yjs.encode(Update(bytes.fromhex("01011401000000"))))
    assert line.ended is not None and line.ended[0] == 4400


async def test_too_large(world):
    connection, line = await world.join()
    connection.too_large(20_000)
    connection.too_large(30_000)
    assert line.ended == (4413, "a message of 20000 bytes is over the limit of 10000")
    assert [type(message) for message in line.said].count(Denied) == 1


async def test_presence_goes_with_the_connection(world):
    ana, _ = await world.join()
    _, line = await world.join()
    ana.received(seen(7, 1, '{"name":"ana"}'))
    await until(lambda: any(b"ana" in frame for frame in line.sent), "ana is here")
    ana.closed(1001)
    await until(lambda: b"null" in line.sent[-1], "ana has gone")


async def test_refused_once_and_again(world):
    """The first time at once; an editor that is back is held; whoever shows no sign of being one is not."""
    world.store.break_down()
    first, line = world.connect()
    await until(lambda: line.ended, "refused at once")
    assert line.ended[0] == 1013 and isinstance(line.said[-1], Denied)

    editor, held = world.connect()
    editor.received(yjs.encode(SyncStep1(b"\x00")))
    other, silent = world.connect()
    await until(lambda: held.sent and silent.sent, "both told why")
    assert held.ended is silent.ended is None
    world.pass_time(2)
    assert held.ended is None and silent.ended is not None
    world.pass_time(11)
    assert held.ended is not None and held.ended[0] == 1013

    elsewhere, line = world.connect(address="5.6.7.8")
    await until(lambda: line.ended, "somebody else is not held")


async def test_a_full_room(world):
    clients = [await world.join() for _ in range(3)]
    _, line = world.connect()
    assert line.ended == (1013, "too many clients in this room: the limit is 3")
    clients[0][0].closed(1001)
    await world.join()


async def test_a_quiet_client_is_asked_and_one_that_vanished_is_cut(world):
    connection, line = await world.join()
    line.sent.clear()
    world.pass_time(44)
    kinds = [type(message) for message in line.said]
    assert kinds == [QueryAwareness, SyncStep1], "the second question is one that pycrdt's Provider answers, too"
    assert line.aborted


async def test_an_answer_is_a_sign_of_life(world):
    connection, line = await world.join()
    for _ in range(20):
        world.pass_time(16)
        assert isinstance(line.said[-1], QueryAwareness)
        connection.received(yjs.encode(Awareness(b"\x00")))
    assert not line.aborted and line.ended is None


async def test_a_client_that_only_speaks_hears_something_too(world):
    connection, line = await world.join()
    line.sent.clear()
    for _ in range(60):
        world.pass_time(1)
        connection.received(yjs.encode(Awareness(b"\x00")))
    assert line.sent == [b"\x01\x01\x00"] * 2, "often enough for clients that give up after 30 s"


async def test_a_client_that_takes_nothing_is_cut(world):
    connection, line = await world.join()
    line.stuck = True
    began = world.now
    while not line.aborted and world.now - began < 60:
        connection.received(yjs.encode(SyncStep1(b"\x00")))
        world.pass_time(1)
    assert 29 <= world.now - began <= 33
    assert world.hub.metrics.errors["SlowPeer"]._value.get() == 1


async def test_told_to_go_what_it_still_sends_is_kept(world):
    connection, line = await world.join()
    connection.close(Draining())
    assert line.ended == (1012, "the server is restarting")
    connection.received(typed("on its way"))
    connection.closed(1012)
    await world.hub.flush()
    assert str(world.store.document("room").get("t", type=Text)) == "on its way"


async def test_whatever_happens_nobody_is_left_behind(world, full):
    """Random lives of many clients: at the end no holder, no seat, no beat (the fixture looks)."""
    events = random.Random(3)
    frames: list[bytes | str] = [
        yjs.encode(SyncStep1(b"\x00")),
        typed("a"),
        typed("b", 9),
        b"",
        b"\x03",
        seen(5, 1, "{}"),
        "text",
    ]
    living: list[tuple[Connection, Line]] = []
    for _ in range(5000 if full else 500):
        match events.randrange(11):
            case 0 | 1:
                living.append(world.connect(f"room {events.randrange(4)}"))
            case 2 | 3 | 4 if living:
                events.choice(living)[0].received(events.choice(frames))
            case 5 if living:
                living.pop(events.randrange(len(living)))[0].closed(1006)
            case 6:
                (world.store.reads.clear, world.store.reads.set, world.hub.beats.copy)[events.randrange(3)]()
                world.pass_time(events.choice([0.5, 5]))
            case 7:
                await asyncio.sleep(0.001)
            case 8 if living:
                events.choice(living)[0].close(Draining())
            case 9 if living:
                events.choice(living)[0].too_large(20_000)
            case 10 if world.hub._rooms:
                world.hub.reload(events.choice(list(world.hub._rooms.values())), Panic(RuntimeError("yrs")))
    world.store.reads.set()


async def test_what_came_before_a_bad_frame_counts_also_while_the_room_is_opening(world):
    """As it would with the room open: in the order in which it came."""
    world.store.reads.clear()
    connection, line = world.connect()
    connection.received(typed("typed"))
    connection.received("text")
    connection.received(typed("too late", 9))
    assert line.ended is not None and line.ended[0] == 4400
    said = len(line.sent)
    connection.closed(4400)
    world.store.reads.set()
    await until(lambda: world.ended == [connection], "over")
    await world.hub.flush()
    assert str(world.store.document("room").get("t", type=Text)) == "typed"
    assert len(line.sent) == said, "and it is told nothing more"


async def test_one_that_is_held_is_not_let_in_when_its_room_opens(world):
    world.store.break_down()
    _, line = world.connect()
    await until(lambda: line.ended, "refused at once")
    world.store.down = None
    world.store.reads.clear()
    connection, line = world.connect()
    connection.received(yjs.encode(SyncStep1(b"\x00")))
    connection.too_large(20_000)
    world.store.reads.set()
    await until(lambda: world.hub.find("room"), "opened")
    await until(lambda: world.held == 0, "let go of")
    assert [type(message) for message in line.said] == [Denied]
    assert line.ended is None, "it is held"
    world.pass_time(25)
    assert line.ended is not None and line.ended[0] == 4413


async def test_told_to_go_before_the_room_is_open(world):
    """A shutdown: what the client sent has reached the server, and is kept."""
    world.store.reads.clear()
    connection, line = world.connect()
    await until(lambda: world.store.loads["room"] == 1, "being read")
    connection.received(typed("typed"))
    connection.close(Draining())
    connection.closed(1012)
    world.store.reads.set()
    await world.hub.flush()
    assert str(world.store.document("room").get("t", type=Text)) == "typed"


async def test_gone_before_a_full_room_was_open(world):
    world.store.reads.clear()
    first = [world.connect() for _ in range(3)]
    late, line = world.connect()
    late.closed(1001)
    world.store.reads.set()
    await until(lambda: late in world.ended, "it came to its end all the same")
    assert all(connection not in world.ended for connection, _ in first)


async def test_a_thousand_rooms_connect_type_and_leave_in_one_instant(world, figure):
    """D05: whatever reached the server is stored, and no room is left in anybody's hands."""
    for nth in range(1000):
        connection, _ = world.connect(f"room{nth}")
        connection.received(yjs.encode(SyncStep1(b"\x00")))
        connection.received(typed(f"typed {nth}"))
        connection.closed(1001)
    await until(lambda: len(world.ended) == 1000, "all over", within=20)
    await world.hub.flush()
    texts = [str(world.store.document(f"room{nth}").get("t", type=Text)) for nth in range(1000)]
    lost = sum(text != f"typed {nth}" for nth, text in enumerate(texts))
    figure(f"1000 rooms, each connect, type and leave at once: {lost} edits lost, {len(world.store.commits)} commits")
    assert lost == 0


async def test_while_a_room_is_read_anew_its_clients_are_told_nothing_of_it(world):
    """What a document says in which the library panicked is not to be trusted: the answer waits."""
    ana, _ = await world.join()
    ana.received(typed("stored"))
    await world.hub.flush()
    world.store.break_down()
    ben, ben_line = world.connect()
    opened = world.hub.find("room")
    assert opened is not None
    world.hub.reload(opened, Panic(RuntimeError("as if yrs had panicked")))
    before = len(ben_line.sent)
    ben.received(yjs.encode(SyncStep1(b"\x00")))
    ana.received(typed("typed meanwhile", 9))
    world.pass_time(5)
    await asyncio.sleep(0.02)
    assert not any(isinstance(message, SyncStep2 | Update) for message in ben_line.said[before:])
    world.store.down = None
    await until(lambda: any(isinstance(message, SyncStep2) for message in ben_line.said), "answered after all")
    doc: Doc[Any] = Doc()
    for message in ben_line.said:
        if isinstance(message, SyncStep2 | Update):
            doc.apply_update(message.update)
    await until(lambda: "typed meanwhile" in str(opened.room.ydoc.get("t", type=Text)), "taken in")
    assert "stored" in str(doc.get("t", type=Text))
    assert isinstance(ben_line.said[before], SyncStep1), "it is asked for what the room may lack"
