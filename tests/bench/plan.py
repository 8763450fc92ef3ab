"""What a run is told, and what a workload gives back."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from .client import Broken, ShutOut
from .load import Level
from .servers import KINDS, Kind, Running

SHUT_OUT = 2
"""A server that so often did not even let all clients join is not asked for its limit."""

Figures = dict[str, float]
"""What one server showed in one workload: name of the figure, value. The unit is in the name: ms, s, KB, per_s."""


@dataclass
class Plan:
    """How long, how often, and how loudly.

    Attributes:
        quick: The short form: to see that all works, not for figures.
        runs: How often each is repeated; medians are taken.
        peers: Kinds of server, in this order.
        known: Limits found so far, where the next search begins: (workload, kind) -> edits per second.
        rate: The one rate to try, instead of looking for the limit; for profiling.
        seconds: How long one rate is measured.
        profile: Shell command that is started beside each server of ours, with `{pid}` filled in.
        shut_out: How often clients could not even join.
    """

    quick: bool = False
    runs: int = 3
    peers: Sequence[str] = tuple(KINDS)
    known: dict[tuple[str, str], float] = field(default_factory=dict)
    quiet: bool = False
    rate: float | None = None
    seconds: float = 2.5
    profile: str | None = None
    shut_out: int = 0
    began: float = field(default_factory=time.monotonic)

    def say(self, line: str) -> None:
        if not self.quiet:
            seconds = int(time.monotonic() - self.began)
            print(f"[{seconds // 60:2}:{seconds % 60:02}] {line}", file=sys.stderr, flush=True)

    def running(self, kind: Kind, env: dict[str, str | None] | None = None) -> Running:
        return Running(kind, env, self._started if kind.ours else None)

    def _started(self, pid: int) -> None:
        if self.profile is None:
            self.say(f"our server is process {pid}")
            return
        command = self.profile.replace("{pid}", str(pid))
        self.say(f"our server is process {pid}: {command}")
        subprocess.Popen(command, shell=True, stdin=subprocess.DEVNULL)

    def repeat(self, workload: str, kind: Kind, measure: Callable[[], Figures], *, runs: int | None = None) -> Figures:
        """The median of each figure over the runs. A server that breaks down in one has no figures for it."""
        found: list[Figures] = []
        for number in range(min(runs or self.runs, self.runs)):
            try:
                figures = measure()
            except (Broken, AssertionError, OSError) as error:
                self.say(f"{workload} {kind.name}: {type(error).__name__}: {error}"[:300])
                continue
            found.append(figures)
            shown = ", ".join(f"{name} {value:,.4g}" for name, value in figures.items())
            self.say(f"{workload} {kind.name} {number + 1}/{self.runs}: {shown}")
        names = {name: None for figures in found for name in figures}
        return {name: statistics.median([one[name] for one in found if name in one]) for name in names}


def search(
    plan: Plan, workload: str, kind: Kind, level: Callable[[float], Level], *, limit_ms: float = 100.0
) -> tuple[float, Level | None]:  # fmt: skip
    """The highest rate that still passes: rising (or falling) by factors of 1.5, then halving the gap twice.

    Args:
        level: Tries one rate, on a server that nothing weighs upon from before.

    Returns: the rate that was really reached, and its level; 0 and None when none passes.
    """
    rate = plan.known.get((workload, kind.name), kind.known.get(workload, 1_000))
    best: Level | None = None
    low, high = 0.0, 0.0
    tries = 6 if plan.quick else 12
    shut_out = plan.shut_out
    while tries and not (low and high) and plan.shut_out - shut_out < SHUT_OUT:
        tries -= 1
        found = attempt(plan, workload, kind, level, rate)
        if found is not None and found.passes(limit_ms):
            best, low = found, rate
            rate *= 1.5
        else:
            high = rate
            rate /= 1.5
    for _ in range(1 if plan.quick else 2):
        if not (low and high):
            break
        rate = (low * high) ** 0.5
        found = attempt(plan, workload, kind, level, rate)
        if found is not None and found.passes(limit_ms):
            best, low = found, rate
        else:
            high = rate
    if low:
        plan.known[workload, kind.name] = low
    return (best.reached if best else 0.0), best


def attempt(plan: Plan, workload: str, kind: Kind, level: Callable[[float], Level], rate: float) -> Level | None:
    """One level; None when the server broke down."""
    try:
        found = level(rate)
    except (Broken, AssertionError, OSError) as error:
        plan.shut_out += isinstance(error, ShutOut)
        plan.say(f"  {workload} {kind.name} {rate:,.0f}/s: {type(error).__name__}: {error}"[:200])
        return None
    ack = f", ack p99 {found.ack_p99:.1f} ms" if found.ack_p99 is not None else ""
    odd = [
        text
        for text, wrong in (
            (f"{found.missing:,} missing", found.missing),
            (f"{found.unacked:,} without acknowledgement", found.unacked),
            (f"{found.repeats:,} repeated", found.repeats),
            (f"{found.cut_off} clients cut off", found.cut_off),
            ("given up", found.gave_up),
            (f"generator {found.late_ms:.0f} ms late", found.late_ms > 5),
        )
        if wrong
    ]
    plan.say(
        f"  {workload} {kind.name} {rate:,.0f}/s: p50 {found.p50:.1f}, p99 {found.p99:.1f} ms{ack}, "
        f"server {found.cpu:.0%}{', ' if odd else ''}{', '.join(odd)}"
    )
    return found
