"""A client's place in a room: when it is told what, and what it is owed when it cannot keep up."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycrdt import Doc, Map, Text

from collab.errors import BadMessage, BadUpdate, CollabError, Forbidden
from collab.fence import Panic
from collab.metrics import Metrics
from collab.outlet import HIGH_WATER
from collab.peers import Tick
from collab.room import RoomCore
from collab.seat import ANSWER_BYTES_PER_SECOND, PATIENCE_SECONDS, Seat
from collab.wire import vet, yjs
from collab.wire.hocuspocus import Hocuspocus
from collab.wire.lib0 import var_string, var_uint
from collab.wire.messages import Awareness, Echo, Message, QueryAwareness, SyncStep1, SyncStep2, Update
from tests.support.histories import Editors, applied, clocks, everything


class PanicException(BaseException):
    """As pyo3 raises it."""


class Outlet:
    """A socket that writes when it is told to."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.stuck = False
        self.buffered = 0
        self.expected: list[int] = []

    def send(self, frame: bytes) -> None:
        self.frames.append(frame)
        if self.stuck:
            self.buffered += len(frame)

    def expect(self, size: int) -> None:
        self.expected.append(size)

    def stall(self) -> None:
        """From now on nothing is written."""
        self.stuck = True
        self.buffered = HIGH_WATER + 1

    def flow(self) -> None:
        """All is written, and what comes too."""
        self.stuck = False
        self.buffered = 0


@dataclass
class Client:
    """A seat, its socket, and what the client makes of what it gets."""

    core: RoomCore
    outbox_bytes: int = 1_000
    may_write: bool = True
    now: float = 0
    troubles: list[CollabError] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.outlet = Outlet()
        self.metrics = Metrics()
        self.doc: Doc[Any] = Doc()
        self.read = 0
        self.seat = Seat(
            self.core,
            yjs,
            self.outlet,
            outbox_bytes=self.outbox_bytes,
            metrics=self.metrics,
            trouble=self.troubles.append,
            now=self.now,
            may_write=self.may_write,
        )
        self.seat.enter()

    def new(self) -> list[Message]:
        """The messages that came since the last look; the client takes them in and nothing of it may lack anything."""
        messages = [yjs.decode(frame) for frame in self.outlet.frames[self.read :]]
        self.read = len(self.outlet.frames)
        for message in messages:
            if isinstance(message, Update | SyncStep2):
                assert not vet.parse(message.update).missing(clocks(self.doc))
                self.doc.apply_update(message.update)
        return messages

    def sync(self) -> list[Message]:
        """Asks for all there is."""
        self.seat.hear(SyncStep1(self.doc.get_state()), 0)
        return self.new()

    @property
    def resyncs(self) -> float:
        return self.metrics.resyncs["client"]._value.get()


class Writer:
    """Somebody else in the room, who types letter by letter."""

    def __init__(self, core: RoomCore, client: int = 1) -> None:
        self.core = core
        self.doc: Doc[Any] = Doc(client_id=client)
        self.made: list[bytes] = []
        self.text = self.doc.get("text", type=Text)
        self.doc.observe(lambda event: self.made.append(event.update))
        self.backstage, self.may_write = False, True
        self.author: str | None = "writer"
        core.join(self)

    def take(self, tick: object) -> None: ...

    def ask(self, state_vector: bytes) -> None: ...

    def refuse(self, error: CollabError) -> None: ...

    def type(self, words: str) -> None:
        """A tick for each letter."""
        for letter in words:
            self.text += letter
            self.core.receive(self, Update(self.made[-1]), 0)
            self.core.tick(0, 0)

    def move(self, ids: list[int], clock: int) -> None:
        """Cursors move."""
        entries = b"".join(var_uint(client) + var_uint(clock) + var_string(f"[{clock}]") for client in ids)
        self.core.receive(self, Awareness(var_uint(len(ids)) + entries), 0)
        self.core.tick(0, 0)


@pytest.fixture
def core() -> RoomCore:
    return RoomCore("room")


@pytest.fixture
def writer(core: RoomCore) -> Writer:
    return Writer(core)


def text_of(doc: Doc[Any]) -> str:
    return str(doc.get("text", type=Text))


# ---------------------------------------------------------------------- coming in


def test_the_room_introduces_itself(core, writer):
    writer.type("abc")
    assert Client(core).new() == [SyncStep1(core.state_vector())]
    writer.move([7, 8], 1)
    client = Client(core)
    assert client.new() == [SyncStep1(core.state_vector()), Awareness(core.presence.encode([7, 8]))]


def test_no_update_before_step_2(core, writer):
    """S20: it would build on things that the client does not have."""
    writer.type("abc")
    client = Client(core)
    writer.type("def")
    client.new()
    [answer] = client.sync()
    assert isinstance(answer, SyncStep2)
    assert text_of(client.doc) == "abcdef"
    writer.type("gh")
    assert [type(message) for message in client.new()] == [Update, Update]
    assert text_of(client.doc) == "abcdefgh"


def test_cursors_are_shown_before_the_document(core, writer):
    client = Client(core)
    client.new()
    writer.move([7], 1)
    assert client.new() == [Awareness(core.presence.encode([7]))]


def test_every_step_1_is_answered(core, writer):
    client = Client(core)
    client.sync()
    for _ in range(3):
        writer.type("x")
        assert isinstance(client.sync()[-1], SyncStep2)
    assert text_of(client.doc) == "xxx"


def test_who_never_asks_is_told_after_a_while(core, writer):
    client = Client(core, now=100)
    client.new()
    writer.type("abc")
    client.seat.beat(100 + PATIENCE_SECONDS)
    assert client.new() == []
    client.seat.beat(100.1 + PATIENCE_SECONDS)
    assert len(client.new()) == 3 and text_of(client.doc) == "abc"
    writer.type("d")
    assert len(client.new()) == 1


def test_what_waits_for_one_who_never_asks_is_bounded(core, writer):
    client = Client(core, outbox_bytes=100)
    client.new()
    writer.type("x" * 200)
    assert client.seat.waiting_bytes <= 100
    client.seat.beat(PATIENCE_SECONDS + 1)
    [update] = client.new()
    assert isinstance(update, Update) and text_of(client.doc) == "x" * 200


# ---------------------------------------------------------------------- frames


def test_a_frame_is_made_once_for_all(core, writer):
    clients = [Client(core) for _ in range(5)]
    for client in clients:
        client.sync()
    writer.type("a")
    writer.move([7], 1)
    for number in (-1, -2):
        frames = {id(client.outlet.frames[number]) for client in clients}
        assert len(frames) == 1


def test_who_wrote_alone_hears_no_echo(core, writer):
    one, other = Client(core), Client(core)
    one.sync()
    other.sync()
    one.seat.hear(Update(applied_letter("a", 5)), 0)
    core.tick(0, 0)
    assert one.new() == []
    assert [type(message) for message in other.new()] == [Update]
    one.seat.hear(Update(applied_letter("b", 6)), 0)
    other.seat.hear(Update(applied_letter("c", 7)), 0)
    core.tick(0, 0)
    assert len(one.new()) == len(other.new()) == 1


def applied_letter(letter: str, client: int) -> bytes:
    doc: Doc[Any] = Doc(client_id=client)
    doc.get("text", type=Text).insert(0, letter)
    return doc.get_update()


def test_everybody_hears_of_cursors_even_their_own(core):
    """The echo feeds the watchdog of y-websocket: who hears nothing for 30 s reconnects."""
    client = Client(core)
    client.new()
    client.seat.hear(Awareness(b"\x01\x07\x01\x02{}"), 0)
    core.tick(0, 0)
    assert client.new() == [Awareness(b"\x01\x07\x01\x02{}")]


def test_what_is_sent_is_counted(core, writer):
    writer.move([9], 1)
    client = Client(core)
    client.sync()
    writer.type("abc")
    client.seat.say(QueryAwareness())
    sent = client.metrics.sent
    assert {kind: traffic.messages for kind, traffic in sent.items() if traffic.messages} == {
        "sync_step1": 1,
        "sync_step2": 1,
        "update": 3,
        "awareness": 1,
        "query_awareness": 1,
    }
    assert sum(traffic.bytes for traffic in sent.values()) == sum(map(len, client.outlet.frames))


# ---------------------------------------------------------------------- the lag rule


def test_what_fits_waits_and_comes_as_it_was(core, writer):
    slow, quick = Client(core), Client(core)
    slow.sync()
    quick.sync()
    slow.outlet.stall()
    writer.type("abcdef")
    assert slow.new() == [] and not slow.seat.behind
    assert slow.seat.waiting_bytes == sum(map(len, quick.outlet.frames[-6:]))
    slow.outlet.flow()
    slow.seat.drained()
    assert [id(frame) for frame in slow.outlet.frames[-6:]] == [id(frame) for frame in quick.outlet.frames[-6:]]
    slow.new()
    assert text_of(slow.doc) == "abcdef" and slow.resyncs == 0 and slow.seat.waiting_bytes == 0


def test_who_is_too_slow_gets_one_difference(core, writer):
    client = Client(core, outbox_bytes=500)
    client.sync()
    writer.type("before ")
    client.outlet.stall()
    for number in range(100):
        writer.type("slow "[number % 5])
        assert client.seat.waiting_bytes <= 500
    assert client.seat.behind and client.resyncs == 1
    client.new()
    client.outlet.flow()
    client.seat.drained()
    [update] = client.new()
    assert isinstance(update, Update) and len(update.update) < 500
    assert text_of(client.doc) == "before " + "slow " * 20
    writer.type("!")
    assert len(client.new()) == 1 and not client.seat.behind


def test_the_application_and_a_client_in_one_turn_while_slow(core, writer):
    """Two ticks are told at once, and the difference has to hold both."""
    client = Client(core, outbox_bytes=1)
    client.sync()
    client.outlet.stall()
    core.doc.get("map", type=Map)["from"] = "the application"
    writer.type("a")
    client.outlet.flow()
    client.seat.drained()
    client.new()
    assert everything(client.doc) == everything(core.doc)


def test_it_goes_on_as_far_as_the_socket_takes_it(core, writer):
    client = Client(core, outbox_bytes=10**6)
    client.sync()
    client.outlet.stall()
    writer.type("abcdefgh")
    client.outlet.buffered = HIGH_WATER
    client.seat.drained()
    assert len(client.new()) == 1  # which brought it over the mark again
    client.outlet.flow()
    client.seat.drained()
    assert len(client.new()) == 7 and text_of(client.doc) == "abcdefgh"


def test_of_a_slow_clients_cursors_only_the_newest_count(core, writer):
    client = Client(core)
    client.sync()
    client.outlet.stall()
    for clock in range(1, 50):
        writer.move([7, 8], clock)
    writer.move([9], 1)
    assert client.new() == [] and client.seat.waiting_bytes == 0
    client.outlet.flow()
    client.seat.drained()
    [message] = client.new()
    assert isinstance(message, Awareness)
    assert message.update[0] == 3
    assert all(core.presence.encode([client_id])[1:] in message.update for client_id in (7, 8, 9))


def test_who_left_meanwhile_is_seen_to_have_left(core, writer):
    writer.move([7], 1)
    client = Client(core)
    client.sync()
    client.outlet.stall()
    core.leave(writer, 1)
    core.tick(1, 0)
    client.outlet.flow()
    client.seat.drained()
    assert client.new() == [Awareness(b"\x01\x07\x01\x04null")]


def test_asking_without_reading_piles_nothing_up(core, writer):
    """S18: a small question has a large answer."""
    writer.type("x" * 500)
    client = Client(core)
    client.new()
    client.outlet.stall()
    for _ in range(100):
        client.seat.hear(SyncStep1(b"\x00"), 0)
        client.seat.hear(QueryAwareness(), 0)
    assert client.new() == []
    with pytest.raises(BadMessage):
        client.seat.hear(SyncStep1(b"\x01"), 0)
    writer.type("yz")
    client.outlet.flow()
    writer.type("!")  # not before the answer
    client.seat.drained()
    [answer] = client.new()
    assert isinstance(answer, SyncStep2) and text_of(client.doc) == "x" * 500 + "yz!"


@pytest.mark.parametrize("slow", [False, True])
def test_a_state_vector_is_read_once_and_not_kept(core, writer, slow, monkeypatch):
    """Whoever may only read chooses how many clients it names."""
    vector = vet.state_vector(dict.fromkeys(range(2**30, 2**30 + 1_000), 5))
    read, seen = vet.parse_state_vector, list[bytes]()

    def watched(data: bytes, *most: int) -> dict[int, int]:
        seen.append(data)
        return read(data, *most)

    monkeypatch.setattr(vet, "parse_state_vector", watched)
    writer.type("hello")
    client = Client(core)
    if slow:
        client.outlet.stall()
    client.seat.hear(SyncStep1(vector), 0)
    client.outlet.flow()
    client.seat.drained()
    assert any(isinstance(message, SyncStep2) for message in client.new())
    assert seen.count(vector) == 1


def test_who_is_here_is_said_as_fast_as_it_may_be_asked(core, writer):
    """S18: one byte asks for the states of all. Small answers come at once, large ones together and later."""
    client = Client(core)
    client.sync()
    for _ in range(100):
        client.seat.hear(QueryAwareness(), 0)
    assert client.new() == [Awareness(b"\x00")] * 100
    shown = [var_uint(number + 1) + b"\x01" + var_string(f'"{"x" * 65_000}"') for number in range(8)]
    for state in shown:
        core.receive(writer, Awareness(b"\x01" + state), 0)
    core.tick(0, 0)
    client.new()
    size, now = len(core.presence.encode(core.presence.ids())), 1.0
    for _ in range(100):
        client.seat.hear(QueryAwareness(), now)
    [answer] = client.new()
    assert isinstance(answer, Awareness) and len(answer.update) == size
    while not (late := client.new()):
        now += 0.1
        client.seat.beat(now)
    assert now - 1 == pytest.approx(size / ANSWER_BYTES_PER_SECOND - 1, abs=0.3), "it may have a second's worth ahead"
    assert late == [answer]
    client.seat.beat(now + 100)
    assert client.new() == [], "a hundred questions, one answer"


def test_what_was_asked_of_one_who_does_not_read_is_answered_later(core, writer):
    client = Client(core)
    client.sync()
    client.outlet.stall()
    client.seat.hear(QueryAwareness(), 0)
    writer.move([7], 1)
    client.seat.beat(1)
    assert client.new() == []
    client.outlet.flow()
    client.seat.beat(2)
    assert Awareness(core.presence.encode([7])) in client.new()


def test_only_what_others_show_is_expected_back(core, writer):
    """Else whoever asks who is here, or talks to itself, has no limit at all."""
    writer.move([7], 1)
    client = Client(core)
    client.sync()
    client.seat.hear(QueryAwareness(), 0)
    client.seat.hear(Awareness(b"\x01\x09\x01\x02{}"), 0)
    core.tick(0, 0)
    assert client.outlet.expected == []
    writer.move([7], 2)
    frame = yjs.encode(Awareness(core.presence.encode([7])))
    assert client.outlet.expected == [len(frame)]
    client.seat.hear(Awareness(b"\x01\x09\x02\x02{}"), 0)
    writer.move([7], 3)
    assert client.outlet.expected == [len(frame), len(frame)], "and not what it said in the same turn"


def test_what_may_be_its_own_is_not_told_to_a_client(core, writer):
    """Clients believe what they hear of themselves. Who that is, their first words tell, if there are any."""
    writer.move([7], 1)
    core.leave(writer, 0)
    core.tick(0, 0)
    spoofer = Writer(core, 2)
    spoofer.move([7, 8], 50)
    told = core.presence.encode
    spoken, silent, slow = Client(core), Client(core), Client(core)
    for client in (spoken, silent, slow):
        assert Awareness(told([8])) in client.new()
    spoofer.move([7], 51)
    assert spoken.new() == silent.new() == slow.new() == []
    spoken.seat.hear(Awareness(b"\x01\x07\x02\x02{}"), 0.1)
    silent.seat.hear(SyncStep2(vet.EMPTY), 0.1)
    assert spoken.new() == [] and silent.new() == [Awareness(told([7]))]
    slow.seat.beat(0.9)
    assert slow.new() == []
    slow.seat.beat(1.1)
    assert slow.new() == [Awareness(told([7]))]
    spoofer.move([7, 8], 52)
    assert spoken.new() == [Awareness(told([8]))], "never its own"
    assert spoken.outlet.expected[-1] == len(yjs.encode(Awareness(told([8]))))
    assert silent.new() == [Awareness(told([7, 8]))]
    core.leave(spoofer, 2)
    core.tick(2, 0)
    assert len(spoken.new()) == 1, "but that it has gone: then it shows itself"


def test_a_client_is_made_to_step_over_a_clock(core, writer):
    client = Client(core)
    client.new()
    client.seat.overtake(7, 300)
    assert client.new() == [Awareness(b"\x01\x07\xac\x02\x04null")]


def test_of_what_waited_too_only_what_others_show(core, writer):
    client = Client(core)
    client.sync()
    client.outlet.stall()
    client.seat.hear(Awareness(b"\x01\x09\x01\x02{}"), 0)
    core.tick(0, 0)
    client.outlet.flow()
    client.seat.drained()
    assert client.new() == [Awareness(b"\x01\x09\x01\x02{}")] and client.outlet.expected == []
    client.outlet.stall()
    writer.move([7], 1)
    client.outlet.flow()
    client.seat.drained()
    assert client.outlet.expected == [len(yjs.encode(Awareness(core.presence.encode([7]))))]


def test_nothing_is_left_lying_when_nobody_says_that_it_drained(core, writer):
    client = Client(core)
    client.sync()
    client.outlet.stall()
    writer.type("abc")
    client.outlet.flow()
    client.seat.beat(1)
    client.new()
    assert text_of(client.doc) == "abc"


# ---------------------------------------------------------------------- trouble


def broken(core: RoomCore, monkeypatch: pytest.MonkeyPatch) -> None:
    def get_update(state: bytes | None = None) -> bytes:
        raise PanicException

    monkeypatch.setattr(core.doc, "get_update", get_update)


def test_a_question_that_met_a_panic_is_answered_after_the_reload(core, writer, monkeypatch):
    writer.type("abc")
    saved = core.doc.get_update()
    client = Client(core)
    client.new()
    broken(core, monkeypatch)
    with pytest.raises(Panic):
        client.seat.hear(SyncStep1(b"\x00"), 0)
    core.replica.replace(applied([saved]))
    client.seat.ask(core.state_vector())
    assert [type(message) for message in client.new()] == [SyncStep1, SyncStep2]
    assert text_of(client.doc) == "abc"


def test_a_difference_that_met_a_panic_is_given_after_the_reload(core, writer, monkeypatch):
    client = Client(core, outbox_bytes=10)
    client.sync()
    client.outlet.stall()
    writer.type("abc")
    saved = core.doc.get_update()
    broken(core, monkeypatch)
    client.outlet.flow()
    client.seat.drained()
    assert [type(error) for error in client.troubles] == [Panic]
    assert client.new() == [] and client.seat.behind
    core.replica.replace(applied([saved]))
    client.seat.ask(core.state_vector())
    client.new()
    assert text_of(client.doc) == "abc" and not client.seat.behind


def test_an_update_that_cannot_be_is_the_clients_end(core):
    client = Client(core)
    client.sync()
    client.seat.hear(Update(b"\x01\x01\x07\x00\x05\x01\x04text" + var_string("{nope") + b"\x00"), 0)
    core.tick(0, 0)
    assert [type(error) for error in client.troubles] == [BadUpdate]


def test_a_reader_reads(core, writer):
    client = Client(core, may_write=False)
    writer.type("abc")
    client.sync()
    with pytest.raises(Forbidden):
        client.seat.hear(Update(applied_letter("x", 5)), 0)
    writer.type("d")
    client.new()
    assert text_of(client.doc) == "abcd"


def test_what_was_sent_before_leaving_counts(core, writer):
    client, other = Client(core), Client(core)
    other.sync()
    client.seat.hear(Awareness(b"\x01\x07\x01\x02{}"), 0)
    client.seat.hear(Update(applied_letter("x", 5)), 0)
    client.seat.leave(0)
    core.tick(0, 0)
    messages = other.new()
    assert text_of(other.doc) == "x"
    assert messages[-1] == Awareness(b"\x01\x07\x01\x04null")
    count = len(client.outlet.frames)
    writer.type("more")
    client.seat.drained()
    assert len(client.outlet.frames) == count


# ---------------------------------------------------------------------- what is saved


class Ledger:
    """A journal of a store that commits when a test says so."""

    backstage = True
    author: str | None = None
    may_write = False

    def __init__(self, core: RoomCore) -> None:
        self.accepted = self.committed = 0
        self._waiting: list[tuple[int, Any]] = []
        core.join(self)

    def take(self, tick: Tick) -> None:
        self.accepted += len(tick.changes)

    def ask(self, state_vector: bytes) -> None: ...

    def refuse(self, error: CollabError) -> None: ...

    def when(self, position: int, call: Any) -> None:
        self._waiting.append((position, call))
        self._tell()

    def commit(self) -> None:
        self.committed = self.accepted
        self._tell()

    def _tell(self) -> None:
        ready = [call for position, call in self._waiting if position <= self.committed]
        self._waiting = [(position, call) for position, call in self._waiting if position > self.committed]
        for call in ready:
            call(True)


SAVED, NOT_SAVED = b"\x01d\x08\x01", b"\x01d\x08\x00"


class Counting:
    """A client on a dialect, and the frames it was sent since the last look."""

    def __init__(self, core: RoomCore, *, dialect: Any = None, may_write: bool = True) -> None:
        self.core = core
        self.ledger = Ledger(core)
        self.outlet = Outlet()
        self.metrics = Metrics()
        self.troubles: list[CollabError] = []
        self.seat = Seat(
            core,
            Hocuspocus("d") if dialect is None else dialect,
            self.outlet,
            outbox_bytes=1_000,
            metrics=self.metrics,
            trouble=self.troubles.append,
            now=0,
            may_write=may_write,
            ledger=self.ledger,
        )
        self.seat.enter()

    def hear(self, *messages: Message) -> None:
        for message in messages:
            self.seat.hear(message, 0)
        self.core.tick(0, 0)

    def new(self) -> list[bytes]:
        frames, self.outlet.frames = self.outlet.frames, []
        return frames


def test_an_acknowledging_dialect_is_asked_in_answer_and_not_before(core, writer):
    writer.type("abc")
    client = Counting(core)
    assert client.new() == [], "its providers speak first"
    client.hear(SyncStep1(b"\x00"))
    assert [frame[2:4] for frame in client.new()] == [b"\x00\x00", b"\x00\x01"]


def test_updates_are_acknowledged_once_they_are_committed(core):
    client = Counting(core)
    client.hear(SyncStep1(b"\x00"), SyncStep2(vet.EMPTY))
    client.new()
    client.hear(Update(applied_letter("a", 5)), Update(applied_letter("b", 6)))
    assert client.new() == []
    client.ledger.commit()
    assert client.new() == [SAVED] * 2
    client.hear(Update(applied_letter("a", 5)))
    assert client.new() == [SAVED], "a duplicate, of what is committed"


def test_an_answer_without_anything_new_is_acknowledged_too(core):
    """It is what providers wait for after each sync step 1."""
    client = Counting(core)
    client.hear(SyncStep1(b"\x00"))
    client.new()
    client.hear(SyncStep2(vet.EMPTY))
    assert client.new() == [SAVED]


def test_no_acknowledgement_for_answers_to_questions_of_the_rooms_own(core):
    client = Counting(core)
    client.hear(SyncStep1(b"\x00"), SyncStep2(vet.EMPTY))
    client.seat.ask(core.state_vector())
    client.seat.probe()
    client.new()
    client.hear(SyncStep2(vet.EMPTY), SyncStep2(applied_letter("a", 5)))
    client.ledger.commit()
    assert client.new() == []


def test_what_the_client_had_when_it_asked_is_not_counted_twice(core):
    """Typed before the socket was open: in its sync step 1, and once more as an update."""
    client = Counting(core)
    early, late = applied_letter("a", 5), applied_letter("b", 6)
    deletion = bytes.fromhex("000105010001")
    client.hear(SyncStep1(vet.state_vector({5: 1})), Update(early))
    client.ledger.commit()
    assert SAVED not in client.new()
    client.hear(Update(late))
    client.ledger.commit()
    assert client.new() == [SAVED], "it had not typed that when it asked"
    client.hear(Update(deletion))
    client.ledger.commit()
    assert client.new() == [SAVED], "a state vector says nothing of deletions"
    client.hear(SyncStep2(early))
    assert client.new() == [SAVED], "the answer"
    client.hear(Update(early))
    assert client.new() == [SAVED], "from here on each update counts"


def test_who_asks_while_it_takes_nothing_counts_from_then_on(core):
    client = Counting(core)
    client.hear(SyncStep1(b"\x00"), SyncStep2(vet.EMPTY), Update(applied_letter("a", 5)))
    client.new()
    client.outlet.stall()
    client.hear(SyncStep1(vet.state_vector({5: 1})))
    client.ledger.commit()
    assert client.new() == [], "it has forgotten that update: the answer to the question stands for it"
    client.hear(Update(applied_letter("b", 6)))
    client.outlet.flow()
    client.seat.drained()
    client.new()
    client.ledger.commit()
    assert client.new() == [SAVED], "and counted this one"
    client.hear(SyncStep2(vet.EMPTY))
    assert client.new() == [SAVED]


def test_a_readers_update_is_not_saved_and_it_is_told(core):
    client = Counting(core, may_write=False)
    client.hear(SyncStep1(b"\x00"), SyncStep2(vet.EMPTY))
    client.new()
    with pytest.raises(Forbidden):
        client.seat.hear(Update(applied_letter("x", 5)), 0)
    assert client.new() == [NOT_SAVED]
    assert client.metrics.updates_refused._value.get() == 1


def test_an_echo_comes_when_all_before_it_is_committed(core):
    client = Counting(core, dialect=yjs)
    client.hear(SyncStep1(b"\x00"), SyncStep2(vet.EMPTY), Update(applied_letter("a", 5)), Echo(b"1"))
    client.new()
    assert client.ledger.accepted == 1
    client.ledger.commit()
    assert client.new() == [yjs.encode(Echo(b"1"))]
    client.hear(Echo(b"2"))
    assert client.new() == [yjs.encode(Echo(b"2"))]


def test_the_first_echo_waits_for_what_still_lacks_something(core):
    doc: Doc[Any] = Doc(client_id=5)
    made: list[bytes] = []
    doc.observe(lambda event: made.append(event.update))
    text = doc.get("text", type=Text)
    text += "a"
    text += "b"
    client = Counting(core, dialect=yjs)
    client.hear(SyncStep1(b"\x00"), SyncStep2(vet.EMPTY), Update(made[1]))
    client.hear(Echo(b"1"))
    client.ledger.commit()
    assert yjs.encode(Echo(b"1")) not in client.new()
    client.hear(SyncStep2(doc.get_update()))
    client.ledger.commit()
    assert yjs.encode(Echo(b"1")) in client.new()


def test_nothing_is_said_after_the_seat_was_left(core):
    client = Counting(core)
    client.hear(SyncStep1(b"\x00"), SyncStep2(vet.EMPTY), Update(applied_letter("a", 5)))
    client.new()
    client.seat.leave(0)
    client.ledger.commit()
    assert client.new() == [] and text_of(core.doc) == "a"


# ---------------------------------------------------------------------- whatever happens


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_every_client_has_everything_in_the_end(seed):
    """Clients that stall, ask again, come late and never ask; a random history in between. None is told too early."""
    dice = random.Random(seed)
    editors = Editors(seed, steps=40)
    core = RoomCore("room")
    source = Client(core)
    clients = [Client(core, outbox_bytes=dice.choice((1, 200, 10**6))) for _ in range(3)]
    asked = {0}
    clients[0].sync()
    for step, update in enumerate(editors.updates):
        source.seat.hear(Update(update), 0)
        if dice.random() < 0.1:
            core.doc.get("map", type=Map)["app"] = step
        if dice.random() < 0.6:
            core.tick(0, 0)
        number = dice.randrange(len(clients))
        client = clients[number]
        match dice.randrange(6):
            case 0:
                client.outlet.stall()
            case 1:
                client.outlet.flow()
                client.seat.drained()
            case 2:
                asked.add(number)
                client.seat.hear(SyncStep1(client.doc.get_state()), 0)
            case 3:
                client.seat.beat(1)
            case 4 if len(clients) < 6:
                clients.append(Client(core, outbox_bytes=100))
        assert client.seat.waiting_bytes <= client.outbox_bytes
        for number, client in enumerate(clients):
            told = client.new()
            if number not in asked:
                assert not any(isinstance(message, Update) for message in told)
    core.tick(0, 0)
    for number, client in enumerate(clients):
        client.outlet.flow()
        client.seat.drained()
        if number not in asked:
            client.new()
            client.seat.hear(SyncStep1(b"\x00"), 0)
        client.new()
        assert everything(client.doc) == everything(core.doc)
