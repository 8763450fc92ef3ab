"""How much a client may send, and what is kept of it: reading is paused before anything is refused."""

from __future__ import annotations

from collections.abc import Callable

from collab.errors import CollabError, TooMany
from collab.intake import Intake
from collab.limits import Lobby, Pace
from collab.metrics import Metrics
from collab.settings import Settings


class Client:
    """A socket and a clock that write down what they are told."""

    def __init__(self, *, pace: Pace | None = None, lobby: Lobby | None = None, **limits: object) -> None:
        self.paused = False
        self.distrusted = False
        self.refusals: list[CollabError] = []
        self.later: list[tuple[float, Callable[[], None]]] = []
        self.metrics = Metrics()
        settings = Settings(limits=limits).limits
        visitor = None if lobby is None else lobby.visitor(0.0)
        self.intake = Intake(
            self,  # type: ignore[arg-type]
            settings,
            self.metrics,
            self.refusals.append,
            lambda seconds, call: self.later.append((seconds, call)),
            visitor=visitor,
            pace=pace,
        )

    def pause(self) -> None:
        self.paused = True

    def distrust(self) -> None:
        self.distrusted = True

    def resume(self) -> None:
        self.paused = False


def test_who_sends_too_fast_is_read_more_slowly_and_then_refused():
    client = Client(pace=Pace((10, 10), (1000, 1000), 2.0, 0.0))
    for _ in range(15):
        client.intake.take(1, 0.0)
    assert client.paused and not client.refusals
    ((seconds, go_on),) = client.later
    assert 0 < seconds <= 0.5
    client.intake.kept(0, 0)
    assert client.paused  # what waited for a room does not make up for the pace
    go_on()
    assert not client.paused
    for _ in range(30):
        client.intake.take(1, 0.0)
    assert isinstance(client.refusals[0], TooMany)
    assert client.metrics.limited["messages_per_second"]._value.get() == len(client.refusals)


def test_held_until_the_last_one_lets_go():
    client = Client()
    client.intake.hold()
    client.intake.hold()
    client.intake.let_go()
    client.intake.kept(0, 0)
    assert client.paused and client.intake.held == 1
    client.intake.let_go()
    assert not client.paused


def test_letting_go_does_not_make_up_for_the_pace():
    client = Client(pace=Pace((10, 10), (1000, 1000), 2.0, 0.0))
    for _ in range(15):
        client.intake.take(1, 0.0)
    client.intake.hold()
    [(_, go_on)] = client.later
    go_on()
    assert client.paused, "held"
    client.intake.take(20, 0.0)
    client.intake.let_go()
    assert client.paused, "too fast"


def test_a_stopped_client_is_not_read_on():
    client = Client(pace=Pace((1, 1), (1000, 1000), 9.0, 0.0))
    client.intake.take(1, 0.0)
    client.intake.take(1, 0.0)
    client.intake.stopped = True
    client.later[0][1]()
    assert client.paused


def test_before_access_messages_are_bounded_and_after_it_reading_pauses():
    client = Client(unauthenticated_messages=3, waiting_bytes=100)
    for _ in range(3):
        client.intake.keep(1, may_pause=True)
    assert not client.refusals and not client.paused
    client.intake.admitted()
    client.intake.keep(60, may_pause=False)
    assert not client.paused
    client.intake.keep(1, may_pause=True)
    assert client.paused and not client.refusals
    client.intake.kept(5, 64)
    assert not client.paused and not client.intake.flooded
    client.intake.keep(200, may_pause=True)
    assert client.paused and not client.refusals, "one message may be longer"
    client.intake.keep(100, may_pause=True)
    assert not client.refusals, "and what was on its way behind it"
    client.intake.keep(10, may_pause=True)
    assert len(client.refusals) == 1


def test_a_flood_before_access_is_called_one():
    client = Client(unauthenticated_messages=2)
    for _ in range(3):
        client.intake.keep(1, may_pause=True)
    assert client.intake.flooded and len(client.refusals) == 1


def test_all_clients_without_access_share_a_bound():
    lobby = Lobby(100, messages=1000, bytes=1000, documents=10, seconds=10.0)
    one, other = Client(lobby=lobby), Client(lobby=lobby)
    one.intake.keep(80, may_pause=True)
    other.intake.keep(80, may_pause=True)
    assert not one.refusals and other.refusals and other.metrics.limited["unauthenticated"]._value.get() == 1
    other.intake.leave()
    one.intake.admitted()
    third = Client(lobby=lobby)
    third.intake.keep(80, may_pause=True)
    assert not third.refusals
    assert third.intake.deadline(3.0) == 10.0 and one.intake.deadline(3.0) == 13.0


def test_unfinished_messages_count_until_access_is_granted():
    lobby = Lobby(1000, messages=1000, bytes=100, documents=10, seconds=10.0)
    client, friend = Client(lobby=lobby), Client(lobby=lobby)
    assert client.intake.unfinished(100) and not client.refusals and lobby.held == 100
    client.intake.unfinished(101)
    assert client.refusals and client.intake.flooded and lobby.held == 0
    assert friend.intake.unfinished(90)
    friend.intake.admitted()
    assert lobby.held == 0 and not friend.intake.unfinished(5000), "of friends nobody wants to know"
    assert not friend.refusals and not Client().intake.unfinished(5000)


def test_what_is_unfinished_of_a_refused_client_is_not_held():
    lobby = Lobby(1000, messages=1000, bytes=100, documents=10, seconds=10.0)
    client = Client(lobby=lobby)
    client.intake.unfinished(100)
    client.intake.stop()
    assert lobby.held == 0 and client.distrusted and not client.intake.unfinished(50)
