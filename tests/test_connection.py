"""One client's connection: how it begins, what it may send, how it ends. The socket here only writes down."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest
from pycrdt import Doc, Text

from collab.auth import Grant, Knock, Level
from collab.connection import Connection
from collab.errors import Draining, TooManyDocuments, Unauthorized
from collab.fence import Panic
from collab.hub import Hub
from collab.limits import Pace, Refusals
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

    def ping(self) -> bool:
        return False

    def distrust(self) -> None:
        """Nothing large is sent to it."""

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

    def connect(
        self, room: str | None = "room", *, address: str = "1.2.3.4", **options: Any
    ) -> tuple[Connection, Line]:
        line = Line()
        connection = Connection(
            self.hub,
            line,
            room,
            address=address,
            path=(room or "").encode(),
            refusals=self.refusals,
            clock=lambda: self.now,
            ended=self.ended.append,
            **options,
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
async def world(monkeypatch):
    monkeypatch.setattr("collab.beats.BEAT_SECONDS", 1e9)  # time passes when a test says so
    store = Obedient()
    settings = Settings(
        store={"url": "memory:"},
        limits={"waiting_messages": 5, "waiting_bytes": 4000, "connections_per_room": 3, "message_bytes": 10_000}
        | {"unauthenticated_documents": 3},
    )
    async with Hub(settings, store=store) as hub:
        world = World(hub, store)
        yield world
        store.reads.set()
        store.down = None
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
    connection.received(yjs.encode(Awareness(b"x" * 2500)))
    assert line.paused, "the network is held up first"
    for _ in range(4):
        connection.received(b"\x03")
    assert line.ended is None
    connection.received(b"\x03")
    assert line.ended == (1013, "too many messages before the room is open: the limit is 5")


async def test_bytes_before_the_room_is_open_are_bounded(world):
    world.store.reads.clear()
    connection, line = world.connect()
    for _ in range(2):
        connection.received(yjs.encode(Awareness(b"x" * 2500)))
    assert line.paused and line.ended is None, "one may be longer"
    connection.received(yjs.encode(Awareness(b"x" * 2500)))
    assert line.ended == (1013, "too many bytes before the room is open: the limit is 4000")


async def test_one_message_before_the_room_is_open_may_be_longer(world):
    """A paste, and what its editor said right behind it."""
    world.store.reads.clear()
    connection, line = world.connect()
    connection.received(typed("x" * 6000))
    connection.received(b"\x03")
    assert line.paused and line.ended is None
    world.store.reads.set()
    await until(lambda: not line.paused, "the room is open")
    connection.closed(1000)
    await world.hub.flush()
    assert str(world.store.document("room").get("t", type=Text)) == "x" * 6000


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
    [b"", b"\x63", b"\x00", b"\x00\x07\x00", b"\x00\x02\x05ab", b"\x03\x03", b"\x80\x00", "text", b"\x02\x01\x00"],
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
    first.received(yjs.encode(SyncStep1(b"\x00")))
    await until(lambda: line.ended, "refused at once")
    assert line.ended[0] == 1013 and isinstance(line.said[-1], Denied)

    editor, held = world.connect()
    editor.received(yjs.encode(SyncStep1(b"\x00")))
    other, silent = world.connect()
    await until(lambda: held.sent and other._verdict, "both known to be refused")
    world.pass_time(1)
    assert silent.sent, "what it speaks is not known, but it had time to show it"
    assert held.ended is silent.ended is None
    world.pass_time(2)
    assert held.ended is None and silent.ended is not None
    world.pass_time(11)
    assert held.ended is not None and held.ended[0] == 1013

    elsewhere, line = world.connect(address="5.6.7.8")
    elsewhere.received(yjs.encode(SyncStep1(b"\x00")))
    await until(lambda: line.ended, "somebody else is not held")


async def test_a_full_room(world):
    clients = [await world.join() for _ in range(3)]
    late, line = world.connect()
    late.received(yjs.encode(SyncStep1(b"\x00")))
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
    first, line = world.connect()
    first.received(yjs.encode(SyncStep1(b"\x00")))
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


# ---------------------------------------------------------------------- which dialect, and who may


def said(line: Line, address: str) -> list[bytes]:
    """What was said of one document, without its address."""
    prefix = var_string(address)
    return [frame.removeprefix(prefix) for frame in line.sent if frame.startswith(prefix)]


def on(address: str, body: bytes) -> bytes:
    return var_string(address) + body


def token(text: str, version: str | None = None) -> bytes:
    return b"\x02\x00" + var_string(text) + (b"" if version is None else var_string(version))


STEP_1 = yjs.encode(SyncStep1(b"\x00"))
LETS_IN = {"good": Grant(Level.WRITE), "reader": Grant(Level.READ)}


def by_token(knock: Knock) -> Grant:
    grant = LETS_IN.get(knock.token or "")
    if grant is None:
        raise Unauthorized("no good token")
    return grant


async def test_many_documents_on_one_socket(world):
    connection, line = world.connect(None, authorize=by_token)
    for address in ("a", "b\0session"):
        connection.received(on(address, token("good")))
        connection.received(on(address, STEP_1))
    await until(lambda: len(said(line, "b\0session")) >= 3, "both are open")
    for address in ("a", "b\0session"):
        assert [frame[:2] for frame in said(line, address)] == [b"\x02\x02", b"\x00\x00", b"\x00\x01"]
    assert world.hub.find("a") and world.hub.find("b")
    connection.received(on("a", b"\x07"))
    assert said(line, "a")[-1][0] == 7 and line.ended is None
    connection.received(on("b\0session", typed("goes on")))
    await world.hub.flush()
    assert str(world.store.document("b").get("t", type=Text)) == "goes on"
    await until(lambda: said(line, "b\0session")[-1] == b"\x08\x01", "acknowledged")


async def test_a_path_that_names_a_room_may_still_be_hocuspocus(world):
    """The room of the path was denied, but what counts is the token that the first frame shows."""
    connection, line = world.connect("room", authorize=by_token)
    connection.received(on("document", token("good")))
    await until(lambda: said(line, "document"), "let in")
    assert said(line, "document")[0] == b"\x02\x02" + var_string("read-write") and line.ended is None
    assert world.hub.find("room") is None


@pytest.mark.parametrize(("shown", "scope"), [("good", "read-write"), ("reader", "readonly")])
async def test_a_y_websocket_client_may_show_its_token_first(world, shown, scope):
    """Hocuspocus providers 1.x do, and wait to hear what it is worth."""
    connection, line = world.connect("room", authorize=by_token)
    connection.received(token(shown))
    await until(lambda: line.sent, "let in")
    assert line.sent[0] == b"\x02\x02" + var_string(scope)
    connection.received(STEP_1)
    await until(lambda: any(frame[:2] == b"\x00\x01" for frame in line.sent), "synchronised")
    connection.received(typed("x"))
    connection.received(token(shown))
    assert line.sent[-1] == b"\x02\x02" + var_string(scope), "a renewal"
    await world.hub.flush()
    assert bool(world.store.commits) == (shown == "good") and line.ended is None
    connection.received(token("bad"))
    assert line.sent[-1] == b"\x02\x01" + var_string("no good token") and line.ended == (4401, "no good token")


async def test_a_bad_token_of_a_y_websocket_client(world):
    connection, line = world.connect("room", authorize=by_token)
    connection.received(token("bad"))
    assert line.sent == [b"\x02\x01" + var_string("no good token")]
    assert line.ended == (4401, "no good token")
    late, line = world.connect("room", authorize=by_token, address="5.6.7.8")
    world.pass_time(1)
    late.received(token("good"))
    assert line.ended is not None and line.ended[0] == 4401, "it had its time"


async def test_a_token_where_none_is_wanted(world):
    """In open mode the client is in already, and waits for an answer all the same."""
    connection, line = world.connect("room")
    await until(lambda: line.sent, "greeted")
    connection.received(token("whatever"))
    assert line.sent[-1] == b"\x02\x02" + var_string("read-write")
    connection.received(STEP_1)
    await until(lambda: any(frame[:2] == b"\x00\x01" for frame in line.sent), "synchronised")
    assert line.ended is None


async def test_one_that_says_nothing_hears_the_verdict_after_a_moment(world):
    connection, line = world.connect("room", authorize=by_token)
    assert line.sent == []
    world.pass_time(1)
    assert line.ended is not None and line.ended[0] == 4401 and isinstance(line.said[-1], Denied)


async def test_y_websocket_where_no_path_names_a_room(world):
    connection, line = world.connect(None)
    connection.received(STEP_1)
    assert line.ended == (4400, "the room's name is empty")
    other, line = world.connect(None, address="5.6.7.8")
    other.received(b"\x63\x63")
    assert line.ended is not None and line.ended[0] == 4400


async def test_denied_a_document_the_socket_stays_for_a_better_token(world):
    connection, line = world.connect(None, authorize=by_token)
    connection.received(on("a", token("bad")))
    connection.received(on("a", STEP_1))
    assert said(line, "a") == [b"\x02\x01" + var_string("no good token")], "and what it still sends is not a knock"
    connection.received(on("a", token("good")))
    await until(lambda: len(said(line, "a")) == 2, "let in")
    assert said(line, "a")[1][:2] == b"\x02\x02" and line.ended is None


async def test_nobody_stays_without_access(world):
    """Whatever they send."""
    connection, line = world.connect(None, authorize=by_token)
    connection.received(on("a", token("bad")))
    world.pass_time(30)
    connection.received(on("a", token("bad")))
    assert line.ended is None
    world.pass_time(40)
    assert line.ended == (4408, "no access was granted in time")
    silent, line = world.connect(None, authorize=by_token)
    world.pass_time(11)
    assert line.ended is not None and line.ended[0] == 4408


async def test_without_a_token_it_counts_as_an_empty_one(world):
    """Providers of version 2 show none when they have none."""
    connection, line = world.connect(None)
    connection.received(on("a", STEP_1))
    assert line.sent == []
    world.pass_time(1)
    await until(lambda: len(said(line, "a")) >= 3, "let in, and what waited is answered")


async def test_a_bad_frame_ends_one_document_and_one_that_cannot_be_read_the_socket(world):
    connection, line = world.connect(None)
    for address in ("a", "b"):
        connection.received(on(address, token("")))
        connection.received(on(address, STEP_1))
    await until(lambda: len(said(line, "a")) >= 3 and len(said(line, "b")) >= 3, "open")
    connection.received(on("a", b"\x00\x02\x05ab"))
    assert said(line, "a")[-1][0] == 7 and line.ended is None
    closed = len(said(line, "a"))
    connection.received(on("a", typed("not heard")))
    assert len(said(line, "a")) == closed
    connection.received(b"\x05ab")
    assert line.ended is not None and line.ended[0] == 4205


async def test_too_many_documents_before_access(world):
    decided = asyncio.Event()

    async def undecided(knock: Knock) -> Grant:
        await decided.wait()
        return LETS_IN["good"]

    connection, line = world.connect(None, authorize=undecided)
    for nth in range(4):
        connection.received(on(f"document {nth}", token("")))
    assert line.ended is not None and line.ended[0] == 4205
    assert world.hub.metrics.errors["TooMany"]._value.get() == 1
    decided.set()


class Frugal:
    """A user who may have one document."""

    def __init__(self) -> None:
        self.seats = 0

    def is_user(self, subject: str | None) -> None:
        """May have as many connections as it likes."""

    def creates_room(self, subject: str | None, name: str) -> None:
        """May make as many rooms as it likes."""

    def sits(self, subject: str | None) -> Callable[[], None]:
        if self.seats:
            raise TooManyDocuments("open documents of one user", 1)
        self.seats += 1
        return self.stands_up

    def stands_up(self) -> None:
        self.seats -= 1


async def test_a_user_with_all_documents_that_it_may_have(world):
    """Of a Hocuspocus client one document is denied and the others stay; y-websocket has only this one."""
    guest = Frugal()
    connection, line = world.connect(None, guest=guest)
    connection.received(on("a", token("")))
    await until(lambda: said(line, "a"), "let in")
    connection.received(on("b", token("")))
    reason = "too many open documents of one user: the limit is 1"
    await until(lambda: said(line, "b"), "denied")
    assert said(line, "b") == [b"\x02\x01" + var_string(reason)] and line.ended is None
    other, line = world.connect("c", guest=guest)
    await until(lambda: other._verdict, "denied")
    other.received(STEP_1)
    assert line.ended == (1013, reason) and guest.seats == 1
    connection.received(on("a", b"\x07"))
    assert guest.seats == 0, "given back"


async def test_a_name_that_no_room_may_have(world):
    connection, line = world.connect(None)
    connection.received(on("a\x01b", token("")))
    assert said(line, "a\x01b")[0][:2] == b"\x02\x01" and line.ended is None
    world.pass_time(11)
    assert line.ended is not None and line.ended[0] == 4408


async def test_whoever_named_a_version_is_pinged(world):
    """Older providers take a ping for a name that is cut short."""
    new, new_line = world.connect(None)
    old, old_line = world.connect(None)
    for connection, version in ((new, "4.8.0"), (old, None)):
        connection.received(on("a", token("", version)))
        connection.received(on("a", STEP_1))
    await until(lambda: len(said(new_line, "a")) >= 3 and len(said(old_line, "a")) >= 3, "open")
    new_line.sent.clear()
    old_line.sent.clear()
    world.pass_time(16)
    assert new_line.sent == [b"\x09"]
    assert said(old_line, "a") == [b"\x03"]
    new.received(b"\x0a")
    old.received(on("a", b"\x01\x01\x00"))
    for _ in range(30):
        world.pass_time(1)
        new.received(b"\x0a")
        old.received(on("a", b"\x01\x01\x00"))
    assert new_line.sent == [b"\x09"] * 2 and old_line.sent[1:] == [on("a", b"\x01\x01\x00")]
    world.pass_time(60)
    assert new_line.aborted and old_line.aborted


async def test_a_token_that_ends(world):
    """Asked for a new one ahead of time, closed when there is none."""
    wall = 5000.0
    grants = {"first": Grant(Level.WRITE, expires=5060.0), "second": Grant(Level.WRITE, expires=9999.0)}
    connection, line = world.connect(None, authorize=lambda knock: grants[knock.token], wall=lambda: wall)
    connection.received(on("a", token("first")))
    await until(lambda: said(line, "a"), "let in")
    world.pass_time(2)
    assert b"\x02\x00" not in said(line, "a")
    wall = 5055.0
    world.pass_time(5)
    assert said(line, "a").count(b"\x02\x00") == 1
    connection.received(on("a", token("second")))
    wall = 5070.0
    world.pass_time(2)
    assert line.ended is None
    wall = 10_000.0
    world.pass_time(1)
    assert line.ended is not None and line.ended[0] == 4205
    assert not any(frame.startswith(b"\x02\x01") for frame in said(line, "a")), "it would not hear what comes after"


async def test_a_token_that_is_revoked(world):
    revoked: list[Grant] = []
    connection, line = world.connect("room", authorize=lambda knock: LETS_IN["good"], revoked=revoked.__contains__)
    connection.received(STEP_1)
    await until(lambda: len(line.sent) >= 2, "let in")
    world.pass_time(2)
    assert line.ended is None
    revoked.append(LETS_IN["good"])
    world.pass_time(1)
    assert line.ended is not None and line.ended[0] == 4401


async def test_whoever_sends_too_fast_is_read_more_slowly(world):
    pace = Pace((10.0, 20.0), (1e6, 1e6), 5.0, world.now)
    connection, line = world.connect("room", pace=pace)
    connection.received(STEP_1)
    await until(lambda: line.sent, "in")
    sent = 0
    while line.ended is None:
        connection.received(seen(7, sent, "{}"))
        sent += 1
        assert line.paused == (sent >= 20), "once it is past its burst"
    assert sent == 70 and line.ended[0] == 1013, "that did not help: more came than was on its way"
    assert world.hub.metrics.limited["messages_per_second"]._value.get() == 1
