"""The core of a room: one transaction and one event per tick, nothing taken for received that is not there."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycrdt import Array, Doc, Map, Text, merge_updates

from collab.errors import BadMessage, BadUpdate, CollabError, Forbidden
from collab.gaps import ASK_SECONDS, Incoming
from collab.peers import Tick
from collab.presence import Presence
from collab.room import RoomCore
from collab.uptake import Panicked
from collab.wire import vet
from collab.wire.lib0 import var_string, var_uint
from collab.wire.messages import Awareness, Denied, QueryAwareness, SyncStep1, SyncStep2, Update
from tests.support.histories import Editors, applied, clocks, everything

SEEDS = st.integers(0, 2**32 - 1)


class PanicException(BaseException):
    """As pyo3 raises it."""


@dataclass(eq=False)
class Somebody:
    """A peer that remembers what it was told."""

    name: str = "somebody"
    may_write: bool = True
    backstage: bool = False
    author: str | None = None
    ticks: list[Tick] = field(default_factory=list)
    asked: list[dict[int, int]] = field(default_factory=list)
    refused: list[CollabError] = field(default_factory=list)
    on_take: Callable[[Tick], None] = lambda tick: None

    def take(self, tick: Tick) -> None:
        self.ticks.append(tick)
        self.on_take(tick)

    def ask(self, state_vector: bytes) -> None:
        self.asked.append(vet.parse_state_vector(state_vector))

    def refuse(self, error: CollabError) -> None:
        self.refused.append(error)

    @property
    def heard(self) -> list[bytes]:
        """The updates that everybody gets."""
        return [update for tick in self.ticks for update in tick.merged]

    @property
    def rows(self) -> list[tuple[bytes, Somebody | None]]:
        """What the journal keeps: raw updates, each with its sender."""
        return [(change.update, change.sender) for tick in self.ticks for change in tick.changes]  # type: ignore[misc]


@dataclass(eq=False)
class Told:
    """A receipt that remembers what it was told."""

    heard: list[str] = field(default_factory=list)

    def settled(self) -> None:
        self.heard.append("settled")

    def adrift(self) -> None:
        self.heard.append("adrift")


class Writer:
    """An editor's document, and every update it made."""

    def __init__(self, client: int = 1) -> None:
        self.doc: Doc[Any] = Doc(client_id=client)
        self.made: list[bytes] = []
        self.text = self.doc.get("text", type=Text)
        self.map = self.doc.get("map", type=Map)
        self.doc.observe(lambda event: self.made.append(event.update))

    def type(self, words: str) -> list[bytes]:
        """Types letter by letter; returns the updates."""
        first = len(self.made)
        for letter in words:
            self.text += letter
        return self.made[first:]


def room(*peers: Somebody, **options: Any) -> RoomCore:
    core = RoomCore("room", **options)
    for peer in peers:
        core.join(peer)
    return core


def text_of(doc: Doc[Any]) -> str:
    return str(doc.get("text", type=Text))


def give(core: RoomCore, sender: Somebody, *updates: bytes, now: float = 0) -> None:
    """One tick with these updates."""
    for update in updates:
        assert core.receive(sender, Update(update), now) is None
    assert core.tick(now, 0)


@pytest.fixture
def ana() -> Somebody:
    return Somebody("ana", author="ana")


@pytest.fixture
def ben() -> Somebody:
    return Somebody("ben", author="ben")


# ---------------------------------------------------------------------- the tick


def test_a_tick_is_one_event(ana, ben):
    core = room(ana, ben)
    updates = Writer(1).type("hello")
    give(core, ana, *updates)
    [tick] = ben.ticks
    assert ana.ticks == ben.ticks == [tick]  # the very same
    assert len(tick.merged) == 1
    assert text_of(applied(tick.merged)) == "hello"
    assert [(change.update, change.sender) for change in tick.changes] == [(update, ana) for update in updates]
    assert tick.sole is ana


def test_who_wrote_with_others_hears_of_all(ana, ben):
    core = room(ana, ben)
    one, other = Writer(1).type("a"), Writer(2).type("b")
    core.receive(ana, Update(one[0]), 0)
    core.receive(ben, SyncStep2(other[0]), 0)
    core.tick(0, 1_700_000_000.5)
    [tick] = ana.ticks
    assert tick.sole is None and len(tick.merged) == 1
    assert ben.rows == [(one[0], ana), (other[0], ben)]
    assert sorted(text_of(applied(tick.merged))) == ["a", "b"]
    assert tick.wall == 1_700_000_000.5


def test_a_single_keystroke_is_handed_on_as_it_came(ana, ben):
    core = room(ana, ben)
    [update] = Writer(1).type("a")
    give(core, ana, update)
    assert ben.ticks[0].merged == (update,)
    assert ben.rows == [(update, ana)]


def test_nothing_received_is_nothing_told(ana):
    core = room(ana)
    assert core.tick(0, 0)
    give(core, ana, vet.EMPTY)
    assert ana.ticks == [] and core.idle


def test_the_room_is_woken_once_per_tick(ana):
    woken: list[str] = []
    core = room(ana, wake=lambda: woken.append("woken"))
    writer = Writer(1)
    for update in writer.type("abc"):
        core.receive(ana, Update(update), 0)
    assert len(woken) == 1 and not core.idle
    core.tick(0, 0)
    assert core.idle
    core.receive(ana, Update(writer.type("d")[0]), 0)
    assert len(woken) == 2
    core.doc.get("other", type=Text).insert(0, "x")
    assert len(woken) == 2


def test_a_repeated_update_is_no_news(ana, ben):
    core = room(ana, ben)
    writer = Writer(1)
    updates = writer.type("hello")
    give(core, ana, *updates)
    core.receive(ana, Update(updates[2]), 0)
    core.receive(ben, SyncStep2(writer.doc.get_update()), 0)
    core.tick(0, 0)
    assert len(ben.ticks) == 1
    assert ana.asked == [] and ben.refused == []


def test_of_a_sync_step_2_only_the_news_is_kept(ana, ben):
    """It repeats all that the client ever deleted: the journal would grow by that at every reconnect."""
    core = room(ana, ben)
    writer = Writer(1)
    writer.type("hello, this is a longer text")
    for _ in range(5):
        del writer.text[3:5]
    give(core, ana, writer.doc.get_update())
    del writer.text[0:1]
    core.receive(ana, SyncStep2(writer.doc.get_update(core.doc.get_state())), 0)
    core.tick(0, 0)
    [(first, _), (second, sender)] = ben.rows
    assert sender is ana and len(second) < 10
    assert everything(applied([first, second])) == everything(writer.doc)


def test_before_is_the_state_before(ana, ben):
    core = room(ana, ben)
    befores: list[dict[int, int]] = []
    ben.on_take = lambda tick: befores.append(vet.parse_state_vector(tick.before()))
    one, other = Writer(1), Writer(2)
    give(core, ana, *one.type("ab"))
    give(core, ana, *one.type("c"), *other.type("xyz"))
    core.doc.get("mine", type=Text).insert(0, "!")
    give(core, ana, *one.type("d"))
    del other.text[0:1]
    give(core, ana, other.made[-1])
    server = core.doc.client_id
    assert befores == [{}, {1: 2}, {1: 3, 2: 3}, {1: 3, 2: 3, server: 1}, {1: 4, 2: 3, server: 1}]


def test_a_difference_since_before_never_lacks_the_tick(ana):
    """The lag rule stands on it: thrown away and computed again later, nothing is missing."""
    core = room(ana)
    writer = Writer(1)
    held: list[bytes] = []
    ana.on_take = lambda tick: held.append(tick.before())
    core.doc.get("text", type=Text).insert(0, "from the application")
    give(core, ana, *writer.type("typed in the same turn"))
    assert len(ana.ticks) == 2
    late = applied([core.difference(held[0])])
    assert everything(late) == everything(core.doc)


# ---------------------------------------------------------------------- the application edits the document


def test_what_the_application_writes_is_told_to_everybody(ana, ben):
    core = room(ana, ben)
    core.doc.get("text", type=Text).insert(0, "hello")
    with core.doc.transaction():
        core.doc.get("map", type=Map)["a"] = 1
        core.doc.get("map", type=Map)["b"] = 2
    assert not core.idle
    core.tick(0, 0)
    [tick] = ana.ticks
    assert tick.sole is None and len(tick.merged) == len(tick.changes) == 2
    assert {change.sender for change in tick.changes} == {None}
    assert everything(applied(tick.merged)) == everything(core.doc)
    assert core.clocks == clocks(core.doc)


def test_the_application_and_a_client_in_one_turn(ana, ben):
    core = room(ana, ben)
    core.doc.get("text", type=Text).insert(0, "app")
    give(core, ana, *Writer(1).type("ana"))
    first, second = ben.ticks
    assert (first.sole, second.sole) == (None, ana)
    assert everything(applied(ben.heard)) == everything(core.doc)
    assert core.clocks == clocks(core.doc)


def test_a_transaction_held_open_makes_the_tick_wait(ana, ben):
    core = room(ana, ben)
    core.receive(ana, Update(Writer(1).type("a")[0]), 0)
    with core.doc.transaction():
        core.doc.get("map", type=Map)["half"] = "done"
        assert not core.tick(0, 0)
        assert core.collect(0, 0) is None
        assert ben.ticks == [] and not core.idle
    assert core.tick(0, 0)
    assert [tick.sole for tick in ben.ticks] == [None, ana]
    assert everything(applied(ben.heard)) == everything(core.doc)


def test_a_client_can_join_while_a_transaction_is_open(ana):
    core = room(ana)
    with core.doc.transaction():
        core.doc.get("map", type=Map)["half"] = "done"
        answer = core.receive(ana, SyncStep1(b"\x00"), 0)
    core.tick(0, 0)
    assert isinstance(answer, SyncStep2)
    assert everything(applied([answer.update, *ana.heard])) == everything(core.doc)


def test_the_owner_may_write_what_nobody_may_send(ana):
    """A value that vetting refuses, made by the application: it is the owner of the document."""
    core = room(ana)
    deep: Any = 1
    for _ in range(vet.MAX_DEPTH + 10):
        deep = [deep]
    core.doc.get("map", type=Map)["deep"] = deep
    give(core, ana, *Writer(1).type("still works"))
    assert core.clocks == clocks(core.doc)
    assert vet.parse_state_vector(ana.ticks[0].before()) == {}
    assert clocks(applied(ana.heard)) == clocks(core.doc)
    assert applied(ana.heard).get("map", type=Map).to_py() == {"deep": deep}


def test_an_observer_that_fails_loses_nothing(ana, ben):
    """The application's mistake comes out of the transaction: the tick is taken for a panic and done again."""
    core = room(ana, ben)
    seen = core.doc.get("text", type=Text)
    subscription = seen.observe(lambda event: seen.insert(0, "observers may not write"))
    [update] = Writer(1).type("a")
    core.receive(ana, Update(update), 0)
    with pytest.raises(Panicked) as caught:
        core.tick(0, 0)
    assert [item.update for item in caught.value.updates] == [update] and ben.ticks == []
    seen.unobserve(subscription)
    core.replica.replace(Doc())
    core.requeue(caught.value.updates)
    core.tick(0, 0)
    assert ben.rows == [(update, ana)]
    assert everything(applied(ben.heard)) == everything(core.doc)


# ---------------------------------------------------------------------- gaps (F11)


@pytest.mark.parametrize("kind", ["text", "map", "delete"])
def test_an_update_with_a_gap_waits_until_the_gap_is_filled(kind, ana, ben):
    core = room(ana, ben)
    writer = Writer(1)
    match kind:
        case "text":
            lost, after = writer.type("ab")
        case "map":  # yrs would apply it, with an event that says nothing
            writer.map["key"] = "first"
            writer.map["key"] = "second"
            lost, after = writer.made
        case _:
            [lost] = writer.type("a")
            del writer.text[0:1]
            after = writer.made[-1]
    give(core, ana, after)
    assert ben.ticks == [] and core.clocks == {} and core.doc.get_update() == vet.EMPTY
    assert ana.asked == [{}] and ben.asked == []
    assert len(core.gaps) == 1
    give(core, ben, lost)
    assert len(core.gaps) == 0
    assert sorted(row[0] for row in ben.rows) == sorted([lost, after])
    assert dict(ben.rows)[after] is ana
    assert everything(applied(ben.heard)) == everything(core.doc) == everything(writer.doc)


def test_the_sender_is_asked_for_just_what_the_room_lacks(ana, ben):
    core = room(ana, ben)
    writer = Writer(1)
    updates = writer.type("hello world")
    give(core, ana, *updates[:3])
    give(core, ana, *updates[4:])
    assert ana.asked == [{1: 3}]
    [answer] = [writer.doc.get_update(vet.state_vector(wanted)) for wanted in ana.asked]
    core.receive(ana, SyncStep2(answer), 0)
    core.tick(0, 0)
    assert len(core.gaps) == 0
    assert everything(applied(ben.heard)) == everything(core.doc) == everything(writer.doc)
    assert everything(applied(row for row, _ in ben.rows)) == everything(writer.doc)


def test_a_gap_that_closes_within_the_tick_is_nobodys_business(ana):
    core = room(ana)
    updates = Writer(1).type("abc")
    give(core, ana, *reversed(updates))
    assert ana.asked == [] and len(core.gaps) == 0
    assert text_of(core.doc) == "abc"


def test_what_fits_is_taken_the_rest_waits(ana, ben):
    """A merged update with a Skip, as Yjs makes it of what itself has waiting."""
    core = room(ana, ben)
    writer = Writer(1)
    updates = writer.type("abcdef")
    holey = merge_updates(updates[0], updates[1], updates[4])
    assert vet.parse(holey).structs == ((1, 0, 2), (1, 4, 5))
    core.receive(ana, SyncStep2(holey), 0)
    core.tick(0, 0)
    assert text_of(core.doc) == "ab" and core.clocks == {1: 2}
    assert text_of(applied(ben.heard)) == "ab"
    assert ana.asked == [{1: 2}]
    give(core, ben, updates[2], updates[3])
    assert text_of(core.doc) == text_of(applied(ben.heard)) == "abcde"
    give(core, ana, updates[5])
    assert everything(applied(row for row, _ in ben.rows)) == everything(writer.doc)


def test_a_gap_of_two_links(ana):
    core = room(ana)
    one, other = Writer(1), Writer(2)
    first = one.type("a")[0]
    other.doc.apply_update(one.doc.get_update())
    second = other.type("b")[0]
    one.doc.apply_update(other.doc.get_update())
    third = one.type("c")[0]
    give(core, ana, third)
    give(core, ana, second)
    assert len(core.gaps) == 2
    give(core, ana, first)
    assert len(core.gaps) == 0 and text_of(core.doc) == "abc"


def test_who_left_is_not_asked_but_what_they_sent_is_kept(ana, ben):
    core = room(ana, ben)
    lost, after = Writer(1).type("ab")
    core.receive(ana, Update(after), 0)
    core.leave(ana, 0)
    core.tick(0, 0)
    core.beat(100)
    assert ana.asked == [] and len(core.gaps) == 1
    give(core, ben, lost)
    assert text_of(core.doc) == "ab"
    assert dict(ben.rows)[after] is ana


def test_who_does_not_answer_is_asked_again(ana):
    core = room(ana)
    _, after, more = Writer(1).type("abc")
    give(core, ana, after, now=0)
    give(core, ana, more, now=0.1)
    assert len(ana.asked) == 1
    core.beat(ASK_SECONDS / 2)
    assert len(ana.asked) == 1
    core.beat(ASK_SECONDS)
    assert len(ana.asked) == 2
    for second in range(2, 300):
        core.beat(second)
    assert len(ana.asked) < 20


def test_never_satisfied_updates_are_bounded(ana, ben, full):
    """F12: so many client ids, each with an update whose predecessor nobody ever sends."""
    core = room(ana, ben, held_updates=100)
    count = 20_000 if full else 2_000
    [lost, honest] = Writer(1).type("ab")
    give(core, ben, honest)
    for client in range(1_000, 1_000 + count):
        give(
            core,
            ana,
            b"\x01\x01" + var_uint(client) + b"\x05\x84" + var_uint(client) + b"\x04" + var_string("x") + b"\x00",
        )
    assert len(core.gaps) == 100 and core.gaps.total == count + 1
    assert core.clocks == {} and core.doc.get_update() == vet.EMPTY and ben.ticks == []
    assert len(ana.asked) == 1
    assert core.gaps.waits(ben), "nobody drives out what others sent"
    core.beat(ASK_SECONDS)
    assert len(ben.asked) == 2
    give(core, ben, lost)
    assert text_of(core.doc) == "ab"


@pytest.mark.parametrize("at_once", [False, True])
def test_only_so_many_clients_write_in_one_document(ana, ben, monkeypatch, at_once):
    """Each costs whoever joins; those who wrote there already go on."""
    monkeypatch.setattr(vet, "MAX_CLIENTS", 3)
    core = room(ana, ben)
    core.replica.at_once = at_once
    first, second = Writer(1).type("ab")
    give(core, ana, first, *Writer(2).type("x"), *Writer(3).type("y"))
    for update in Writer(4).type("z"):
        core.receive(ben, Update(update), 0)
    core.tick(0, 0)
    assert len(core.clocks) == 3
    [error] = ben.refused
    assert isinstance(error, BadUpdate) and "more than 3 clients" in str(error)
    give(core, ana, second)
    assert core.clocks[1] == 2 and ana.refused == []


def test_what_waits_when_everybody_has_left(ana, ben):
    """Somebody may come and bring what is lacking."""
    core = room(ana, ben)
    lost, typed = Writer(1).type("ab")
    give(core, ana, typed)
    core.leave(ana, 0)
    core.leave(ben, 0)
    assert len(core.gaps) == 1 and core.gaps.bytes > len(typed)
    core.join(ben)
    give(core, ben, lost)
    assert text_of(core.doc) == "ab" and core.gaps.bytes == 0


def test_what_the_application_writes_closes_a_gap(ana):
    """Nobody sent it, so no update moved the clock that others wait for."""
    core = room(ana)
    lost, typed, other = Writer(1).type("abc")
    give(core, ana, typed)
    assert len(core.gaps) == 1
    core.doc.apply_update(lost)
    core.tick(0, 0)
    give(core, ana, *Writer(2).type("x"))
    assert len(core.gaps) == 0
    give(core, ana, other)
    assert "abc" in text_of(core.doc)


def test_a_character_whose_first_half_is_known(ana, ben):
    """Who wrote it has cut it in two since: the halves are U+FFFD, as in Yjs, and nothing beside them is lost."""
    core = room(ana, ben)
    give(core, ana, update_of("a"))
    core.receive(ana, Update(update_of("😀b")), 0)
    core.receive(ben, Update(Writer(1).type("fine")[0]), 0)
    core.tick(0, 0)
    assert ana.refused == ben.refused == [] and len(core.gaps) == 0 and ana.asked == []
    assert core.clocks == clocks(core.doc) == {7: 3, 1: 1}
    assert everything(applied(ben.heard)) == everything(core.doc)


def update_of(words: str) -> bytes:
    """The beginning of what client 7 typed."""
    return b"\x01\x01\x07\x00\x04\x01\x04text" + var_string(words) + b"\x00"


# ---------------------------------------------------------------------- who may, and what is answered


@pytest.mark.parametrize(("message", "of_garbage"), [(Update, Forbidden), (SyncStep2, BadUpdate)])
def test_a_reader_changes_nothing(message, of_garbage):
    """A step 2 has to be looked at, as it may say nothing new; an update from here is not even read."""
    reader = Somebody(may_write=False)
    core = room(reader)
    [update] = Writer(1).type("a")
    with pytest.raises(Forbidden):
        core.receive(reader, message(update), 0)
    with pytest.raises(of_garbage):
        core.receive(reader, message(b"garbage"), 0)
    assert core.receive(reader, message(vet.EMPTY), 0) is None
    core.tick(0, 0)
    assert core.idle and core.doc.get_update() == vet.EMPTY


def test_a_reader_may_repeat_what_it_was_told(ana):
    """The answer to the room's question, of one who may only read and has read all of it, deletions too."""
    reader = Somebody(may_write=False)
    core = room(ana, reader)
    writer = Writer(1)
    writer.type("abc")
    del writer.text[0:1]
    give(core, ana, writer.doc.get_update())
    ticks = len(ana.ticks)
    receipt = Told()
    assert core.receive(reader, SyncStep2(writer.doc.get_update()), 0, receipt) is None
    core.tick(0, 0)
    assert receipt.heard == ["settled"] and len(ana.ticks) == ticks and not reader.refused
    del writer.text[0:1]
    with pytest.raises(Forbidden):
        core.receive(reader, SyncStep2(writer.doc.get_update()), 0, receipt)
    assert core.idle


def test_a_reader_may_ask_and_be_seen(ana):
    reader = Somebody(may_write=False)
    core = room(ana, reader)
    give(core, ana, *Writer(1).type("abc"))
    answer = core.receive(reader, SyncStep1(b"\x00"), 0)
    assert isinstance(answer, SyncStep2) and text_of(applied([answer.update])) == "abc"
    core.receive(reader, Awareness(b"\x01\x07\x01\x02{}"), 0)
    core.tick(0, 0)
    assert ana.ticks[-1].presence == b"\x01\x07\x01\x02{}"


@pytest.mark.parametrize(
    "message",
    [
        Update(b""),
        Update(bytes.fromhex("01011401000000")),
        SyncStep2(b"\x00"),
        SyncStep1(b""),
        SyncStep1(b"\xff" * 11),
        Awareness(b"\x01"),
        Denied("no"),
    ],
)
def test_malformed_messages_change_nothing(message, ana):
    core = room(ana)
    with pytest.raises(BadMessage):
        core.receive(ana, message, 0)
    core.tick(0, 0)
    assert core.idle and ana.ticks == [] and core.doc.get_update() == vet.EMPTY


def test_an_update_that_yrs_refuses_is_its_senders_fault_alone(ana, ben):
    """JSON that is none, in an embed: vetting does not look into it, yrs does."""
    core = room(ana, ben)
    bad = b"\x01\x01\x07\x00\x05\x01\x04text" + var_string("{nope") + b"\x00"
    core.receive(ana, Update(bad), 0)
    core.receive(ben, Update(Writer(1).type("a")[0]), 0)
    core.tick(0, 0)
    assert [type(error) for error in ana.refused] == [BadUpdate] and ben.refused == []
    assert [sender for _, sender in ben.rows] == [ben]
    assert core.clocks == clocks(core.doc) == {1: 1}


@given(seed=SEEDS)
@settings(max_examples=20, deadline=None)
def test_sync_step_1_is_answered_with_the_difference(seed):
    editors = Editors(seed, steps=25)
    core, peer = room(), Somebody()
    for update in editors.updates:
        core.receive(peer, Update(update), 0)
    core.tick(0, 0)
    for doc in editors.docs:
        answer = core.receive(peer, SyncStep1(doc.get_state()), 0)
        assert isinstance(answer, SyncStep2)
        doc.apply_update(answer.update)
        assert everything(doc) == everything(core.doc)


def test_who_asks_for_everything_is_answered_from_a_cache(ana):
    core = room(ana)
    writer = Writer(1)
    give(core, ana, *writer.type("abc"))
    first = core.difference(b"\x00")
    assert core.difference(b"\x00") is first
    give(core, ana, *writer.type("d"))
    assert text_of(applied([core.difference(b"\x00")])) == "abcd"
    core.replica.replace(applied([first]))
    assert text_of(applied([core.difference(b"\x00")])) == "abc"


# ---------------------------------------------------------------------- presence


def test_presence_is_told_once_per_tick_and_only_the_newest(ana, ben):
    core = room(ana, ben)
    for clock in range(1, 6):
        core.receive(ana, Awareness(b"\x01\x07" + var_uint(clock) + var_string(f"[{clock}]")), 0)
    core.receive(ben, Awareness(b"\x01\x07\x03\x03[3]"), 0)  # an echo
    core.tick(0, 0)
    [tick] = ben.ticks
    assert (tick.presence, list(tick.ids), tick.merged) == (b"\x01\x07\x05\x03[5]", [7], ())
    core.receive(ben, Awareness(tick.presence), 0)
    core.tick(0, 0)
    assert ben.ticks == [tick]


def test_an_edit_and_a_cursor_are_one_tick(ana, ben):
    core = room(ana, ben)
    core.receive(ana, Awareness(b"\x01\x07\x01\x02{}"), 0)
    give(core, ana, *Writer(1).type("a"))
    [tick] = ben.ticks
    assert tick.presence and tick.merged


def test_who_leaves_is_seen_to_leave(ana, ben):
    core = room(ana, ben)
    core.receive(ana, Awareness(b"\x01\x07\x01\x02{}"), 0)
    core.tick(0, 0)
    core.leave(ana, 1)
    core.leave(ana, 1)
    core.tick(1, 0)
    assert ben.ticks[-1].presence == b"\x01\x07\x01\x04null"
    assert len(ana.ticks) == 1 and len(ben.ticks) == 2
    assert core.receive(ben, QueryAwareness(), 1) == Awareness(b"\x00")


def test_what_was_sent_before_leaving_counts(ana, ben):
    core = room(ana, ben)
    [update] = Writer(1).type("a")
    core.receive(ana, Update(update), 0)
    core.leave(ana, 0)
    core.tick(0, 0)
    assert ben.rows == [(update, ana)]
    assert ana.ticks == []


def test_who_does_not_renew_is_forgotten_at_the_beat(ana, ben):
    core = room(ana, ben, presence=Presence(forget_seconds=5))
    core.receive(ana, Awareness(b"\x01\x07\x01\x02{}"), 0)
    core.tick(0, 0)
    core.beat(4)
    assert core.idle
    core.beat(6)
    core.tick(6, 0)
    assert list(ben.ticks[-1].ids) == [7] and core.presence.ids() == []


def test_everybody_is_asked_for_is_everybody_who_is_here(ana, ben):
    core = room(ana, ben)
    core.receive(ana, Awareness(b"\x01\x07\x01\x02{}"), 0)
    core.receive(ben, Awareness(b"\x01\x08\x01\x02{}"), 0)
    assert core.receive(ana, QueryAwareness(), 0) == Awareness(b"\x02\x07\x01\x02{}\x08\x01\x02{}")


# ---------------------------------------------------------------------- panics


def panicking(core: RoomCore, monkeypatch: pytest.MonkeyPatch, poison: bytes, error: BaseException) -> None:
    """The room's document fails when it is given `poison`."""
    real = core.doc.apply_update

    def apply_update(update: bytes) -> None:
        if update == poison:
            raise error
        real(update)

    monkeypatch.setattr(core.doc, "apply_update", apply_update)


@pytest.mark.parametrize("error", [PanicException("unwrap"), RuntimeError("block parent")])
def test_a_panic_names_all_that_the_tick_was_about(error, ana, ben, monkeypatch):
    core = room(ana, ben)
    good, poison, later = Writer(1).type("abc")
    panicking(core, monkeypatch, poison, error)
    core.receive(ana, Update(good), 0)
    core.receive(ben, Update(poison), 0)
    core.receive(ana, Update(later), 0)
    with pytest.raises(Panicked) as caught:
        core.tick(0, 0)
    assert [item.update for item in caught.value.updates] == [good, poison, later]
    assert caught.value.cause == type(error).__name__
    assert ana.ticks == ben.ticks == [] and ana.refused == ben.refused == []


def test_after_a_panic_the_room_goes_on_with_a_new_document(ana, ben, monkeypatch):
    core = room(ana, ben)
    writer = Writer(1)
    give(core, ana, *writer.type("saved "))
    saved = core.doc.get_update()
    good, poison = writer.type("ab")
    panicking(core, monkeypatch, poison, PanicException())
    core.receive(ana, Update(good), 0)
    core.receive(ben, Update(poison), 0)
    with pytest.raises(Panicked) as caught:
        core.tick(0, 0)
    core.receive(ana, Awareness(b"\x01\x07\x01\x02{}"), 0)
    [more] = Writer(2).type("meanwhile")[:1]
    core.receive(ben, Update(more), 0)
    core.replica.replace(applied([saved]))
    core.requeue([item for item in caught.value.updates if item.update != poison])
    assert not core.idle
    core.tick(1, 0)
    assert [update for update, _ in ben.rows][-2:] == [good, more]  # in the order in which they came
    assert core.clocks == clocks(core.doc)
    assert sorted(text_of(core.doc)) == sorted("saved am")
    assert everything(applied(ben.heard)) == everything(core.doc)


def test_what_the_application_wrote_is_told_before_a_panic(ana, monkeypatch):
    core = room(ana)
    [poison] = Writer(1).type("a")
    befores: list[bytes] = []
    ana.on_take = lambda tick: befores.append(tick.before())
    core.doc.get("text", type=Text).insert(0, "mine")
    panicking(core, monkeypatch, poison, PanicException())
    core.receive(ana, Update(poison), 0)
    with pytest.raises(Panicked):
        core.tick(0, 0)
    assert text_of(applied(ana.heard)) == "mine"
    assert befores == [b"\x00"]


def test_what_had_waited_is_not_lost_in_a_panic(ana, ben, monkeypatch):
    """A held update that this tick let in is held nowhere else any more."""
    core = room(ana, ben)
    lost, after, poison = Writer(1).type("abc")
    give(core, ana, after)
    core.leave(ana, 0)
    panicking(core, monkeypatch, poison, PanicException())
    core.receive(ben, Update(lost), 0)
    core.receive(ben, Update(poison), 0)
    with pytest.raises(Panicked) as caught:
        core.tick(0, 0)
    assert {item.update for item in caught.value.updates} == {lost, poison, after}
    core.replica.replace(Doc())
    core.requeue([item for item in caught.value.updates if item.update != poison])
    core.tick(0, 0)
    assert text_of(core.doc) == "ab" and dict(ben.rows)[after] is ana


def test_a_panic_at_the_end_of_the_transaction(ana, monkeypatch):
    core = room(ana)
    updates = Writer(1).type("ab")
    monkeypatch.setattr(core.doc, "get_state", lambda: (_ for _ in ()).throw(PanicException()))
    monkeypatch.setattr(core.replica, "as_foreseen", lambda news, begun: False)
    for update in updates:
        core.receive(ana, Update(update), 0)
    with pytest.raises(Panicked) as caught:
        core.tick(0, 0)
    assert [item.update for item in caught.value.updates] == updates


@pytest.mark.parametrize("signal", [KeyboardInterrupt(), SystemExit(1)])
def test_whoever_stops_the_program_is_let_through(signal, ana, monkeypatch):
    core = room(ana)
    [update] = Writer(1).type("a")
    panicking(core, monkeypatch, update, signal)
    core.receive(ana, Update(update), 0)
    with pytest.raises(type(signal)):
        core.tick(0, 0)


def test_a_difference_that_panics(ana, monkeypatch):
    core = room(ana)
    monkeypatch.setattr(core.doc, "get_update", lambda state=None: (_ for _ in ()).throw(PanicException()))
    for vector in (b"\x00", b"\x01\x07\x01"):
        with pytest.raises(CollabError, match="PanicException"):
            core.receive(ana, SyncStep1(vector), 0)


def test_requeued_updates_come_before_newer_ones(ana, ben):
    core = room(ana, ben)
    first, second = Writer(1).type("ab")
    core.receive(ana, Update(second), 0)
    core.requeue([Incoming(first, vet.parse(first), ana)])
    core.tick(0, 0)
    assert [update for update, _ in ben.rows] == [first, second]


def test_a_closed_room_hears_nothing_of_its_document(ana):
    core = room(ana)
    doc = core.doc
    core.close()
    core.close()
    doc.get("text", type=Text).insert(0, "x")
    assert core.idle


# ---------------------------------------------------------------------- characters cut in two


def test_a_character_cut_in_two_in_one_tick(ana, ben):
    """yrs cannot write down half of an emoji: its event is malformed. Then everybody gets what came in."""
    core = room(ana, ben)
    inserted = bytes.fromhex("01010700040104746578740661f09f98806200")  # "a😀b" of client 7
    halved = bytes.fromhex("000107010201")  # its clock 2 to 3: the second half of the emoji
    give(core, ana, inserted, halved)
    assert ben.heard == [inserted, halved] and ben.rows == [(inserted, ana), (halved, ana)]
    assert core.clocks == {7: 4}


# ---------------------------------------------------------------------- everything at once


@given(seed=SEEDS)
@settings(max_examples=60, deadline=None)
def test_nothing_is_lost_whatever_the_order(seed):
    """Three editors; any order, duplicates, step 2s, holes, edits of the application; split into ticks anyhow.

    Who listened, who joined late, and whoever reads the journal have what the room has: all of it.
    """
    dice = random.Random(seed)
    editors = Editors(seed, steps=40)
    peers = [Somebody("0"), Somebody("1"), Somebody("2")]
    journal = Somebody("journal", backstage=True)
    core = room(*peers, journal)
    joined: list[tuple[bytes, int]] = []
    known: list[dict[int, int]] = [{}]

    def check(tick: Tick) -> None:
        if len(known) == 1:  # the first tick of this turn
            assert vet.parse_state_vector(tick.before()) == known[0]
        known.append({})

    journal.on_take = check
    arriving = [(edit.author, edit.update) for edit in editors.edits]
    arriving += [(dice.randrange(3), update) for update in dice.choices(editors.updates, k=8)]
    arriving += [
        (dice.randrange(3), merge_updates(*dice.sample(editors.updates, min(4, len(editors.edits))))) for _ in range(4)
    ]
    arriving += [(author, editors.docs[author].get_update()) for author in range(3)]
    if dice.random() < 0.7:
        dice.shuffle(arriving)
    own: list[bytes] = []
    core.doc.observe(lambda event: own.append(event.update) if not core.replica.applying else None)
    while arriving:
        for _ in range(min(len(arriving), dice.randint(1, 7))):
            author, update = arriving.pop(0)
            core.receive(peers[author], dice.choice((Update, SyncStep2))(update), 0)
        if dice.random() < 0.15:
            core.doc.get("array", type=Array).append("by the application")
        if dice.random() < 0.1:
            vector = dice.choice(editors.docs).get_state() if dice.random() < 0.5 else b"\x00"
            answer = core.receive(peers[0], SyncStep1(vector), 0)
            assert isinstance(answer, SyncStep2)
            if vector == b"\x00":
                joined.append((answer.update, len(peers[0].ticks)))
        known[:] = [dict(core.clocks)]
        assert core.tick(0, 0)
        assert core.clocks == clocks(core.doc)
    assert len(core.gaps) == 0 and not any(peer.refused for peer in peers)
    whole = everything(applied([*editors.updates, *own]))
    assert everything(core.doc) == whole
    assert everything(applied(peers[0].heard)) == whole
    assert everything(applied(row for row, _ in journal.rows)) == whole
    assert everything(applied([core.doc.get_update()])) == whole
    for state, ticks in joined:
        late = [update for tick in peers[0].ticks[ticks:] for update in tick.merged]
        assert everything(applied([state, *late])) == whole


@given(seed=SEEDS)
@settings(max_examples=30, deadline=None)
def test_whoever_sent_it_is_named(seed):
    """Each row that is not the application's was really sent by the peer it is ascribed to, or says less than that."""
    editors = Editors(seed, steps=30)
    dice = random.Random(seed)
    peers = [Somebody(str(number)) for number in range(3)]
    core = room(*peers)
    for edit in editors.edits:
        core.receive(peers[edit.author], Update(edit.update), 0)
        if dice.random() < 0.4:
            core.tick(0, 0)
    core.tick(0, 0)
    for update, sender in peers[0].rows:
        assert sender is not None
        wrote = editors.docs[peers.index(sender)].client_id
        assert {client for client, _, _ in vet.parse(update).structs} <= {wrote}
