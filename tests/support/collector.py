"""A collector: a real HTTP server that reads OTLP as protobuf."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from tests.support.server import free_port


@dataclass(frozen=True)
class Received:
    """A span or a log record. `name` is that of the span, or the record's body; `scope` is who made it."""

    name: str
    scope: str
    fields: dict[str, Any]
    resource: dict[str, Any]
    trace: bytes
    span: bytes
    parent: bytes = b""
    failed: bool = False
    severity: str = ""
    nanoseconds: int = 0


def value(any_value: AnyValue) -> Any:
    kind = any_value.WhichOneof("value")
    if kind == "array_value":
        return [value(one) for one in any_value.array_value.values]
    if kind == "kvlist_value":
        return fields(any_value.kvlist_value.values)
    return None if kind is None else getattr(any_value, kind)


def fields(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    return {pair.key: value(pair.value) for pair in pairs}


class Collector:
    """Keeps what it is sent.

    Attributes:
        status: What it answers.
        patient: It answers only while this is set.
        raw: The bodies as they came.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.status = 200
        self.patient = threading.Event()
        self.patient.set()
        self.spans: list[Received] = []
        self.logs: list[Received] = []
        self.raw: list[bytes] = []
        self.headers: list[dict[str, str]] = []

    def __enter__(self) -> Self:
        collector = self

        class Answers(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                collector.patient.wait()
                collector.headers.append({name.lower(): text for name, text in self.headers.items()})
                if collector.status == 200:
                    collector.raw.append(body)
                    {"/v1/traces": collector._take_spans, "/v1/logs": collector._take_logs}[self.path](body)
                self.send_response(collector.status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Answers)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.patient.set()
        self._server.shutdown()
        self._server.server_close()

    def _take_spans(self, body: bytes) -> None:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            about = fields(resource.resource.attributes)
            for scope in resource.scope_spans:
                for one in scope.spans:
                    self.spans.append(
                        Received(
                            one.name,
                            scope.scope.name,
                            fields(one.attributes),
                            about,
                            one.trace_id,
                            one.span_id,
                            one.parent_span_id,
                            failed=one.status.code == one.status.STATUS_CODE_ERROR,
                            nanoseconds=one.end_time_unix_nano - one.start_time_unix_nano,
                        )
                    )

    def _take_logs(self, body: bytes) -> None:
        for resource in ExportLogsServiceRequest.FromString(body).resource_logs:
            about = fields(resource.resource.attributes)
            for scope in resource.scope_logs:
                for one in scope.log_records:
                    self.logs.append(
                        Received(
                            value(one.body),
                            scope.scope.name,
                            fields(one.attributes),
                            about,
                            one.trace_id,
                            one.span_id,
                            severity=one.severity_text,
                            nanoseconds=one.time_unix_nano,
                        )
                    )
