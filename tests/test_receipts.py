"""When a client hears that something is saved: never before the store has it, and always in the end."""

from __future__ import annotations

import random
import sys
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycrdt import Doc, Text

from collab.errors import CollabError
from collab.metrics import Metrics
from collab.peers import Tick
from collab.receipts import Claims, Receipts
from collab.room import RoomCore
from collab.seat import Seat
from collab.wire import vet
from collab.wire.hocuspocus import Hocuspocus
from collab.wire.messages import Echo, Message, Saved, SyncStep1, SyncStep2, Update


class Book:
    """A ledger whose positions are committed, or given up, when a test says so."""

    def __init__(self) -> None:
        self.accepted = 0
        self.committed = 0
        self._waiting: deque[tuple[int, Callable[[bool], None]]] = deque()

    def when(self, position: int, call: Callable[[bool], None]) -> None:
        if position <= self.committed:
            call(True)
        else:
            self._waiting.append((position, call))

    def _reach(self, position: int, committed: bool) -> None:
        self.committed = position
        while self._waiting and self._waiting[0][0] <= position:
            self._waiting.popleft()[1](committed)

    def commit(self, position: int | None = None) -> None:
        self._reach(self.accepted if position is None else position, True)

    def forfeit(self) -> None:
        self._reach(self.accepted, False)


@given(claimed=st.dictionaries(st.integers(0, 2**53 - 1), st.integers(0, vet.MAX_CLOCK)))
def test_what_a_client_claims(claimed):
    claims = Claims(claimed)
    for client, clock in claimed.items():
        assert claims.has(client, clock) and not claims.has(client, clock + 1)
    assert not claims.has(2**53, 1) and not Claims({}).has(0, 1)


def test_what_many_clients_are_claimed_takes_little_space():
    claims = Claims(dict.fromkeys(range(vet.MAX_CLIENTS), 7))
    assert sum(sys.getsizeof(getattr(claims, name)) for name in claims.__slots__) < 2**21


class Desk:
    """The receipts of one seat, and what was said."""

    def __init__(self) -> None:
        self.book = Book()
        self.said: list[Message] = []
        self.latency = Metrics().ack_seconds
        self.now = 0.0
        self.receipts = Receipts(self.book, self.said.append, self.latency, lambda: self.now)

    def update(self, **options: Any) -> Any:
        """An update that the document took in; the journal has it at a position of its own."""
        receipt = self.receipts.update(self.now, **options)
        self.book.accepted += 1
        receipt.settled()
        return receipt

    @property
    def acknowledged(self) -> int:
        return self.said.count(Saved(True))


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_an_update_is_acknowledged_when_the_store_has_it(desk):
    desk.update()
    desk.update()
    assert desk.said == []
    desk.now = 0.25
    desk.book.commit(1)
    assert desk.said == [Saved(True)]
    desk.book.commit(2)
    assert desk.said == [Saved(True)] * 2
    assert desk.latency.count == 2 and desk.latency.sum == 0.5


def test_what_the_document_has_not_taken_in_is_not_acknowledged(desk):
    desk.receipts.update(0)
    desk.book.accepted = 5
    desk.book.commit()
    assert desk.said == []


def test_a_duplicate_waits_for_the_current_position(desk):
    """The first copy may still be on its way to the disk."""
    desk.update()
    duplicate = desk.receipts.update(0)
    duplicate.settled()
    assert desk.said == []
    desk.book.commit()
    assert desk.said == [Saved(True)] * 2
    desk.receipts.update(0).settled()
    assert desk.said == [Saved(True)] * 3, "all is committed: at once"


def test_what_was_forfeited_is_acknowledged_with_the_answer_to_the_rooms_question(desk):
    desk.update()
    desk.update()
    desk.book.forfeit()
    assert desk.said == []
    desk.receipts.asks(own=True)
    answer = desk.receipts.answer(0)
    desk.book.accepted += 1
    answer.settled()
    assert desk.said == []
    desk.book.commit()
    assert desk.said == [Saved(True)] * 2, "and none for the answer"


def test_what_was_forfeited_again_comes_again(desk):
    desk.update()
    for _ in range(3):
        desk.book.forfeit()
        desk.receipts.asks(own=True)
        desk.book.accepted += 1
        desk.receipts.answer(0).settled()
    assert desk.said == []
    desk.book.commit()
    assert desk.said == [Saved(True)]


def test_what_was_let_go_is_acknowledged_with_the_answer_too(desk):
    lost = desk.receipts.update(0)
    lost.adrift()
    desk.update()
    desk.book.commit()
    assert desk.acknowledged == 1
    desk.receipts.asks(own=True)
    desk.receipts.answer(0).settled()
    assert desk.acknowledged == 2


def test_an_answer_does_not_settle_what_was_lost_after_its_question(desk):
    """The question said that the room had it: the answer is without it."""
    desk.update()
    desk.receipts.asks(own=True)
    desk.book.forfeit()
    desk.receipts.answer(0).settled()
    desk.book.commit()
    assert desk.said == []
    desk.receipts.asks(own=True)
    desk.receipts.answer(0).settled()
    assert desk.said == [Saved(True)]


def test_a_probe_settles_nothing(desk):
    """Its state vector may be of a document that is about to be given up."""
    desk.update()
    desk.book.forfeit()
    desk.receipts.asks(own=True, covers=False)
    desk.receipts.answer(0).settled()
    desk.book.commit()
    assert desk.said == []


def test_only_the_answer_to_a_greeting_is_acknowledged(desk):
    desk.receipts.restart()
    desk.receipts.asks(own=False)
    desk.receipts.asks(own=True)
    assert desk.receipts.greeting
    desk.receipts.answer(0).settled()
    assert desk.said == [Saved(True)] and not desk.receipts.greeting
    desk.receipts.answer(0).settled()
    assert desk.said == [Saved(True)]
    desk.receipts.answer(0).settled()  # asked for by nobody
    assert desk.said == [Saved(True)] * 2


def test_a_client_that_begins_anew_counts_anew(desk):
    """What was on its way then is in the answer to the greeting."""
    desk.receipts.restart()
    desk.receipts.asks(own=False)
    desk.update()
    open_still = desk.receipts.update(0)
    desk.receipts.restart()
    desk.receipts.asks(own=False)
    desk.book.commit()
    open_still.settled()
    desk.receipts.answer(0).settled()
    assert desk.said == []
    assert desk.receipts.greeting
    desk.receipts.answer(0).settled()
    assert desk.said == [Saved(True)]


def test_an_update_that_the_client_does_not_count_is_not_acknowledged(desk):
    desk.update(counted=False)
    desk.book.commit()
    assert desk.said == [] and desk.latency.count == 0
    desk.receipts.refused(desk.receipts.update(0, counted=False))
    assert desk.said == []


def test_what_is_refused_is_told_at_once(desk):
    refused = desk.receipts.update(0)
    desk.receipts.refused(refused)
    assert desk.said == [Saved(False)]
    desk.receipts.echo(b"?", 0).settled()
    assert desk.said == [Saved(False), Echo(b"?")], "nobody waits for it"


def test_an_echo_waits_for_all_that_came_before(desk):
    before = desk.receipts.update(0)
    echo = desk.receipts.echo(b"1", 0)
    after = desk.receipts.update(0)
    echo.settled()
    after.settled()
    assert desk.said == [Saved(True)], "what came later waits for nothing"
    desk.book.accepted += 1
    before.settled()
    assert desk.said == [Saved(True)]
    desk.book.commit()
    assert desk.said == [Saved(True), Saved(True), Echo(b"1")]


def test_echoes_keep_their_order(desk):
    before = desk.receipts.update(0)
    for data in (b"1", b"2", b"3"):
        desk.receipts.echo(data, 0).settled()
    before.settled()
    assert desk.said == [Saved(True), Echo(b"1"), Echo(b"2"), Echo(b"3")]


def test_an_echo_waits_for_what_was_lost(desk):
    desk.update()
    desk.receipts.echo(b"1", 0).settled()
    desk.book.forfeit()
    desk.receipts.echo(b"2", 0).settled()
    assert desk.said == []
    desk.receipts.asks(own=True)
    desk.book.accepted += 1
    desk.receipts.answer(0).settled()
    assert desk.said == []
    desk.book.commit()
    assert desk.said == [Saved(True), Echo(b"1"), Echo(b"2")]


def test_nothing_is_said_after_the_client_left(desk):
    desk.update()
    late, lost, echo = desk.receipts.update(0), desk.receipts.update(0), desk.receipts.echo(b"1", 0)
    desk.receipts.close()
    late.settled()
    lost.adrift()
    echo.settled()
    desk.book.commit()
    desk.receipts.asks(own=True)
    desk.receipts.answer(0).settled()
    desk.book.commit()
    assert desk.said == []
    assert not desk.receipts._adrift and not desk.receipts._echoes


def test_nothing_is_kept_of_what_was_acknowledged(desk):
    for _ in range(1000):
        desk.update()
        desk.receipts.asks(own=True)
        desk.receipts.answer(0).settled()
        desk.receipts.echo(b"", 0).settled()
        desk.book.commit()
    kept = desk.receipts
    assert desk.acknowledged == 1000
    assert not (kept._open or kept._adrift or kept._echoes or kept._questions)


# ---------------------------------------------------------------------- a whole client


class Journal(Book):
    """A ledger that is told what the room was told, and keeps what is committed."""

    backstage = True
    author: str | None = None
    may_write = False

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.stored: Doc[Any] = Doc()

    def take(self, tick: Tick) -> None:
        for change in tick.changes:
            self.accepted += 1
            self.written.append(change.update)

    def ask(self, state_vector: bytes) -> None: ...

    def refuse(self, error: CollabError) -> None: ...

    def _reach(self, position: int, committed: bool) -> None:
        count = position - self.committed
        updates, self.written = self.written[:count], self.written[count:]
        for update in updates if committed else ():
            self.stored.apply_update(update)
        super()._reach(position, committed)


class Provider:
    """What a Hocuspocus provider counts, and nothing else of it."""

    def __init__(self, text: str) -> None:
        self.doc: Doc[Any] = Doc(client_id=1)
        self.text = self.doc.get("t", type=Text)
        self.text += text
        self.unsaved = 0
        self.out: deque[Message] = deque()
        self.incoming: deque[bytes] = deque()
        self._mine = True
        self.doc.observe(self._changed)

    def _changed(self, event: Any) -> None:
        if self._mine and event.update != vet.EMPTY:
            self.unsaved += 1
            self.out.append(Update(event.update))

    def sync(self) -> None:
        self.unsaved = 1
        self.out.append(SyncStep1(self.doc.get_state()))

    def type(self, letter: str) -> None:
        self.text += letter

    def erase(self) -> None:
        if len(self.text):
            del self.text[0]

    def take(self, frame: bytes) -> None:
        message: Message
        if frame.endswith(b"\x08\x01") and len(frame) == 4:
            self.unsaved -= 1
            return
        match frame[2:4]:
            case b"\x00\x00":
                state_vector = carried(frame)
                message = SyncStep2(self.doc.get_update(state_vector))
                self.out.append(message)
            case b"\x00\x01" | b"\x00\x02":
                self._mine = False
                self.doc.apply_update(carried(frame))
                self._mine = True


def carried(frame: bytes) -> bytes:
    """The state vector or the update in a frame."""
    message = Hocuspocus("d").decode(frame)
    assert isinstance(message, SyncStep1 | SyncStep2 | Update)
    return message.state_vector if isinstance(message, SyncStep1) else message.update


class Line:
    """What the seat's frames go into."""

    def __init__(self, provider: Provider) -> None:
        self.provider = provider
        self.buffered = 0

    def send(self, frame: bytes) -> None:
        self.provider.incoming.append(frame)

    def expect(self, size: int) -> None: ...


def has_all(stored: Doc[Any], doc: Doc[Any]) -> bool:
    """Whether what is stored has all that `doc` has, deletions too."""
    ours = vet.parse_state_vector(stored.get_state())
    if any(ours.get(client, 0) < clock for client, clock in vet.parse_state_vector(doc.get_state()).items()):
        return False
    both: Doc[Any] = Doc()
    both.apply_update(stored.get_update())
    before = both.get_update()
    both.apply_update(doc.get_update())
    return both.get_update() == before


def seat_of(provider: Provider, core: RoomCore, journal: Journal, troubles: list[CollabError]) -> tuple[Seat, Line]:
    """What a provider talks to."""
    core.join(journal)
    line = Line(provider)
    seat = Seat(
        core,
        Hocuspocus("d"),
        line,
        outbox_bytes=10_000,
        metrics=Metrics(),
        trouble=troubles.append,
        now=0,
        ledger=journal,
    )
    seat.enter()
    return seat, line


def test_a_probe_of_a_document_that_is_given_up():
    """Its state vector says that the room has what the journal could not keep."""
    core, journal, provider = RoomCore("room"), Journal(), Provider("typed")
    seat, _ = seat_of(provider, core, journal, [])
    provider.sync()
    seat.hear(provider.out.popleft(), 0)
    for _ in range(2):
        provider.take(provider.incoming.popleft())
    seat.hear(provider.out.popleft(), 0)
    core.tick(0, 0)
    journal.forfeit()
    seat.probe()
    core.replica.replace(Doc())
    seat.ask(core.state_vector())
    for saved in (False, True):
        provider.take(provider.incoming.popleft())
        seat.hear(provider.out.popleft(), 0)
        core.tick(0, 0)
        journal.commit()
        assert has_all(journal.stored, provider.doc) == saved
        assert (b"\x01d\x08\x01" in provider.incoming) == saved


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=150, deadline=None)
def test_a_provider_says_saved_when_it_is_and_only_then(seed):
    """Frames that wait, a store that fails, a room read anew, gaps that overflow, greetings again: against what a
    provider counts."""
    dice = random.Random(seed)
    core = RoomCore("room", held_updates=dice.choice((1, 3, 1000)))
    journal, provider = Journal(), Provider("typed before ")
    troubles: list[CollabError] = []
    seat, line = seat_of(provider, core, journal, troubles)
    provider.sync()
    if dice.random() < 0.5:  # once more, as an update of its own, which it does not count
        provider.out.append(Update(provider.doc.get_update()))

    def to_server() -> None:
        seat.hear(provider.out.popleft(), 0)

    def to_client() -> None:
        provider.take(provider.incoming.popleft())

    def read_anew() -> None:
        """It takes a while, in which the document is not to be trusted: nothing is applied, nobody is answered."""
        if not line.buffered:
            line.buffered = sys.maxsize
            journal.forfeit()
            return
        line.buffered = 0
        doc: Doc[Any] = Doc()
        doc.apply_update(journal.stored.get_update())
        core.replica.replace(doc)
        seat.ask(core.state_vector())
        core.tick(0, 0)

    def greet() -> None:
        while provider.out or provider.incoming:  # an acknowledgement that crosses a greeting cannot be called back
            if provider.incoming:
                to_client()
            else:
                to_server()
        provider.sync()
        to_server()

    for _ in range(80):
        match dice.randrange(12):
            case 0 | 1 | 2:
                provider.type(dice.choice("abc"))
            case 3:
                provider.erase()
            case 4 | 5 if provider.out:
                to_server()
            case 6 | 7 if provider.incoming:
                to_client()
            case 8 if not line.buffered:
                core.tick(0, 0)
            case 9 if journal.accepted > journal.committed:
                journal.commit(dice.randint(journal.committed + 1, journal.accepted))
            case 10:
                seat.probe()
                if not line.buffered:
                    core.beat(dice.randrange(10**6))
            case 11:
                dice.choice((read_anew, read_anew, lambda: None) if line.buffered else (read_anew, greet))()
        assert provider.unsaved > 0 or (provider.unsaved == 0 and has_all(journal.stored, provider.doc)), "too early"
    if line.buffered:
        read_anew()
    for rounds in range(50):
        while provider.out or provider.incoming:
            if provider.out:
                to_server()
            else:
                to_client()
        core.tick(0, 0)
        journal.commit()
        core.beat(10**7 + rounds * 100)
        assert provider.unsaved > 0 or has_all(journal.stored, provider.doc)
    assert provider.unsaved == 0 and not troubles
    assert str(journal.stored.get("t", type=Text)) == str(provider.text)
