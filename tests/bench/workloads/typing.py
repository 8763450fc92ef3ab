"""W1: many in one room. W2: many rooms of two. W6: durable acknowledgements."""

from __future__ import annotations

from collections.abc import Callable

from ..client import Broken
from ..load import Level, run
from ..plan import Figures, Plan, attempt, search
from ..servers import Kind, Running
from ..wire import HOCUSPOCUS, Dialect


def one_level(
    plan: Plan, server: Running, rooms: list[str], rate: float, *, typing: int | None, dialect: Dialect | None = None,
    acks: bool = False,
) -> Level:  # fmt: skip
    """Fresh clients in these rooms, one rate, and away with them."""
    with server.pump() as pump:
        clients = server.clients(pump, rooms, typing=typing, dialect=dialect)
        pump.join(clients)
        typists = [client for client in clients if client.author]
        return run(pump, typists, rate, plan.seconds, acks=acks, cpu=server.cpu)


class Fresh:
    """A server that is replaced once a level has overloaded it: what it still owes must not weigh on the next."""

    def __init__(self, plan: Plan, kind: Kind) -> None:
        self.plan = plan
        self.kind = kind
        self._server: Running | None = None
        self._levels = 0

    def __enter__(self) -> Fresh:
        return self

    def __exit__(self, *_: object) -> None:
        self.drop()

    def drop(self) -> None:
        if self._server is not None:
            self._server.__exit__()
            self._server = None

    def level(
        self, rate: float, prefix: str, rooms: int, each: int, typing: int | None, *, dialect: Dialect | None = None,
        acks: bool = False, repeat: bool = False,
    ) -> Level:  # fmt: skip
        """One rate in rooms that were never used before."""
        if self._server is None:
            self._server = self.plan.running(self.kind)
            self._server.start()
        self._levels += 1
        names = [f"{prefix}-{self._levels}-{number:04}" for number in range(rooms) for _ in range(each)]
        passed = False
        try:
            level = one_level(self.plan, self._server, names, rate, typing=typing, dialect=dialect, acks=acks)
            passed = level.passes()
            return level
        finally:
            if not passed:
                self.drop()


def one_rate(plan: Plan, name: str, kind: Kind, level: Callable[[float], Level]) -> Figures:
    """The rate that was asked for, whether it holds or not: no saturation comes of it."""
    assert plan.rate is not None
    found = attempt(plan, name, kind, level, plan.rate)
    if found is None:
        raise Broken(f"it broke down at {plan.rate:,.0f}/s")
    figures = {"rate_per_s": found.reached, "p50_ms": found.p50, "p99_ms": found.p99, "cpu": found.cpu}
    figures["delivered"] = found.arrived
    if found.ack_p99 is not None:
        figures["ack_p99_ms"], figures["acked"] = found.ack_p99, 1 - found.unacked / max(found.sent, 1)
    return figures


def w1(plan: Plan, kind: Kind) -> Figures:
    """One room, 100 clients, 50 of them typing: latency at 2,000 edits a second, and where it ends."""

    def measure() -> Figures:
        with Fresh(plan, kind) as fresh:
            figures: Figures = {}

            def level(rate: float) -> Level:
                return fresh.level(rate, "w1", 1, 100, 50)

            fixed = None if plan.rate else attempt(plan, "W1", kind, level, 2_000)
            if fixed is not None:
                figures["p50_ms"], figures["p99_ms"], figures["cpu"] = fixed.p50, fixed.p99, fixed.cpu
                figures["delivered"] = fixed.arrived
            if plan.rate:
                return one_rate(plan, "W1", kind, level)
            rate, best = search(plan, "W1", kind, level)
            figures["saturation_per_s"] = rate
            if best is not None:
                figures["deliveries_per_s"], figures["saturation_p99_ms"] = rate * 99, best.p99
            return figures

    return plan.repeat("W1", kind, measure)


def rooms_of_two(plan: Plan, kind: Kind, name: str, rooms: int) -> Figures:
    """Rooms of two who both type: latency at 10,000 edits a second, and where it ends."""

    def measure() -> Figures:
        with Fresh(plan, kind) as fresh:
            figures: Figures = {}

            def level(rate: float) -> Level:
                return fresh.level(rate, name.lower(), rooms, 2, None)

            fixed = None if plan.rate else attempt(plan, name, kind, level, 10_000)
            if fixed is not None:
                figures["p50_ms"], figures["p99_ms"], figures["cpu"] = fixed.p50, fixed.p99, fixed.cpu
                figures["delivered"] = fixed.arrived
            if plan.rate:
                return one_rate(plan, name, kind, level)
            figures["saturation_per_s"], best = search(plan, name, kind, level)
            if best is not None:
                figures["saturation_p99_ms"] = best.p99
            return figures

    return plan.repeat(name, kind, measure)


def w2(plan: Plan, kind: Kind) -> Figures:
    """250 rooms of two."""
    return rooms_of_two(plan, kind, "W2", 250)


def w2b(plan: Plan, kind: Kind) -> Figures:
    """1,000 rooms of two."""
    return rooms_of_two(plan, kind, "W2b", 1_000)


def w6(plan: Plan, kind: Kind) -> Figures:
    """250 rooms of two, in Hocuspocus' dialect: acknowledged edits a second; ours mean committed, the peers' heard."""

    if not (kind.ours or kind.dialect is HOCUSPOCUS):
        return {}  # it acknowledges nothing

    def measure() -> Figures:
        with Fresh(plan, kind) as fresh:

            def level(rate: float) -> Level:
                return fresh.level(rate, "w6", 250, 2, None, dialect=HOCUSPOCUS, acks=True)

            figures: Figures = {}
            at_20k = None if plan.rate or plan.quick else attempt(plan, "W6", kind, level, 20_000)
            if at_20k is not None and at_20k.ack_p99 is not None:
                figures["ack_p99_ms_at_20_000"] = at_20k.ack_p99
            if plan.rate:
                return one_rate(plan, "W6", kind, level)
            rate, best = search(plan, "W6", kind, level)
            figures["acks_per_s"] = rate
            if best is not None:
                figures["saturation_ack_p99_ms"] = best.ack_p99 or 0
                below = attempt(plan, "W6", kind, level, 0.8 * rate)
                if below is not None:
                    figures["ack_p50_ms"], figures["ack_p99_ms"] = below.ack_p50 or 0, below.ack_p99 or 0
                    figures["p99_ms"] = below.p99
            return figures

    return plan.repeat("W6", kind, measure)
