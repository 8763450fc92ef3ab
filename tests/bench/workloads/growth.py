"""How our cost grows: with clients per room, with rooms, with the document, with its history."""

from __future__ import annotations

from collections.abc import Iterable

from ..load import Level, run
from ..plan import Figures, Plan, attempt
from ..servers import Kind, Running
from ..wire import HOCUSPOCUS
from .crowds import fill
from .stored import NEVER_COMPACT, TYPISTS, UNLIMITED, copy_store, opened, write_log

# A point of a curve is called "figure@x".


def typed(plan: Plan, name: str, server: Running, rooms: list[str], typing: int | None, rate: float) -> Figures:
    """What one edit costs the server there, in microseconds of CPU, and the latency."""
    with server.pump() as pump:
        clients = server.clients(pump, rooms, typing=typing)
        pump.join(clients)
        typists = [client for client in clients if client.author]

        def level(rate: float) -> Level:
            return run(pump, typists, rate, plan.seconds, cpu=server.cpu)

        found = attempt(plan, name, server.kind, level, rate)
    if found is None or found.missing:
        return {}
    return {"us_per_edit": found.cpu * 1e6 / found.reached, "p99_ms": found.p99}


def curve(points: Iterable[tuple[float, Figures]]) -> Figures:
    return {f"{name}@{x:g}": value for x, figures in points for name, value in figures.items()}


def clients(plan: Plan, kind: Kind) -> Figures:
    """Clients in one room, at 200 edits a second."""

    def point(count: int) -> Figures:
        with plan.running(kind) as server:
            figures = typed(plan, f"growth {count} clients", server, ["grow"] * count, 50, 200)
        if figures:
            figures["us_per_delivery"] = figures["us_per_edit"] / (count - 1)
        return figures

    counts = (10, 50) if plan.quick else (2, 10, 50, 100, 200, 400, 800)
    return plan.repeat("clients", kind, lambda: curve((count, point(count)) for count in counts), runs=1)


def rooms(plan: Plan, kind: Kind) -> Figures:
    """Rooms of two, at 2,000 edits a second over all."""

    def point(count: int) -> Figures:
        names = [f"grow-{number}" for number in range(count) for _ in range(2)]
        with plan.running(kind) as server:
            figures = typed(plan, f"growth {count} rooms", server, names, None, 2_000)
            if figures:
                figures["MB"] = server.memory() / 1e6
        return figures

    counts = (10, 100) if plan.quick else (10, 50, 250, 1_000, 2_000)
    return plan.repeat("rooms", kind, lambda: curve((count, point(count)) for count in counts), runs=1)


def document(plan: Plan, kind: Kind) -> Figures:
    """A document of so many KB, with ten clients who type 200 edits a second; and what it takes to enter."""

    def point(kilobytes: int) -> Figures:
        with plan.running(kind) as server:
            if kilobytes:
                with server.pump() as pump:
                    fill(server, pump, "grow", kilobytes * 1000)
            before = server.cpu()
            entered = opened(server, "grow")
            entering = server.cpu() - before
            figures = typed(plan, f"growth {kilobytes} KB", server, ["grow"] * 10, 10, 200)
            return {**figures, "enter_ms": entered * 1000, "enter_cpu_ms": entering * 1000}

    sizes = (0, 200) if plan.quick else (0, 100, 500, 1_000, 2_000, 5_000, 10_000)
    return plan.repeat("document", kind, lambda: curve((size, point(size)) for size in sizes), runs=1)


def history(plan: Plan, kind: Kind) -> Figures:
    """A log of so many rows, none of them compacted: what it takes to open the room after kill -9."""
    counts = (1_000, 5_000) if plan.quick else (1_000, 10_000, 30_000, 100_000)

    def measure() -> Figures:
        figures: Figures = {}
        with plan.running(kind, {**NEVER_COMPACT, **UNLIMITED}) as source:
            written = 0
            for round_, rows in enumerate(counts):
                with source.pump() as pump:
                    writers = source.clients(pump, ["long"] * TYPISTS, dialect=HOCUSPOCUS, first=round_ * TYPISTS)
                    pump.join(writers)
                    write_log(pump, writers, rows - written)
                written = rows
                source.server.kill()
                reader = plan.running(kind)
                copy_store(source, reader.server.folder)
                with reader:
                    figures[f"open_s@{rows}"] = opened(reader, "long")
                source.start()
        return figures

    return plan.repeat("history", kind, measure, runs=1)
