"""Runs the workloads against the servers, and writes down what came out."""

from __future__ import annotations

import argparse
import os

from .load import more_files
from .plan import Figures, Plan
from .servers import KINDS, cores
from .workloads import typing

WORKLOADS = {"W1": typing.w1, "W2": typing.w2, "W2b": typing.w2b, "W6": typing.w6}


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--only", help="workloads, by commas: W1,W2")
    parser.add_argument("--peers", help=f"servers, by commas: {','.join(KINDS)}")
    parser.add_argument("--quick", action="store_true", help="about three minutes, to see that all works")
    parser.add_argument("--runs", type=int, help="how often each is repeated")
    parser.add_argument("--rate", type=float, help="this one rate (edits a second) instead of the search, once")
    parser.add_argument("--seconds", type=float, help="how long one rate is measured")
    parser.add_argument("--profile", metavar="COMMAND", help="run beside each of our servers; {pid} is filled in")
    options = parser.parse_args(argv)
    plan = Plan(quick=options.quick, runs=options.runs or (1 if options.quick or options.rate else 3))
    plan.rate, plan.profile = options.rate, options.profile
    plan.seconds = options.seconds or (1.0 if plan.quick else 2.5)
    if options.peers:
        plan.peers = options.peers.split(",")
    only = options.only.split(",") if options.only else list(WORKLOADS)
    more_files()
    os.sched_setaffinity(0, {cores()[1]})
    results: dict[str, dict[str, Figures]] = {}
    for name in only:
        for peer in plan.peers:
            kind = KINDS[peer]
            results.setdefault(name, {})[peer] = WORKLOADS[name](plan, kind)
    print(results)
