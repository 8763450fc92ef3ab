"""Runs the workloads against the servers, and writes down what came out."""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.server import REPO

from . import machine, report
from .goals import Results
from .plan import Figures, Plan
from .pump import more_files
from .servers import KINDS, Kind, cores
from .workloads import crowds, growth, stored, traces, typing

Workload = Callable[[Plan, Kind], Figures]

COMPARED: dict[str, Workload] = {
    "W1": typing.w1, "W2": typing.w2, "W2b": typing.w2b, "W3": crowds.w3, "W4": crowds.w4, "W5": crowds.w5,
    "W6": typing.w6, "W8": crowds.w8, "W9": traces.w9, "W10": traces.w10,
}  # fmt: skip
OURS_ALONE: dict[str, Workload] = {
    "W7": stored.w7, "clients": growth.clients, "rooms": growth.rooms, "document": growth.document,
    "history": growth.history,
}  # fmt: skip
WORKLOADS = COMPARED | OURS_ALONE
GROUPS = {"growth": ["clients", "rooms", "document", "history"]}
CEILING = ("W1", "W2", "W2b")
"""Where the generator's own limit is measured, too."""
QUICK = ("W1", "W2", "W3", "W5", "W6", "W7", "W8", "W10", "clients")

RESULTS = REPO / "docs" / "benchmarks"
SCRATCH = REPO / "build" / "bench"


def measure(plan: Plan, names: list[str], failed: list[str]) -> Results:
    """Every workload against every server that takes part in it, one workload after the other.

    Args:
        failed: Takes the names of those that the benchmark itself broke down in; the others go on.
    """
    results: Results = {}
    for name in names:
        for peer in plan.peers:
            kind = KINDS[peer]
            if (name in OURS_ALONE and not kind.ours) or (peer == "fanout" and name not in CEILING):
                continue
            if why := kind.missing():
                plan.say(f"{name} {peer}: {why}")
                continue
            try:
                figures = WORKLOADS[name](plan, kind)
            except Exception:
                plan.say(f"{name} {peer}: {traceback.format_exc()}")
                failed.append(f"{name} {peer}")
                continue
            if figures:
                results.setdefault(name, {})[peer] = figures
    return results


def options(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument(
        "--only", metavar="NAMES", help=f"workloads, by commas: {','.join(WORKLOADS)}; growth is the last four"
    )
    parser.add_argument("--peers", metavar="NAMES", help=f"servers, by commas: {','.join(KINDS)}")
    parser.add_argument("--quick", action="store_true", help="some minutes, to see that all works; no figures to quote")
    parser.add_argument("--runs", type=int, help="how often each is repeated (3); medians are taken")
    parser.add_argument("--rate", type=float, help="W1, W2, W6: this one rate (edits a second), once")
    parser.add_argument("--seconds", type=float, help="how long one rate is measured (2.5)")
    parser.add_argument("--profile", metavar="COMMAND", help="run beside each of our servers; {pid} is filled in")
    parser.add_argument("--add", action="store_true", help="keep the other workloads that the folder has results of")
    parser.add_argument("--out", type=Path, help="folder for the results (docs/benchmarks, or build/bench for a part)")
    chosen = parser.parse_args(argv)
    for given, known in ((chosen.only, [*WORKLOADS, *GROUPS]), (chosen.peers, KINDS)):
        for name in given.split(",") if given else ():
            if name not in known:
                parser.error(f"there is no {name!r}; there are {', '.join(known)}")
    return chosen


def main(argv: list[str]) -> Results:
    """Measure, print, write."""
    chosen = options(argv)
    part = bool(chosen.only or chosen.peers or chosen.quick or chosen.rate)
    plan = Plan(
        quick=chosen.quick, runs=chosen.runs or (1 if chosen.quick or chosen.rate else 3), rate=chosen.rate,
        seconds=chosen.seconds or (1.0 if chosen.quick else 2.5), profile=chosen.profile,
        peers=chosen.peers.split(",") if chosen.peers else list(KINDS),
    )  # fmt: skip
    names = chosen.only.split(",") if chosen.only else list(QUICK if plan.quick else WORKLOADS)
    names = [one for name in names for one in GROUPS.get(name, [name])]
    more_files()
    described = machine.describe()
    if described["load_before"] > 0.5:
        plan.say(f"the machine is not quiet (load {described['load_before']}): take the figures with care")
    os.sched_setaffinity(0, {cores()[1]})
    failed: list[str] = []
    folder = chosen.out or (SCRATCH if part and not chosen.add else RESULTS)
    results = report.read(folder) if chosen.add else {}
    for name in names:  # written down after each: who breaks off keeps what there is
        results |= measure(plan, [name], failed)
        how: dict[str, Any] = {
            "quick": plan.quick,
            "rate": plan.rate,
            "runs": plan.runs,
            "seconds": plan.seconds,
            "minutes": round((time.monotonic() - plan.began) / 60, 1),
        }
        report.write({known: results[known] for known in WORKLOADS if known in results}, described, how, folder)
    print(report.page(results, described, how))
    print(f"written to {folder}", file=sys.stderr)
    if failed:
        sys.exit(f"the benchmark itself failed in {', '.join(failed)}")
    return results
