"""One rate of edits by many clients: what is sent, and whether and when all of it arrives."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from .client import Client, now
from .pump import Pump

GIVE_UP_SECONDS = 3.0
"""A level is given up when an edit took so long."""


@dataclass
class Level:
    """What came of one rate of edits.

    Times are in milliseconds, rates per second.
    """

    rate: float
    sent: int = 0
    expected: int = 0
    missing: int = 0
    repeats: int = 0
    p50: float = float("inf")
    p99: float = float("inf")
    ack_p50: float | None = None
    ack_p99: float | None = None
    unacked: int = 0
    late_ms: float = 0.0
    """How far behind its schedule the generator was, at its 99th percentile."""
    cut_off: int = 0
    gave_up: bool = False
    cpu: float = 0.0
    """Of one core, by the server."""
    deliveries: float = 0.0
    reached: float = 0.0
    """Edits a second that were really sent."""
    arrived: float = 1.0
    """Which part of what was expected."""

    def passes(self, limit_ms: float = 100.0) -> bool:
        """Everything arrived (and was acknowledged), soon enough, and the generator kept its own schedule."""
        whole = self.missing == 0 and self.unacked == 0 and self.cut_off == 0 and not self.gave_up
        return whole and self.p99 < limit_ms and (self.ack_p99 or 0) < limit_ms and self.reached > 0.97 * self.rate


def percentile(weighted: Iterable[tuple[float, int]], part: float) -> float:
    """Of values with weights; infinite when there are none."""
    ordered = sorted(weighted)
    wanted = part * sum(weight for _, weight in ordered)
    for value, weight in ordered:
        wanted -= weight
        if wanted <= 0:
            return value
    return float("inf")


@contextmanager
def uncollected() -> Iterator[None]:
    """No garbage collection within: with 2,000 clients one takes 40 ms, in which nothing that arrived is read."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@uncollected()
def run(
    pump: Pump, typists: Sequence[Client], rate: float, seconds: float, *, warm: float = 0.5, drain: float = 3.0,
    acks: bool = False, moves: bool = False, watch: Sequence[Client] | None = None,
    cpu: Callable[[], float] | None = None, midway: Callable[[], None] | None = None,
) -> Level:  # fmt: skip
    """Let the typists type, one after the other, so many edits a second, and count until everything has arrived.

    Args:
        rate: Edits per second, by all together.
        seconds: How long is measured, after `warm` seconds that count for delivery only.
        drain: Seconds after the last edit in which all must have arrived.
        acks: Whether acknowledgements are waited for, too.
        moves: Cursors instead of edits: then only the newest position has to arrive.
        watch: Who must receive; all clients by default.
        cpu: Seconds of CPU that the server has used until now.
        midway: Called when half of the edits are sent.
    """
    total = int(rate * (warm + seconds))
    queue = [typists[i % len(typists)] for i in range(total)]
    frames = [(c.author.move_frame() if moves else c.author.edit_frame()) for c in queue if c.author]
    watched = list(pump.clients.values()) if watch is None else list(watch)
    before = {client: (client.others, len(client.sent)) for client in watched}
    sent_before = {client: len(client.sent) for client in typists}
    acks_before = {client: client.acks for client in typists}
    pump.samples.clear()
    pump.ack_times.clear()
    pump.worst = 0.0
    pump.acked = 0
    level = Level(rate)
    late: list[float] = []
    turn = pump.turn
    began = now()
    measured = began + warm
    cpu_at = 0.0
    i = 0
    while i < total:
        time_now = now()
        due = min(int((time_now - began) * rate) + 1, total, i + 128)
        if due > i:
            late.append(time_now - began - i / rate)
            for at in range(i, due):
                client = queue[at]
                client.sent.append(now())
                client.send(frames[at])
            if midway is not None and i <= total // 2 < due:
                midway()
            i = due
        turn(0 if (i / rate - (now() - began)) < 0.0015 else 0.001)
        if cpu and not cpu_at and time_now >= measured:
            cpu_at, measured = cpu(), time_now
        if pump.worst > GIVE_UP_SECONDS or late[-1] > GIVE_UP_SECONDS:
            level.gave_up = True
            break
    ended = now()
    if cpu and ended > measured:
        level.cpu = (cpu() - cpu_at) / (ended - measured)
    per_room: dict[str, int] = {}
    for client in typists:
        per_room[client.room] = per_room.get(client.room, 0) + len(client.sent) - sent_before[client]
    wanted = {client: per_room.get(client.room, 0) - len(client.sent) + before[client][1] for client in watched}

    def complete() -> bool:
        if not all(client.others - before[client][0] >= wanted[client] for client in watched):
            return False
        return not acks or all(c.acks - acks_before[c] >= len(c.sent) - sent_before[c] for c in typists)

    if not level.gave_up:
        pump.wait(complete, 0.3 if moves else drain)
    got = {client: client.others - before[client][0] for client in watched}
    level.sent = i
    level.reached = i / max(ended - began, 1e-9) if i < total else i / max(ended - began, total / rate)
    level.expected = sum(wanted.values())
    level.missing = sum(max(0, wanted[client] - got[client]) for client in watched)
    level.repeats = sum(max(0, got[client] - wanted[client]) for client in watched)
    level.cut_off = sum(client.closed for client in watched)
    level.deliveries = sum(got.values()) / max(ended - began, 1e-9)
    latencies = [(latency * 1000, weight) for sent, latency, weight in pump.samples if sent >= began + warm]
    level.p50, level.p99 = percentile(latencies, 0.5), percentile(latencies, 0.99)
    if acks:
        times = [(seconds * 1000, weight) for seconds, weight in pump.ack_times]
        level.ack_p50, level.ack_p99 = percentile(times, 0.5), percentile(times, 0.99)
        level.unacked = sum(max(0, len(c.sent) - sent_before[c] - c.acks + acks_before[c]) for c in typists)
    level.late_ms = sorted(late)[int(len(late) * 0.99)] * 1000 if late else 0.0
    level.arrived = 1 - level.missing / max(level.expected, 1)
    if moves:
        level.missing = 0  # a newer one may take its place
    return level
