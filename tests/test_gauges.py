"""What is read when somebody asks is what there is then, and what the machine says."""

from __future__ import annotations

import math
import os
import shutil

import pytest
from prometheus_client.parser import text_string_to_metric_families

from collab.gauges import memory_limit, watch_machine
from collab.hub import Hub
from collab.metrics import Metrics
from collab.settings import Settings
from tests.support.server import Server


def value_of(metrics: Metrics, name: str) -> float:
    families = text_string_to_metric_families(metrics.render()[0].decode())
    return next(sample.value for family in families for sample in family.samples if sample.name == name)


def test_memory_limit_is_the_containers_or_the_machines(tmp_path):
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = tmp_path / "memory.max"
    assert memory_limit(limit) == machine
    limit.write_text("max\n")
    assert memory_limit(limit) == machine
    limit.write_text("1048576\n")
    assert memory_limit(limit) == 1 << 20


def test_disk(tmp_path):
    metrics = Metrics()
    watch_machine(metrics, tmp_path / "rooms.sqlite3")
    assert value_of(metrics, "collab_disk_bytes") == shutil.disk_usage(tmp_path).total
    assert 0 < value_of(metrics, "collab_disk_free_bytes") <= shutil.disk_usage(tmp_path).total


def test_no_disk(tmp_path):
    for path in (None, tmp_path / "gone" / "rooms.sqlite3"):
        metrics = Metrics()
        watch_machine(metrics, path)
        assert math.isnan(value_of(metrics, "collab_disk_free_bytes"))


def test_a_real_server_says_how_much_room_it_has():
    with Server(env={"COLLAB_LIMITS__CONNECTIONS": "77"}) as server:
        metrics = server.metrics()
    assert metrics.get("collab_connections_max") == 77
    assert metrics.get("collab_disk_bytes") >= metrics.get("collab_disk_free_bytes") > 0
    assert metrics.get("collab_memory_limit_bytes") > 1 << 20
    assert metrics.get("collab_last_backup_timestamp_seconds") == 0
    assert {"collab_lagging_clients", "collab_queue_bytes"} <= metrics.names()


@pytest.mark.anyio
async def test_they_follow_the_rooms():
    async with Hub(Settings(store={"url": "memory:"})) as hub:

        def value(name: str, **labels: str) -> float | None:
            return hub.metrics.registry.get_sample_value(name, labels)

        assert value("collab_rooms", state="open") == value("collab_rooms", state="idle") == 0
        opened = await hub.open("room")
        assert (value("collab_rooms", state="open"), value("collab_rooms", state="idle")) == (1, 0)
        hub.release(opened)
        assert (value("collab_rooms", state="open"), value("collab_rooms", state="idle")) == (0, 1)
        assert value("collab_store_up") == 1 and value("collab_draining") == 0
        hub.draining = True
        assert value("collab_draining") == 1
