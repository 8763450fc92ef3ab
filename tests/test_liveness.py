"""Who is there, who has gone, who takes nothing: on a clock that a test moves."""

from __future__ import annotations

import pytest

from collab.liveness import Liveness
from collab.log import get_logger
from collab.metrics import Metrics
from collab.room import RoomCore
from collab.seat import Seat
from collab.settings import Settings
from collab.wire import yjs


class Wire:
    """A socket that writes down what it is told; what it took is on its way until it is `written`."""

    def __init__(self) -> None:
        self.sent: list[tuple[float, bytes]] = []
        self.buffered = self.written = 0
        self.aborted_at: float | None = None
        self.now = 0.0
        self.paused = False
        self.hears_pongs = False
        self.pings: list[float] = []

    def send(self, frame: bytes) -> None:
        self.sent.append((self.now, frame))

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def close(self, code: int, reason: str) -> None:
        raise AssertionError("a client that has gone hears no goodbye")

    def distrust(self) -> None:
        raise AssertionError("a client that has gone is sent away by nobody")

    def ping(self) -> bool:
        if self.hears_pongs:
            self.pings.append(self.now)
        return self.hears_pongs

    def abort(self) -> None:
        self.aborted_at = self.now


class Client:
    """One client with a seat. Times: asked after 15 s, cut after 42, something to hear after 20, stalled after 30."""

    def __init__(self) -> None:
        self.socket = Wire()
        self.metrics = Metrics()
        core = RoomCore("room")
        self.seat = Seat(core, yjs, self, outbox_bytes=1000, metrics=self.metrics, trouble=lambda error: None, now=0.0)
        settings = Settings(
            liveness={"probe_seconds": 15, "silent_seconds": 42, "keepalive_seconds": 20},
            limits={"stalled_seconds": 30},
        )
        self.liveness = Liveness(self.socket, settings, self.metrics, get_logger(__name__), self.send, 0.0)

    @property
    def buffered(self) -> int:
        return self.socket.buffered

    def send(self, frame: bytes) -> None:
        self.liveness.spoke = True
        self.socket.send(frame)

    def expect(self, size: int) -> None: ...

    def live(self, seconds: int, *, says: bool = False) -> None:
        """A beat each second; with `says` the client says something each second, too."""
        for _ in range(seconds):
            if self.socket.aborted_at is not None:
                return
            self.socket.now += 1
            if says:
                self.liveness.heard(self.socket.now)
            self.liveness.check([self.seat], self.socket.now)


@pytest.fixture
def client() -> Client:
    return Client()


def test_one_that_says_nothing_is_asked_twice_and_cut(client):
    client.live(100)
    assert [(at, frame[:2]) for at, frame in client.socket.sent] == [(16, b"\x03"), (31, b"\x00\x00")]
    assert client.socket.aborted_at == 43


def test_one_that_knows_pings_is_pinged(client):
    client.liveness.pings = True
    client.live(100)
    assert client.socket.sent == [(16, b"\x09"), (31, b"\x09")]
    assert client.metrics.sent["ping"].messages == 2


def test_an_answer_begins_it_anew(client):
    client.live(40)
    client.liveness.heard(40.0)
    client.socket.sent.clear()
    client.live(100)
    assert [at for at, frame in client.socket.sent if frame[:1] != b"\x01"] == [56, 71]
    assert client.socket.aborted_at == 83


@pytest.mark.parametrize(("pings", "sign"), [(False, b"\x01\x01\x00"), (True, b"\x09")])
def test_one_that_is_not_told_anything_hears_something(client, pings, sign):
    client.liveness.pings = pings
    client.live(65, says=True)
    assert client.socket.sent == [(21, sign), (42, sign), (63, sign)]


def test_one_that_is_told_something_needs_no_sign(client):
    for _ in range(10):
        client.live(19, says=True)
        client.liveness.spoke = True
    assert client.socket.sent == []


def test_one_that_takes_nothing_is_cut_though_it_talks(client):
    client.live(50, says=True)
    client.socket.buffered = 10
    client.live(100, says=True)
    assert client.socket.aborted_at == 81
    assert client.metrics.errors["SlowPeer"]._value.get() == 1
    assert client.metrics.refused["1013"]._value.get() == 1


def test_one_that_takes_a_little_is_not(client):
    client.socket.buffered = 10
    for _ in range(10):
        client.live(29, says=True)
        client.socket.written += 1
    assert client.socket.aborted_at is None


def test_who_had_to_wait_for_the_room_is_not_blamed_for_it(client):
    client.socket.now = 1000.0
    client.socket.buffered = 10
    client.liveness.seated(1000.0)
    client.live(14)
    assert [frame for _, frame in client.socket.sent] == [
        yjs.encode(yjs.NOTHING_NEW)
    ] and client.socket.aborted_at is None


def test_seats_beat(client):
    """What was left lying is given: the seat tells a client that never asked."""
    client.seat.enter()
    client.live(5, says=True)
    assert client.seat._live


def test_where_pongs_are_heard_one_that_does_not_answer_is_cut(client):
    """It is asked by pings alone; what its own 30 s watch wants to hear comes all the same."""
    client.socket.hears_pongs = True
    client.live(60)
    assert client.socket.pings == [16, 31]
    assert client.socket.aborted_at == 43
    assert [at for at, _ in client.socket.sent] == [21, 42]


def test_a_pong_is_a_sign_of_life(client):
    client.socket.hears_pongs = True
    for _ in range(10):
        client.live(16)
        client.liveness.heard(client.socket.now)
    assert len(client.socket.pings) == 10 and client.socket.aborted_at is None
