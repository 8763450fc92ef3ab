"""What is counted comes out of `/metrics`, and nothing there is for show."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from collab import metrics as module
from collab.errors import BadUpdate, CollabError, TooMany
from collab.metrics import SECONDS, UNEXPECTED, Distribution, Metrics, Traffic

COLLAB = Path(__file__).parents[1] / "collab"


def page(metrics: Metrics) -> dict[str, float]:
    """Each series of the page and its value."""
    body, _ = metrics.render()
    lines = [line for line in body.decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def test_several_apps_in_one_process():
    one, other = Metrics(), Metrics()
    one.gaps.inc()
    assert page(one)["collab_gaps_total"] == 1
    assert page(other)["collab_gaps_total"] == 0


def test_content_type():
    assert Metrics().render()[1].startswith("text/plain")


def test_traffic():
    metrics = Metrics()
    metrics.received["update"].add(10)
    metrics.sent["awareness"].add(10, times=3)
    series = page(metrics)
    assert series['collab_messages_total{direction="received",type="update"}'] == 1
    assert series['collab_message_bytes_total{direction="received",type="update"}'] == 10
    assert series['collab_messages_total{direction="sent",type="awareness"}'] == 3
    assert series['collab_message_bytes_total{direction="sent",type="awareness"}'] == 30
    assert series['collab_messages_total{direction="sent",type="update"}'] == 0


def test_gauges():
    metrics = Metrics()
    metrics.rooms["open"].set_function(lambda: 3)
    metrics.connections["asgi"].inc()
    metrics.store_up.set(1)
    series = page(metrics)
    assert series['collab_rooms{state="open"}'] == 3
    assert series['collab_rooms{state="idle"}'] == 0
    assert series['collab_connections{transport="asgi"}'] == 1
    assert series["collab_store_up"] == 1


def test_distribution():
    metrics = Metrics()
    for value in (SECONDS[0], SECONDS[0], 0.02, 60):
        metrics.commit_seconds.observe(value)
    metrics.commit_seconds.observe(1, times=2)
    series = page(metrics)
    assert series['collab_commit_seconds_bucket{le="5e-05"}'] == 2
    assert series['collab_commit_seconds_bucket{le="0.025"}'] == 3
    assert series['collab_commit_seconds_bucket{le="1.0"}'] == 5
    assert series['collab_commit_seconds_bucket{le="10.0"}'] == 5
    assert series['collab_commit_seconds_bucket{le="+Inf"}'] == 6
    assert series["collab_commit_seconds_count"] == 6 == metrics.commit_seconds.count
    assert series["collab_commit_seconds_sum"] == pytest.approx(62.0201)


def test_errors_are_counted_by_the_nearest_class_with_a_name():
    class Local(TooMany):
        pass

    metrics = Metrics()
    for error in (BadUpdate("x"), Local("rooms", 1), ValueError("x"), KeyboardInterrupt()):
        metrics.count_error(error)
    assert {kind: int(counter._value.get()) for kind, counter in metrics.errors.items() if counter._value.get()} == {
        "BadUpdate": 1,
        "TooMany": 1,
        UNEXPECTED: 2,
    }


def test_every_close_code_of_an_error_can_be_counted():
    def codes(error: type[CollabError]) -> set[str]:
        return {str(error.close_code)}.union(*map(codes, error.__subclasses__()))

    assert codes(CollabError) <= set(Metrics().refused)


def test_version_and_process():
    series = page(Metrics(version="1.2.3"))
    assert any(name.startswith("collab_build_info{") and 'version="1.2.3"' in name for name in series)
    assert series["process_cpu_seconds_total"] > 0
    assert series["process_resident_memory_bytes"] > 0


def test_page_is_tidy():
    """No creation times, no label that could grow without bound, and every name says its unit."""
    metrics = Metrics()
    series = page(metrics)
    assert not [name for name in series if re.search(r"_created(\{|$)", name)]
    labels = {label for name in series for label in re.findall(r'(\w+)="', name) if name.startswith("collab_")}
    assert labels == {
        "transport",
        "outcome",
        "code",
        "limit",
        "kind",
        "direction",
        "type",
        "state",
        "peer",
        "le",
        "version",
        "python",
    }
    for family in metrics.registry.collect():
        assert family.documentation.endswith(".") or not family.name.startswith("collab_")
        if family.name.startswith("collab_") and family.type == "histogram":
            assert family.name.endswith(("_seconds", "_rows"))


def test_every_metric_is_moved_by_someone():
    """A metric that nobody moves says that all is quiet, always."""
    used = {
        node.attr
        for path in COLLAB.rglob("*.py")
        if path != Path(module.__file__)
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute)
    }
    assert [name for name in vars(Metrics()) if name not in used and name != "registry"] == []


def test_counting_is_cheap_enough_for_every_message():
    """No locks, no dictionaries: plain slots."""
    assert Traffic.__slots__ == ("bytes", "messages")
    assert not hasattr(Distribution((1.0,)), "__dict__")


def test_what_a_metric_is_now():
    metrics = Metrics()
    metrics.errors["BadUpdate"].inc()
    metrics.errors["BadUpdate"].inc()
    metrics.rooms["open"].set_function(lambda: 3)
    assert module.value(metrics.errors["BadUpdate"]) == 2 and module.value(metrics.errors["TooMany"]) == 0
    assert module.value(metrics.rooms["open"]) == 3 and module.value(metrics.panics) == 0
