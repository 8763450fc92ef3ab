"""What is sent of odd fields, of errors and of exceptions; what the sender says of itself; a bounded end."""

from __future__ import annotations

import logging
import time

import pytest

from collab.log import get_logger
from collab.telemetry import otlp
from collab.telemetry.otlp import Outlet
from tests.support.collector import Collector
from tests.support.server import free_port

log = get_logger("collab.test")


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch):
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    monkeypatch.setenv("OTEL_BLRP_SCHEDULE_DELAY", "50")
    collab = logging.getLogger("collab")
    level = collab.level
    collab.setLevel(logging.INFO)
    yield
    collab.setLevel(level)
    theirs = logging.getLogger("opentelemetry")
    assert theirs.propagate and not theirs.handlers
    assert not [one for one in logging.getLogger().handlers if type(one).__module__ == otlp.__name__]


@pytest.fixture
def collector(monkeypatch):
    with Collector() as running:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", running.url)
        yield running


def test_fields(collector):
    outlet = Outlet(["logs"], "1.2")
    log.info(
        "room opened",
        room="a\ud800b",  # as no store can have it, and protobuf refuses
        large=2**70,
        rows=[1, 2],
        details={"of": None, "to": {"deep": True}},
        token="abc",
        update=b"abcd",
        seconds=0.5,
    )
    outlet.close()
    (one,) = collector.logs
    assert (one.name, one.scope, one.severity) == ("room opened", "collab.test", "info")
    assert one.fields == {
        "room": "a\\ud800b",
        "large": str(2**70),
        "rows": [1, 2],
        "details": {"of": None, "to": {"deep": True}},
        "update": "<4 bytes>",
        "seconds": 0.5,
    }
    assert one.resource["service.version"] == "1.2" and abs(one.nanoseconds / 1e9 - time.time()) < 30


def test_tracebacks_and_other_loggers(collector):
    outlet = Outlet(["logs"], "1")
    try:
        raise ValueError("a reason")
    except ValueError:
        log.exception("request failed")
        logging.getLogger("somebody.else").exception("theirs %d", 3)
    logging.getLogger("urllib3.connectionpool").warning("what sends says something")
    outlet.close()
    assert [one.name for one in collector.logs] == ["request failed", "theirs 3"]
    for one in collector.logs:
        assert "ValueError: a reason" in one.fields["exception.stacktrace"] and one.severity == "error"


def test_the_text_of_an_error_is_not_in_a_span(collector):
    outlet = Outlet(["traces"], "1")
    with pytest.raises(ValueError, match="what somebody typed"):
        with outlet.span("room.open", {"room": "a\ud800"}, server=False) as span:
            span.set(rows=2**70)
            raise ValueError("what somebody typed")
    with outlet.span("GET", {}, server=True) as span:
        span.answered("GET", "", 0)
    with outlet.span("GET", {}, server=True) as span:
        span.answered("GET", "/api/v1/rooms", 503)
    outlet.close()
    opened, nowhere, failed = collector.spans
    assert opened.failed
    assert opened.fields == {"collab.room": "a\\ud800", "collab.rows": str(2**70), "error.type": "ValueError"}
    assert nowhere.name == "GET" and nowhere.fields == {"http.request.method": "GET"} and not nowhere.failed
    assert failed.failed and failed.name == "GET /api/v1/rooms" and failed.fields["error.type"] == "503"
    assert b"what somebody typed" not in b"".join(collector.raw)


def test_a_child_knows_its_parent(collector):
    outlet = Outlet(["traces", "logs"], "1")
    with outlet.span("a", {}, server=True), outlet.span("b", {}, server=False):
        log.info("inside")
    outlet.close()
    inner, outer = collector.spans
    assert inner.parent == outer.span and inner.trace == outer.trace and not outer.parent
    assert (collector.logs[0].trace, collector.logs[0].span) == (inner.trace, inner.span)


def test_sampling_is_theirs(collector, monkeypatch):
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    outlet = Outlet(["traces"], "1")
    with outlet.span("a", {}, server=False) as span:
        span.set(rows=1)
    outlet.close()
    assert not collector.spans


@pytest.mark.parametrize("silent", [False, True], ids=["refuses", "says nothing"])
def test_the_end_is_bounded(monkeypatch, collector, silent):
    if silent:
        collector.patient.clear()
    else:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    outlet = Outlet(["traces", "logs"], "1")
    with outlet.span("a", {}, server=False):
        log.info("said")
    time.sleep(0.3)  # it is being sent
    began = time.monotonic()
    outlet.close(0.5)
    assert time.monotonic() - began < 0.5 + otlp.LEAVE_SECONDS + 0.5


def test_a_full_queue_drops_and_says_so_once(monkeypatch, collector, caplog):
    monkeypatch.setenv("OTEL_BLRP_MAX_QUEUE_SIZE", "8")
    monkeypatch.setenv("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", "4")
    collector.patient.clear()
    outlet = Outlet(["logs"], "1")
    began = time.monotonic()
    for number in range(1_000):
        log.info("said", number=number)
    assert time.monotonic() - began < 5
    collector.patient.set()
    outlet.close()
    assert len(collector.logs) <= 8 + 4 and collector.logs[-1].fields["number"] == 999
    told = [one for one in caplog.records if isinstance(one.msg, dict) and one.msg["event"] == "telemetry dropped"]
    assert len(told) == 1


def test_a_key_in_an_address_is_not_told(monkeypatch, caplog):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"http://127.0.0.1:{free_port()}/v1?key=secretkey")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "2")
    outlet = Outlet(["traces"], "1")
    with outlet.span("a", {}, server=False):
        pass
    time.sleep(0.3)
    outlet.close(3.0)
    (told,) = [one for one in caplog.records if isinstance(one.msg, dict)]
    assert told.msg["event"] == "telemetry not sent" and "refused" in told.msg["error"]
    assert "secretkey" not in caplog.text
