"""What switches telemetry on, what a real server then sends, and that it never stands in the server's way."""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from urllib.parse import quote

import httpx
import pytest

from collab import telemetry
from collab.telemetry import wanted
from tests.support.collector import Collector, Received
from tests.support.server import FOREIGN, REPO, Server, free_port
from tests.support.waiting import until as until_async

TOKEN = "a token that opens the admin interface"
TEXT = "what somebody typed, and nobody else may read"
ROOM = "plans/2027 é"

# Whatever the environment of the tests says, the servers here hear of no other collector.
QUIET = {name: None for name in os.environ if name.startswith("OTEL_")}
FAST = {"OTEL_BSP_SCHEDULE_DELAY": "100", "OTEL_BLRP_SCHEDULE_DELAY": "100"}


@contextmanager
def served(**env: str) -> Iterator[Server]:
    with Server(env={**QUIET, **FAST, "COLLAB_ADMIN__TOKEN": TOKEN, **env}) as server:
        yield server


@contextmanager
def admin(server: Server) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {TOKEN}"}
    with httpx.Client(base_url=f"{server.http_url}/api/v1", headers=headers, timeout=30) as client:
        yield client


def room(rest: str = "", name: str = ROOM) -> str:
    return f"/rooms/{quote(name, safe='')}{rest}"


def until(predicate: Callable[[], object]) -> None:
    asyncio.run(until_async(predicate, "what the server sends or says", 15.0))


def put(client: httpx.Client, text: str = TEXT) -> None:
    answer = client.put(room("/document"), content=text, headers={"content-type": "text/plain"})
    assert answer.status_code < 300, answer.text


def only(found: list[Received], name: str) -> Received:
    (one,) = [one for one in found if one.name == name]
    return one


# ---------------------------------------------------------------------- the variables


@pytest.mark.parametrize(
    ("environ", "signals"),
    [
        ({}, []),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, []),
        ({"OTEL_SERVICE_NAME": "editors"}, []),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, ["traces", "logs"]),
        ({"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://c:4318/v1/logs"}, ["logs"]),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, ["traces"]),
        ({"OTEL_LOGS_EXPORTER": "otlp"}, ["logs"]),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_LOGS_EXPORTER": "none"}, ["traces"]),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "True"}, []),
    ],
)
def test_what_switches_it_on(environ, signals):
    assert wanted(environ) == (signals, [])


@pytest.mark.parametrize(
    ("environ", "signals", "problem"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin", "OTEL_LOGS_EXPORTER": "otlp"}, ["logs"], "'zipkin'"),
        (
            {"OTEL_LOGS_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            [],
            "OTEL_EXPORTER_OTLP_PROTOCOL is 'grpc' for logs; this server has http/protobuf",
        ),
    ],
)
def test_what_is_not_here(environ, signals, problem):
    found, (said,) = wanted(environ)
    assert found == signals and problem in said


# ---------------------------------------------------------------------- off


def python(code: str, **env: str) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith((*FOREIGN, "OTEL_"))}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=REPO, env={**kept, **env}, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_off_it_loads_nothing():
    code = (
        "import sys; from collab import telemetry, recovery\n"
        "with telemetry.sending('1'), telemetry.span('room.open', room='a') as span: span.set(rows=3)\n"
        "print(sorted(name for name in sys.modules if name.startswith('opentelemetry')))\n"
    )
    assert python(code) == "[]\n"


def test_off_a_server_loads_nothing_that_sends():
    """FastAPI loads OpenTelemetry's API, which does nothing by itself; this looks at the rest."""
    code = (
        "import sys; from collab import telemetry; import collab.web.server\n"
        "with telemetry.sending('1'): pass\n"
        "sends = ('opentelemetry.sdk', 'opentelemetry.exporter', 'google.protobuf', 'requests')\n"
        "print(sorted(name for name in sys.modules if name in (*sends, 'collab.telemetry.otlp')))"
    )
    assert python(code) == "[]\n"
    on = python(code, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")
    assert "'collab.telemetry.otlp', 'google.protobuf', 'opentelemetry.exporter', 'opentelemetry.sdk'" in on


def test_off_a_span_costs_a_look():
    def best(call) -> float:
        times = []
        for _ in range(7):
            began = time.perf_counter()
            for _ in itertools.repeat(None, 20_000):
                call()
            times.append((time.perf_counter() - began) / 20_000)
        return min(times)

    def spanned() -> None:
        with telemetry.span("room.open", room="a"):
            pass

    assert best(spanned) < 20e-6  # a thirtieth of that here


def test_off_is_one_object():
    assert telemetry.span("a") is telemetry.span("b", room="c") is telemetry.request("GET")
    assert not telemetry.is_traced()


# ---------------------------------------------------------------------- on


@pytest.fixture(scope="module")
def sent() -> Iterator[tuple[Collector, Server]]:
    """What a server sends that does all there are spans of, and refuses somebody."""
    with (
        Collector() as collector,
        served(
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
            OTEL_EXPORTER_OTLP_HEADERS="x-key=secret-of-the-collector",
            COLLAB_STORE__CHECKPOINT_ROWS="5",
            COLLAB_LOG__LEVEL="debug",
        ) as server,
    ):
        with admin(server) as client:
            for number in range(6):
                put(client, f"{TEXT} {number}")
            made = client.post(room("/snapshots"), json={"label": TEXT}).json()
            assert client.post(room("/restore"), json={"to": {"snapshot": made["id"]}}).status_code == 200
            put(client, "another")
            assert client.post(room("/restore"), json={"to": {"snapshot": made["id"]}}).status_code == 200
            into = {"to": {"snapshot": made["id"]}, "into": "copy"}
            assert client.post(room("/restore"), json=into).status_code == 200
            assert client.post("/server/backup").status_code == 200
            assert client.get(room(name="nobody was here")).status_code == 404
        assert httpx.get(f"{server.http_url}/api/v1/rooms?token={TOKEN}").status_code == 401
        assert httpx.get(f"{server.http_url}/api/openapi.json").status_code == 200
        until(lambda: [one for one in collector.spans if one.name == "room.compact"])
        server.terminate()
        assert server.wait().code == 0
        yield collector, server


def test_who_sends(sent):
    collector, _ = sent
    for one in (*collector.spans, *collector.logs):
        assert one.resource["service.name"] == "collab" and one.resource["service.version"]
    assert {one["x-key"] for one in collector.headers} == {"secret-of-the-collector"}


def test_spans_of_requests(sent):
    spans = sent[0].spans
    snapshot = only(spans, "POST /api/v1/rooms/{name}/snapshots")
    assert snapshot.fields == {
        "http.request.method": "POST",
        "http.route": "/api/v1/rooms/{name}/snapshots",
        "http.response.status_code": 201,
    }
    assert snapshot.scope == "collab" and snapshot.nanoseconds > 0 and not snapshot.failed
    missing = only(spans, "GET /api/v1/rooms/{name}")
    assert missing.fields["http.response.status_code"] == 404 and not missing.failed
    assert len([one for one in spans if one.name == "PUT /api/v1/rooms/{name}/document"]) == 7


def test_strangers_make_no_spans(sent):
    assert not [one for one in sent[0].spans if one.fields.get("http.response.status_code") == 401]
    assert not [one for one in sent[0].spans if "openapi" in one.name]
    assert [one for one in sent[0].logs if one.name == "admin refused"]


def test_spans_of_work(sent):
    spans = sent[0].spans
    opened = [one for one in spans if one.name == "room.open" and one.fields["collab.room"] == ROOM]
    assert opened and opened[0].fields == {"collab.room": ROOM, "collab.rows": 0, "collab.bytes": 0}
    compacted = [one for one in spans if one.name == "room.compact"][0]
    assert compacted.fields["collab.room"] == ROOM and compacted.fields["collab.rows"] >= 5
    assert compacted.fields["collab.bytes"] > len(TEXT)
    backup = only(spans, "store.backup")
    assert backup.fields["collab.bytes"] > 4096
    made = [one for one in spans if one.name == "snapshot.create"]
    assert {one.fields["collab.reason"] for one in made} == {"manual", "before restore"}
    restored = [one for one in spans if one.name == "room.restore"]
    assert [one.fields["collab.how"] for one in restored] == ["restored", "restored"]
    assert max(one.fields["collab.bytes"] for one in restored) > 0
    assert only(spans, "room.restore_into").fields["collab.into"] == "copy"


def test_spans_hang_together(sent):
    spans = {one.span: one for one in sent[0].spans}
    manual = [one for one in spans.values() if one.fields.get("collab.reason") == "manual"][0]
    assert spans[manual.parent].name == "POST /api/v1/rooms/{name}/snapshots" and not spans[manual.parent].parent
    line = [one for one in sent[0].logs if one.name == "snapshot made" and one.span == manual.parent]
    assert len(line) == 1 and line[0].trace == manual.trace


def test_the_log_is_the_log(sent):
    """Record by record what stands on standard output, from when it is on until it is flushed."""
    collector, server = sent
    lines = list(server.json_logs())
    begin = next(at for at, line in enumerate(lines) if line["event"] == "telemetry on")
    assert lines[begin]["signals"] == ["traces", "logs"]
    wanted = [line for line in lines[begin:] if line["logger"] != "collab.telemetry.otlp"]
    assert len(wanted) > 10
    head = {"time", "level", "event", "logger"}
    said = [
        (one.nanoseconds // 1000, one.severity, one.name, one.scope, sorted(one.fields.items()))
        for one in collector.logs  # those of one logger stand together in a batch
    ]
    assert sorted(said) == sorted(
        (
            round(datetime.fromisoformat(line["time"]).timestamp() * 1e6),
            *(line["level"], line["event"], line["logger"]),
            sorted((name, value) for name, value in line.items() if name not in head),
        )
        for line in wanted
    )
    assert "drained" in [one.name for one in collector.logs]


def test_nothing_secret(sent):
    everything = b"".join(sent[0].raw)
    assert ROOM.encode() in everything
    assert TOKEN.encode() not in everything and b"what somebody typed" not in everything


def test_a_name_of_your_own():
    with (
        Collector() as collector,
        served(
            OTEL_LOGS_EXPORTER="otlp",
            OTEL_EXPORTER_OTLP_LOGS_ENDPOINT=f"{collector.url}/v1/logs",
            OTEL_SERVICE_NAME="editors",
        ),
    ):
        until(lambda: collector.logs)
        assert collector.logs[0].resource["service.name"] == "editors"
        assert not collector.spans


# ---------------------------------------------------------------------- trouble


def stop(server: Server) -> float:
    server.terminate()
    ended = server.wait()
    assert ended.code == 0
    return ended.seconds


def events(server: Server, name: str) -> list[dict]:
    return [line for line in server.json_logs() if line["event"] == name]


def test_a_collector_that_is_down():
    with served(
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{free_port()}", OTEL_EXPORTER_OTLP_TIMEOUT="2"
    ) as server:
        with admin(server) as client:
            for _ in range(3):
                put(client)
            until(lambda: len(events(server, "telemetry not sent")) == 2)
            put(client)
            time.sleep(1.5)  # another try fails, and is not said
        assert stop(server) < 6
        told = events(server, "telemetry not sent")
        assert sorted(line["signal"] for line in told) == ["logs", "traces"] and all(
            "refused" in line["error"] for line in told
        )
        assert "Traceback" not in server.logs() and "Transient" not in str(events(server, "Transient"))
        assert {line["logger"] for line in server.json_logs() if "opentelemetry" in line["logger"]} == set()


def test_a_collector_that_says_nothing():
    """It takes the connection and never answers: requests wait, the server does not."""
    with Collector() as collector, served(OTEL_EXPORTER_OTLP_ENDPOINT=collector.url) as server:
        collector.patient.clear()
        with admin(server) as client:
            began = time.monotonic()
            for _ in range(20):
                put(client)
            assert time.monotonic() - began < 10
        assert stop(server) < 6
        assert server.logs().count("shutdown timed out") == 0


def test_a_collector_that_comes_back():
    with Collector() as collector, served(OTEL_EXPORTER_OTLP_ENDPOINT=collector.url) as server:
        collector.status = 400
        with admin(server) as client:
            put(client)
            until(lambda: len(events(server, "telemetry not sent")) == 2)
            collector.status = 200
            put(client)
            assert client.post(room("/snapshots")).status_code == 201
            until(lambda: len(events(server, "telemetry sent again")) == 2)
        assert all(line["lost"] > 0 for line in events(server, "telemetry sent again"))


MISSING = """
import sys
class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter")):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Nothing())
"""


def test_the_extra_is_not_installed(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(MISSING)
    path = os.pathsep.join([str(tmp_path), str(REPO)])
    with served(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9", PYTHONPATH=path) as server:
        (line,) = events(server, "telemetry off")
        assert 'pip install "collab[otel]"' in line["problem"] and line["level"] == "warning"
        assert server.health()[0] == 200
        stop(server)


def test_a_variable_that_is_wrong():
    with served(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9", OTEL_BSP_MAX_QUEUE_SIZE="-1") as server:
        (line,) = events(server, "telemetry off")
        assert "max_queue_size" in line["error"]
        stop(server)
