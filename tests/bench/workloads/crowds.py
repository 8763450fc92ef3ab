"""W3: a storm of newcomers. W4: moving cursors. W5: idle memory. W8: one who does not read."""

from __future__ import annotations

import time

from tests.support.raw import var_bytes

from ..client import Broken, Client, now
from ..documents import patchwork
from ..load import Level, run
from ..plan import Figures, Plan, attempt
from ..pump import Pump
from ..servers import Kind, Running
from ..wire import frame

STORM_SECONDS = 90.0
IDLE_RECEIVE_BUFFER = 4_096


def fill(server: Running, pump: Pump, room: str, size: int) -> int:
    """Put a document of `size` bytes into a room, and see that it is there; how many marks it has.

    Whoever wrote it stays: a server without storage forgets a room that is empty.
    """
    update, marks = patchwork(size)
    (writer,) = server.clients(pump, [room], typing=0)
    pump.join([writer])
    writer.send(frame(writer.address + b"\x00\x02" + var_bytes(update)))
    deadline = now() + 60
    while now() < deadline:
        (reader,) = server.clients(pump, [room], typing=0)
        pump.join([reader], within=60)
        whole = reader.marks >= marks
        reader.close()
        if whole:
            return marks
        pump.wait(lambda: False, 0.2)
    raise Broken(f"a document of {size:,} bytes is not served whole")


def w3(plan: Plan, kind: Kind) -> Figures:
    """300 clients enter a room with a document of 2 MB (and, in the long form, 500 one of 1 MB), all at once."""

    def storm(server: Running, people: int, size: int) -> tuple[float, float]:
        room = f"storm-{size}"
        with server.pump() as pump:
            marks = fill(server, pump, room, size)
            clients = server.clients(pump, [room] * people, typing=0)
            began = now()
            try:
                pump.join(clients, at_once=people, within=STORM_SECONDS, together=True)
            except Broken as error:
                plan.say(f"  W3 {kind.name}: {error}")
            whole = [client for client in clients if client.first_sync and client.marks >= marks]
            if len(whole) < people:
                plan.say(f"  W3 {kind.name}: only {len(whole)} of {people} have the whole document")
            last = max((client.first_sync for client in whole), default=began)
            return (last - began if len(whole) == people else STORM_SECONDS), len(whole) / people

    def measure() -> Figures:
        with plan.running(kind) as server:
            people, size = (50, 500_000) if plan.quick else (300, 2_000_000)
            seconds, whole = storm(server, people, size)
            figures = {"seconds": seconds, "whole": whole}
        if not plan.quick and seconds < STORM_SECONDS / 3:
            with plan.running(kind) as server:
                figures["seconds_500_on_1_MB"], _ = storm(server, 500, 1_000_000)
        return figures

    return plan.repeat("W3", kind, measure, runs=1 if kind.name == "pycrdt-websocket" else None)


def w4(plan: Plan, kind: Kind) -> Figures:
    """100 clients in one room, each moving a cursor 10 times a second."""

    def measure() -> Figures:
        with plan.running(kind) as server, server.pump() as pump:
            clients = server.clients(pump, ["presence"] * 100)
            pump.join(clients)

            def level(rate: float) -> Level:
                return run(pump, clients, rate, 2 * plan.seconds, moves=True, cpu=server.cpu)

            found = attempt(plan, "W4", kind, level, 1_000)
            if found is None:
                return {}
            last = run(pump, clients, 100, 1.0, warm=0, moves=True)  # one each, so none may be replaced by a newer
            return {
                "p50_ms": found.p50, "p99_ms": found.p99, "cpu": found.cpu, "arrived": found.arrived,
                "newest_everywhere": last.arrived,
            }  # fmt: skip

    return plan.repeat("W4", kind, measure)


def w5(plan: Plan, kind: Kind) -> Figures:
    """2,000 connections that say nothing, and 1,000 rooms: resident memory of each."""
    connections, rooms = (400, 200) if plan.quick else (2_000, 1_000)

    def settled(server: Running) -> int:
        time.sleep(0.5 if plan.quick else 1.5)
        return server.memory()

    def measure() -> Figures:
        with plan.running(kind) as server:
            shared = [f"idle-{number}" for number in range(10)]
            with server.pump() as pump:  # what is needed once, whoever comes
                pump.join(server.clients(pump, [*shared, *shared, *(f"warm-{i}" for i in range(100))], typing=0))
            with server.pump() as pump:
                pump.join(server.clients(pump, shared, typing=0))
                before = settled(server)
                many = [shared[number % len(shared)] for number in range(connections)]
                pump.join(server.clients(pump, many, typing=0), within=60)
                between = settled(server)
                pump.join(server.clients(pump, [f"room-{number}" for number in range(rooms)], typing=0), within=60)
                after = settled(server)
                alive = sum(not client.closed for client in pump.clients.values())
            each = (between - before) / connections
            return {
                "KB_per_connection": each / 1000, "KB_per_room": (after - between) / rooms / 1000 - each / 1000,
                "MB_all": after / 1e6, "alive": alive / (len(shared) + connections + rooms),
            }  # fmt: skip

    return plan.repeat("W5", kind, measure)


def w8(plan: Plan, kind: Kind) -> Figures:
    """50 in a room, ten of them typing 500 edits of 2 KB a second; then one of the 50 stops reading."""
    seconds = 2.0 if plan.quick else 6.0

    def part(slow: bool) -> Figures:
        with plan.running(kind) as server, server.pump() as pump:
            clients = server.clients(pump, ["slow"] * 49, typing=10, pad=2_000)
            sleeper = Client(
                pump, "slow", kind.dialect, clients[0].token, receive_buffer=IDLE_RECEIVE_BUFFER if slow else 0
            )
            pump.join([*clients, sleeper])
            before = server.memory()
            if slow:
                pump.ignore(sleeper)

            def level(rate: float) -> Level:
                return run(pump, clients[:10], rate, seconds, watch=clients, cpu=server.cpu)

            found = attempt(plan, f"W8 {'with' if slow else 'without'} the slow one,", kind, level, 500)
            if found is None:
                raise Broken("it broke down")
            figures = {"p99": found.p99, "grown": float(server.memory() - before), "caught_up": 0.0}
            if slow and not sleeper.closed:
                began = now()
                pump.listen(sleeper)
                figures["whole"] = float(pump.wait(lambda: sleeper.closed or sleeper.others >= found.sent, 20))
                figures["caught_up"] = now() - began
            figures["cut_off"] = float(sleeper.closed)
            return figures

    def measure() -> Figures:
        without, beside = part(False), part(True)
        figures = {
            "p99_without_ms": without["p99"], "p99_beside_ms": beside["p99"], "ratio": beside["p99"] / without["p99"],
            "memory_MB": (beside["grown"] - without["grown"]) / 1e6, "cut_off": beside["cut_off"],
        }  # fmt: skip
        if "whole" in beside:
            figures["whole_again"], figures["caught_up_s"] = beside["whole"], beside["caught_up"]
        return figures

    return plan.repeat("W8", kind, measure)
