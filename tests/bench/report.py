"""Tables, JSON and plots of what was measured."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from .goals import GOALS, PEERS, Results
from .plan import Figures
from .servers import KINDS

ROWS = (
    ("W1", "p50_ms", "one room of 100: p50 at 2,000 edits/s, ms"),
    ("W1", "p99_ms", "p99, ms"),
    ("W1", "cpu", "server's core"),
    ("W1", "saturation_per_s", "edits/s at saturation"),
    ("W2", "p50_ms", "250 rooms of two: p50 at 10,000 edits/s, ms"),
    ("W2", "p99_ms", "p99, ms"),
    ("W2", "saturation_per_s", "edits/s at saturation"),
    ("W2b", "p99_ms", "1,000 rooms of two: p99 at 10,000 edits/s, ms"),
    ("W2b", "saturation_per_s", "edits/s at saturation"),
    ("W3", "seconds", "300 enter a room of 2 MB, s"),
    ("W3", "seconds_500_on_1_MB", "500 enter a room of 1 MB, s"),
    ("W4", "p99_ms", "100 cursors, 10 moves a second each: p99, ms"),
    ("W4", "cpu", "server's core"),
    ("W5", "KB_per_connection", "idle: KB per connection"),
    ("W5", "KB_per_room", "KB per room"),
    ("W6", "acks_per_s", "acknowledged edits/s in 250 rooms"),
    ("W6", "ack_p99_ms", "p99 of acknowledgements at 80 % of that, ms"),
    ("W7", "open_s", "open 100,000 uncompacted rows after kill -9, s"),
    ("W7", "compacted_open_s", "the same compacted, s"),
    ("W7", "large_open_s", "open a state of 10 MB, s"),
    ("W7", "others_meanwhile_p99_ms", "p99 of other rooms meanwhile, ms"),
    ("W8", "p99_without_ms", "50 in a room: p99, ms"),
    ("W8", "p99_beside_ms", "p99 beside one who does not read, ms"),
    ("W8", "memory_MB", "memory for that one, MB"),
    ("W9", "seconds", "26,078 recorded keystrokes of two, s"),
    ("W9", "server_us_per_edit", "server's CPU for one of them, us"),
    ("W10", "document_bytes_plain", "a document of 1 MB: bytes to a newcomer"),
    ("W10", "document_bytes_deflated", "compressed"),
    ("W10", "paste_bytes_plain", "a paste of 2 KB: bytes to each"),
    ("W10", "paste_bytes_deflated", "compressed"),
    ("W10", "keystroke_bytes_plain", "a keystroke: bytes to each"),
    ("W10", "keystroke_bytes_deflated", "compressed"),
)
BARS = (
    ("W1", "saturation_per_s", "one room of 100: edits/s at saturation"),
    ("W1", "p99_ms", "one room of 100: p99 at 2,000 edits/s, ms"),
    ("W2", "saturation_per_s", "250 rooms of two: edits/s at saturation"),
    ("W2", "p99_ms", "250 rooms of two: p99 at 10,000 edits/s, ms"),
    ("W3", "seconds", "300 enter a room of 2 MB, s"),
    ("W4", "cpu", "100 moving cursors: part of the server's core"),
    ("W5", "KB_per_connection", "idle: KB per connection"),
    ("W6", "acks_per_s", "acknowledged edits/s"),
)
GROWTH = {
    "clients": "clients in one room", "rooms": "rooms of two", "document": "document, KB", "history": "rows in the log",
}  # fmt: skip


def number(value: float | None) -> str:
    if value is None:
        return ""
    if math.isinf(value):
        return "none arrived"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def figures_table(results: Results) -> str:
    """Every figure of every server; behind a peer's, in brackets, ours divided by it."""
    kinds = [kind for kind in KINDS if any(kind in found for found in results.values())]
    rows = []
    for workload, name, title in ROWS:
        found = results.get(workload, {})
        mine = found.get("ours", {}).get(name)
        cells = []
        for kind in kinds:
            value = found.get(kind, {}).get(name)
            ratio = ""
            if kind in PEERS and mine is not None and value and not math.isinf(value):
                ratio = f" ({number(mine / value)})"
            cells.append(number(value) + ratio)
        if any(cells):
            rows.append([workload, title, *cells])
    return markdown(["", "", *kinds], rows)


def goals_table(results: Results) -> str:
    """What was to be shown beside what was found."""
    rows = []
    for goal in GOALS:
        value, reached = goal.figure(results), goal.reached(results)
        verdict = {True: "yes", False: "**no**", None: "not measured"}[reached]
        bound = f"{'at most' if goal.at_most else 'at least'} {number(goal.goal)} {goal.unit}".rstrip()
        rows.append(
            [goal.workload, goal.text, bound, f"{number(value)} {goal.unit}" if value is not None else "", verdict]
        )
    return markdown(["", "what", "goal", "found", "reached"], rows)


def series(figures: Figures) -> dict[str, list[tuple[float, float]]]:
    """The curves among figures: name -> points."""
    found: dict[str, list[tuple[float, float]]] = {}
    for name, value in figures.items():
        label, at, x = name.partition("@")
        if at:
            found.setdefault(label, []).append((float(x), value))
    return {label: sorted(points) for label, points in found.items()}


def growth_table(results: Results) -> str:
    parts = []
    for workload, title in GROWTH.items():
        curves = series(results.get(workload, {}).get("ours", {}))
        xs = sorted({x for points in curves.values() for x, _ in points})
        if xs:
            rows = [[number(x), *(number(dict(points).get(x)) for points in curves.values())] for x in xs]
            parts.append(markdown([title, *(name.replace("_", " ") for name in curves)], rows))
    return "\n\n".join(parts)


def page(results: Results, machine: dict[str, Any], how: dict[str, Any], pictures: Sequence[Path] = ()) -> str:
    """The page of results, with the `pictures` that lie beside it."""
    shown = {file.stem: f"\n\n![{file.stem.replace('-', ': ')}]({file.name})" for file in pictures}
    versions = ", ".join(f"{name} {found}" for name, found in machine["versions"].items())
    parts = [
        "# Results\n\nMade by `make bench`; how, and what may be held against it: [README.md](README.md).",
        f"{machine['date']}, commit {machine['commit']}. {machine['cpu']}, {machine['cores']} cores, "
        f"{machine['memory_GB']} GB, {machine['system']}, Linux {machine['kernel']}, Python {machine['python']}, "
        f"Node {machine['node']}; {versions}.\n\nServer on core {machine['server_core']}, load generator on core "
        f"{machine['generator_core']}; load before the run {machine['load_before']}; "
        + ", ".join(f"{name} {value}" for name, value in how.items()) + ".",
        "## What was to be shown\n\n"
        + (
            goals_table(results)
            if not (how["quick"] or how["rate"])
            else "A short form: sizes and rates are not those that the rows below say, and nothing is judged by it."
        ),
        "## All figures\n\nBehind a peer's figure, in brackets: ours divided by it. The column `fanout` is the load "
        "generator against a server that does nothing but pass on: what cannot be measured beyond.\n\n"
        + figures_table(results)
        + shown.pop("peers", ""),
    ]  # fmt: skip
    grown = growth_table(results)
    if grown:
        parts.append("## How our cost grows\n\n" + grown + "".join(shown.values()))
    return "\n\n".join(parts) + "\n"


def plots(results: Results, folder: Path) -> list[Path]:
    """The pictures; none without matplotlib."""
    try:
        import matplotlib
    except ImportError:
        return []
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "collab"
    import matplotlib.pyplot as plt

    written = []

    def save(name: str) -> None:
        plt.tight_layout()
        plt.savefig(folder / name, metadata={"Date": None})
        plt.close()
        written.append(folder / name)

    bars = [(workload, name, title) for workload, name, title in BARS if len(results.get(workload, {})) > 1]
    if bars:
        _, axes = plt.subplots(len(bars), 1, figsize=(8, 1.7 * len(bars)), squeeze=False)
        for axis, (workload, name, title) in zip(axes[:, 0], bars, strict=True):
            found = {kind: value for kind in KINDS if (value := results[workload].get(kind, {}).get(name)) is not None}
            found = {kind: value for kind, value in found.items() if not math.isinf(value) and kind != "fanout"}
            colors = ["#3366ff" if kind == "ours" else "#999999" for kind in found]
            drawn = axis.barh(list(found), list(found.values()), color=colors)
            axis.bar_label(drawn, labels=[number(value) for value in found.values()], padding=3)
            axis.set_title(title, loc="left", fontsize=10)
            axis.invert_yaxis()
            axis.margins(x=0.15)
        save("peers.svg")
    for workload, title in GROWTH.items():
        curves = series(results.get(workload, {}).get("ours", {}))
        if not curves:
            continue
        _, axes = plt.subplots(1, len(curves), figsize=(3.6 * len(curves), 3), squeeze=False)
        for axis, (name, points) in zip(axes[0], curves.items(), strict=True):
            axis.plot(*zip(*points, strict=True), marker="o", color="#3366ff")
            axis.set_xlabel(title)
            axis.set_title(name.replace("_", " "), fontsize=10)
            axis.set_ylim(bottom=0)
        save(f"growth-{workload}.svg")
    return written


def read(folder: Path) -> Results:
    """What an earlier run wrote into `folder`, be it nothing."""
    file = folder / "results.json"
    found: Results = json.loads(file.read_text("utf-8"))["results"] if file.exists() else {}
    return found


def write(results: Results, machine: dict[str, Any], how: dict[str, Any], folder: Path) -> None:
    """results.json, results.md and the plots."""
    folder.mkdir(parents=True, exist_ok=True)
    clean = {
        workload: {kind: {name: round(value, 6) for name, value in figures.items() if math.isfinite(value)}
                   for kind, figures in kinds.items()}
        for workload, kinds in results.items()
    }  # fmt: skip
    whole = {"machine": machine, "how": how, "results": clean}
    (folder / "results.json").write_text(json.dumps(whole, indent=1) + "\n", "utf-8")
    (folder / "results.md").write_text(page(results, machine, how, plots(results, folder)), "utf-8")
