"""The benchmark itself: it counts right, and it runs."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from pycrdt import Doc, Text

from tests.bench import goals, report
from tests.bench.client import Client
from tests.bench.documents import patchwork
from tests.bench.load import percentile
from tests.bench.wire import MARK, Author
from tests.support.server import REPO


def test_prebuilt_edits_are_what_an_editor_would_send():
    doc: Doc[Any] = Doc()
    author = Author(7)
    for _ in range(300):
        doc.apply_update(author.edit(b"more"))
    text = str(doc.get("text", type=Text))
    assert text.count(MARK.decode()) == 300
    assert text.startswith("#!~AH000000more#!~AH000001more")


def test_a_patchwork_is_whole():
    update, marks = patchwork(20_000)
    doc: Doc[Any] = Doc()
    doc.apply_update(update)
    assert str(doc.get("text", type=Text)).count(MARK.decode()) == marks > 100
    assert 15_000 < len(update) < 25_000


class Pieces:
    """A pump, as far as one client's counting knows it, and a socket that delivers in pieces."""

    def __init__(self, stream: bytes, size: int) -> None:
        self.left = [stream[at : at + size] for at in range(0, len(stream), size)]
        self.buffer = bytearray(1 << 16)
        view = memoryview(self.buffer)
        self.views = [view[at:] for at in range(64)]
        self.weights = 0

    def recv_into(self, view: memoryview) -> int:
        piece = self.left.pop(0)
        view[: len(piece)] = piece
        return len(piece)

    def sample(self, client: Client, buffer: bytearray, keep: int, end: int, weight: int) -> None:
        self.weights += weight


@pytest.mark.parametrize("size", range(1, 40))
def test_edits_are_counted_once_wherever_the_stream_is_cut(size):
    mine, other = Author(1), Author(2)
    stream = b"".join((other if number % 3 else mine).edit() for number in range(30))
    pump = Pieces(stream, size)
    client: Any = Client.__new__(Client)  # without a connection
    client.pump, client.recv_into = pump, pump.recv_into
    client.tag, client.ack, client.keep, client.carry = MARK + mine.tag, b"", 4, bytearray(4)
    client.own = client.others = client.received = 0
    while pump.left:
        client.count()
    assert (client.own, client.others, client.received) == (10, 20, len(stream))


def test_percentiles_have_weights():
    assert percentile([(1.0, 98), (50.0, 1), (9.0, 1)], 0.5) == 1.0
    assert percentile([(1.0, 98), (50.0, 1), (9.0, 1)], 0.99) == 9.0
    assert percentile([], 0.99) == float("inf")


def test_goals_are_judged_by_what_was_found():
    results = {"W1": {"ours": {"p99_ms": 2.0, "delivered": 1.0}, "hocuspocus": {"p99_ms": 20.0}}}
    verdicts = {goal.text: goal.reached(results) for goal in goals.GOALS if goal.workload in ("W1", "all")}
    assert verdicts["p99 at 2,000 edits/s, of Hocuspocus"] is True
    assert verdicts["saturation, of Hocuspocus"] is None
    results["W1"]["ours"] = {"p99_ms": 5.0, "delivered": 0.99}
    verdicts = {goal.text: goal.reached(results) for goal in goals.GOALS if goal.workload in ("W1", "all")}
    assert verdicts["p99 at 2,000 edits/s, of Hocuspocus"] is False
    assert verdicts["edits that ours delivered, of those expected"] is False
    assert "**no**" in report.goals_table(results)


def test_it_runs(tmp_path):
    command = [sys.executable, "-m", "tests.bench", "--only", "W1", "--peers", "ours", "--rate", "100"]
    subprocess.run([*command, "--seconds", "0.5", "--out", str(tmp_path)], cwd=REPO, check=True, timeout=60)
    figures = json.loads((tmp_path / "results.json").read_text())["results"]["W1"]["ours"]
    assert figures["delivered"] == 1
    assert figures["rate_per_s"] > 50
    assert "W1" in (tmp_path / "results.md").read_text()
