"""The only module that knows OpenTelemetry: sends spans and log records over OTLP, from threads of its own.

Nothing here waits for a collector: what does not get away stands in queues of bounded length (`OTEL_BSP_...`,
`OTEL_BLRP_...`), then it is dropped. Nothing is registered globally, so what other libraries (FastAPI) would trace by
themselves, with queries and texts of errors, is not sent.
"""

from __future__ import annotations

import json
import logging
import os
import re
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self

from opentelemetry import trace
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider, ReadableLogRecord
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExportResult
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult

from ..log import get_logger, json_formatter
from . import Signal, Span

log = get_logger(__name__)

FLUSH_SECONDS = 2.0
"""How long the end of the server waits for what is left to get away."""
LEAVE_SECONDS = 0.3
"""How long it then waits for the threads to say what became of it."""
DROPPED_SECONDS = 600.0
"""Least time between two lines about a full queue."""
OWN = ("opentelemetry", "urllib3", "requests", __name__)
"""Loggers of what sends: what they say is not sent, or it would never end."""
SEVERITIES = {
    logging.DEBUG: SeverityNumber.DEBUG,
    logging.INFO: SeverityNumber.INFO,
    logging.WARNING: SeverityNumber.WARN,
    logging.ERROR: SeverityNumber.ERROR,
    logging.CRITICAL: SeverityNumber.FATAL,
}
HEAD = ("time", "level", "event", "logger")
"""Fields of a line that have places of their own in a record."""
URL = re.compile(r"(?<=with url: )\S+")
LARGEST = 2**63 - 1
EPOCH = datetime.fromtimestamp(0, UTC)
MICROSECOND = timedelta(microseconds=1)


class Outlet:
    """What leads to the collector.

    Args:
        signals: What is sent.
        version: Of this server.

    Raises:
        ValueError: A variable of OpenTelemetry's is wrong.
        OSError: A file that one of them names cannot be read.
    """

    def __init__(self, signals: Sequence[Signal], version: str) -> None:
        resource = _resource(version)
        self._why = _Why()
        self._providers: list[TracerProvider | LoggerProvider] = []
        self._exporters: list[_Spans | _Logs] = []
        self._handler: _Records | None = None
        if "traces" in signals:
            tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
            spans = _Spans(self._why)
            tracers.add_span_processor(BatchSpanProcessor(spans))
            self._providers.append(tracers)
            self._exporters.append(spans)
            self._tracer = tracers.get_tracer("collab", version)
        if "logs" in signals:
            loggers = LoggerProvider(resource=resource, shutdown_on_exit=False)
            logs = _Logs(self._why)
            loggers.add_log_record_processor(BatchLogRecordProcessor(logs))
            self._providers.append(loggers)
            self._exporters.append(logs)
            self._handler = _Records(loggers)
            logging.getLogger().addHandler(self._handler)
        self._why.listen()

    def span(self, name: str, fields: Mapping[str, str | int | float], *, server: bool) -> Span:
        """A span of this name that is sent when it ends."""
        return _Sent(self._tracer, name, fields, server=server)

    def close(self, seconds: float = FLUSH_SECONDS) -> None:
        """Send what is left, for so long at most, and end the threads."""
        if self._handler is not None:
            logging.getLogger().removeHandler(self._handler)
        # Their own shutdown waits 30 s for each, and can be told nothing else.
        enders = [threading.Thread(target=one.shutdown, daemon=True) for one in self._providers]
        for ender in enders:
            ender.start()
        until = time.monotonic() + seconds
        for ender, exporter in zip(enders, self._exporters, strict=True):
            ender.join(max(0.0, until - time.monotonic()))
            if ender.is_alive():
                exporter.shutdown()  # type: ignore[no-untyped-call]  # ends its pause before the next try
        until = time.monotonic() + LEAVE_SECONDS
        for ender in enders:
            ender.join(max(0.0, until - time.monotonic()))
        self._why.forget()


def _resource(version: str) -> Resource:
    """Who sends. The name is `collab` unless a variable says another."""
    named = os.environ.get("OTEL_SERVICE_NAME") or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    return Resource.create({"service.version": version} | ({} if named else {"service.name": "collab"}))


# ---------------------------------------------------------------------- spans


class _Sent(Span):
    """A span that is sent."""

    __slots__ = ("_around", "_fields", "_kind", "_name", "_span", "_tracer")

    def __init__(
        self, tracer: trace.Tracer, name: str, fields: Mapping[str, str | int | float], *, server: bool
    ) -> None:
        self._tracer = tracer
        self._name = name
        self._fields = fields
        self._kind = trace.SpanKind.SERVER if server else trace.SpanKind.INTERNAL
        self._span: trace.Span = trace.INVALID_SPAN
        self._around: AbstractContextManager[trace.Span] | None = None

    def __enter__(self) -> Self:
        self._span = self._tracer.start_span(self._name, kind=self._kind)
        # The text of an exception may hold anything: its class is enough, and the log has the rest.
        self._around = trace.use_span(
            self._span, end_on_exit=True, record_exception=False, set_status_on_exception=False
        )
        self._around.__enter__()
        self.set(**self._fields)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is not None:
            self._span.set_attribute("error.type", kind.__name__)
            self._span.set_status(trace.StatusCode.ERROR)
        assert self._around is not None
        self._around.__exit__(kind, error, at)

    def set(self, **fields: str | int | float) -> None:
        for name, value in fields.items():
            self._span.set_attribute(f"collab.{name}", _sound(value))

    def answered(self, method: str, route: str, status: int) -> None:
        # https://opentelemetry.io/docs/specs/semconv/http/http-spans/#http-server
        self._span.update_name(f"{method} {route}" if route else method)
        self._span.set_attribute("http.request.method", method)
        if route:
            self._span.set_attribute("http.route", route)
        if status:
            self._span.set_attribute("http.response.status_code", status)
        if status >= 500:
            self._span.set_attribute("error.type", str(status))
            self._span.set_status(trace.StatusCode.ERROR)


# ---------------------------------------------------------------------- log records


class _Records(logging.Handler):
    """Makes records of the very fields that a line of the JSON log has, redacted as they are there."""

    def __init__(self, provider: LoggerProvider) -> None:
        super().__init__()
        self._provider = provider
        self.setFormatter(json_formatter())

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith(OWN):
            return
        try:
            fields: dict[str, Any] = json.loads(self.format(record))
            attributes = {name: _sound(value) for name, value in fields.items() if name not in HEAD}
            if "exception" in attributes:
                attributes["exception.stacktrace"] = attributes.pop("exception")
            self._provider.get_logger(record.name).emit(
                LogRecord(
                    timestamp=(datetime.fromisoformat(fields["time"]) - EPOCH) // MICROSECOND * 1_000,
                    severity_text=fields["level"],
                    severity_number=SEVERITIES.get(record.levelno, SeverityNumber.UNSPECIFIED),
                    body=_sound(fields["event"]),
                    attributes=attributes,
                )
            )
        except Exception:
            self.handleError(record)


def _sound(value: Any) -> Any:
    """The same, so that protobuf takes it: one lone surrogate in a room's name would cost the whole batch."""
    match value:
        case str():
            return value.encode("utf-8", "backslashreplace").decode()
        case int() if abs(value) > LARGEST:
            return str(value)
        case list():
            return [_sound(one) for one in value]
        case dict():
            return {_sound(name): _sound(one) for name, one in value.items()}
    return value


# ---------------------------------------------------------------------- what goes wrong


class _Why(logging.Handler):
    """Hears what OpenTelemetry says of its troubles, which it repeats for ever; ours is one line for each outage."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.text = ""
        self._dropped = float("-inf")

    def listen(self) -> None:
        """From now on its loggers speak here only."""
        theirs = logging.getLogger("opentelemetry")
        theirs.addHandler(self)
        theirs.propagate = False

    def forget(self) -> None:
        """Leave its loggers as they were."""
        theirs = logging.getLogger("opentelemetry")
        theirs.removeHandler(self)
        theirs.propagate = True

    def emit(self, record: logging.LogRecord) -> None:
        text = URL.sub("...", record.getMessage())  # a key may stand in it
        if text.startswith("Queue full"):
            now = time.monotonic()
            if now - self._dropped >= DROPPED_SECONDS:
                self._dropped = now
                log.warning("telemetry dropped", error=text)
        elif "shutdown" not in text.lower() or not self.text:  # what it says at the end, after the reason
            self.text = text


class _Outage:
    """Whether the collector takes one signal."""

    def __init__(self, signal: Signal, why: _Why) -> None:
        self._signal = signal
        self._why = why
        self._lost = 0

    def note(self, taken: bool, count: int) -> None:
        """So many went, or were lost."""
        if taken and self._lost:
            log.info("telemetry sent again", signal=self._signal, lost=self._lost)
            self._lost = 0
        elif not taken:
            if not self._lost:
                log.warning("telemetry not sent", signal=self._signal, error=self._why.text)
            self._lost += count


class _Spans(OTLPSpanExporter):
    def __init__(self, why: _Why) -> None:
        super().__init__()
        self._outage = _Outage("traces", why)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = super().export(spans)
        self._outage.note(result is SpanExportResult.SUCCESS, len(spans))
        return result


class _Logs(OTLPLogExporter):
    def __init__(self, why: _Why) -> None:
        super().__init__()
        self._outage = _Outage("logs", why)

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        result = super().export(batch)
        self._outage.note(result is LogRecordExportResult.SUCCESS, len(batch))
        return result
