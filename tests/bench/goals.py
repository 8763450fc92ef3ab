"""What was to be shown, and whether it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .plan import Figures

Results = dict[str, dict[str, Figures]]
"""Workload, server, figures."""

PEERS = ("hocuspocus", "hocuspocus-sqlite", "y-websocket", "pycrdt-websocket")


@dataclass(frozen=True)
class Goal:
    """A ratio or a figure of ours, and what it may at most (or must at least) be.

    Attributes:
        at_most: Whether less is better.
        figure: Finds it; None when something of it was not measured.
    """

    workload: str
    text: str
    goal: float
    at_most: bool
    figure: Callable[[Results], float | None]
    unit: str = "x"

    def reached(self, results: Results) -> bool | None:
        value = self.figure(results)
        if value is None:
            return None
        return value <= self.goal if self.at_most else value >= self.goal


def _of(results: Results, workload: str, kind: str, name: str) -> float | None:
    return results.get(workload, {}).get(kind, {}).get(name)


def ours(workload: str, name: str) -> Callable[[Results], float | None]:
    return lambda results: _of(results, workload, "ours", name)


def against(workload: str, name: str, *kinds: str, best: Callable[..., float] = max) -> Callable[[Results], float | None]:  # fmt: skip  # noqa: E501
    """Ours divided by the best of these."""

    def ratio(results: Results) -> float | None:
        mine = _of(results, workload, "ours", name)
        theirs = [value for kind in kinds if (value := _of(results, workload, kind, name)) is not None]
        if mine is None or not theirs or not best(theirs):
            return None
        return mine / best(theirs)

    return ratio


def _delivered(results: Results) -> float | None:
    found = [
        value
        for kinds in results.values()
        for name, value in kinds.get("ours", {}).items()
        if name in ("delivered", "whole", "whole_again", "newest_everywhere", "exact")
    ]
    return min(found, default=None)


GOALS = (
    Goal("all", "edits that ours delivered, of those expected", 1, False, _delivered, ""),
    Goal("W1", "p99 at 2,000 edits/s, of Hocuspocus", 1 / 5, True, against("W1", "p99_ms", "hocuspocus")),
    Goal("W1", "saturation, of Hocuspocus", 3, False, against("W1", "saturation_per_s", "hocuspocus")),
    Goal("W1", "saturation, of y-websocket", 10, False, against("W1", "saturation_per_s", "y-websocket")),
    Goal("W1", "saturation, of pycrdt-websocket", 40, False, against("W1", "saturation_per_s", "pycrdt-websocket")),
    Goal("W2", "p99 at 10,000 edits/s, of Hocuspocus", 1 / 20, True, against("W2", "p99_ms", "hocuspocus")),
    Goal("W2", "p99 at 10,000 edits/s, of y-websocket", 1 / 10, True, against("W2", "p99_ms", "y-websocket")),
    Goal("W2", "saturation, of the best peer", 3, False, against("W2", "saturation_per_s", *PEERS)),
    Goal("W2b", "saturation in 1,000 rooms, of the best peer", 3, False, against("W2b", "saturation_per_s", *PEERS)),
    Goal("W3", "time of the storm, of the best peer", 1 / 10, True, against("W3", "seconds", *PEERS, best=min)),
    Goal("W4", "p99, of Hocuspocus", 1 / 3, True, against("W4", "p99_ms", "hocuspocus")),
    Goal("W4", "CPU, of Hocuspocus", 1 / 3, True, against("W4", "cpu", "hocuspocus")),
    Goal("W5", "per idle connection", 27, True, ours("W5", "KB_per_connection"), "KB"),
    Goal("W6", "durable edits a second", 20_000, False, ours("W6", "acks_per_s"), "/s"),
    Goal("W6", "p99 of acknowledgements at 80 % of saturation", 25, True, ours("W6", "ack_p99_ms"), "ms"),
    Goal("W7", "opening 100,000 uncompacted rows", 1, True, ours("W7", "open_s"), "s"),
    Goal("W7", "opening them compacted", 0.1, True, ours("W7", "compacted_open_s"), "s"),
    Goal("W7", "p99 of other rooms meanwhile, of idle", 2, True, ours("W7", "others_ratio")),
    Goal("W8", "p99 beside a slow reader, of without", 2, True, ours("W8", "ratio")),
    Goal("W8", "memory for the slow reader", 8, True, ours("W8", "memory_MB"), "MB"),
)
