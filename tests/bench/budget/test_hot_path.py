"""What the hot path costs, in units of a loop that runs on the same machine at the same time.

No quiet machine is needed: both are measured in turns, and the fastest of each counts. A budget is three times what was
measured when it was set, so it does not fail by chance; what becomes that much slower was made slower.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from collab.metrics import Metrics
from collab.outlet import Dialect
from collab.room import RoomCore
from collab.seat import Seat
from collab.wire import vet, yjs
from collab.wire.hocuspocus import Hocuspocus
from collab.wire.messages import SyncStep1, SyncStep2
from tests.bench.wire import Author
from tests.support.raw import var_bytes

METRICS = Metrics()
ROUNDS = 7
EDITS = 300


def unit() -> float:
    """Seconds for one turn of plain Python: a dict, some bytes, a call."""
    table: dict[int, bytes] = {}
    began = time.perf_counter()
    for number in range(20_000):
        table[number & 255] = b"%d" % number
        len(table.get(number >> 1 & 255, b""))
    return (time.perf_counter() - began) / 20_000


def costs(made: Callable[[], Callable[[], int]]) -> float:
    """What one of many costs, in units.

    Args:
        made: Prepares, and returns what is to be measured; that returns how many it did.
    """
    units, times = [], []
    for _ in range(ROUNDS):
        call = made()
        units.append(unit())
        began = time.perf_counter()
        count = call()
        times.append((time.perf_counter() - began) / count)
    return min(times) / min(units)


class Outlet:
    """A socket that writes everything at once."""

    buffered = 0

    def __init__(self) -> None:
        self.frames = 0

    def send(self, frame: bytes) -> None:
        self.frames += 1

    def expect(self, size: int) -> None: ...


class AtOnce:
    """A journal that has committed whatever it is asked about."""

    accepted = 0

    def when(self, position: int, call: Callable[[bool], None]) -> None:
        call(True)


def fail(error: Exception) -> None:
    raise error


def seat(core: RoomCore, dialect: Dialect = yjs, ledger: AtOnce | None = None) -> tuple[Seat, Outlet]:
    outlet = Outlet()
    made = Seat(core, dialect, outlet, outbox_bytes=1 << 20, metrics=METRICS, trouble=fail, now=0, ledger=ledger)
    made.enter()
    made.hear(SyncStep1(b"\x00"), 0)
    made.hear(SyncStep2(vet.EMPTY), 0)  # it has nothing, and no question open
    core.tick(0, 0)
    outlet.frames = 0
    return made, outlet


def said(seat: Seat, dialect: Dialect, frame: bytes) -> None:
    """A keystroke comes in on the short road, as nine of ten messages do."""
    update = dialect.typed(frame)
    assert update is not None and seat.type(update, lambda: 0.0)


def typed(seats: int, per_tick: int = 1) -> Callable[[], Callable[[], int]]:
    """One writes, the others are told."""

    def make() -> Callable[[], int]:
        core = RoomCore("room")
        writer, _ = seat(core)
        others = [seat(core)[1] for _ in range(seats)]
        author = Author(1)
        frames = [b"\x00\x02" + var_bytes(author.edit()) for _ in range(EDITS)]

        def call() -> int:
            for at in range(0, EDITS, per_tick):
                for frame in frames[at : at + per_tick]:
                    said(writer, yjs, frame)
                core.tick(0, 0)
            assert all(outlet.frames >= EDITS // per_tick for outlet in others)
            return EDITS

        return call

    return make


def vetted() -> Callable[[], int]:
    author = Author(1)
    updates = [author.edit() for _ in range(EDITS)]

    def call() -> int:
        for update in updates:
            vet.parse(update)
        return EDITS

    return call


def acknowledged() -> Callable[[], int]:
    core = RoomCore("room")
    writer, outlet = seat(core, Hocuspocus("room"), AtOnce())
    author = Author(1, b"\x04room")
    frames = [b"\x04room\x00\x02" + var_bytes(author.edit()) for _ in range(EDITS)]
    dialect = Hocuspocus("room")

    def call() -> int:
        before = outlet.frames
        for frame in frames:
            said(writer, dialect, frame)
            core.tick(0, 0)
        assert outlet.frames - before >= EDITS
        return EDITS

    return call


BUDGETS = {
    "vetting a keystroke": 35,
    "a keystroke, received and applied": 200,
    "a keystroke of 30 in one tick": 175,
    "telling one seat of a tick": 13,
    "a keystroke, received, applied and acknowledged": 230,
}


def measured(what: str) -> float:
    match what:
        case "vetting a keystroke":
            return costs(vetted)
        case "a keystroke, received and applied":
            return costs(typed(0))
        case "a keystroke of 30 in one tick":
            return costs(typed(0, 30))
        case "telling one seat of a tick":
            return (costs(typed(100)) - costs(typed(0))) / 100
        case _:
            return costs(acknowledged)


@pytest.mark.parametrize("what", BUDGETS)
def test_the_hot_path_keeps_its_budget(what, figure):
    found = measured(what)
    figure(f"{what}: {found:.1f} units, of {BUDGETS[what]:.0f} allowed")
    assert found <= BUDGETS[what]
