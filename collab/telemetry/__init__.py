"""OpenTelemetry: spans of what takes long, and the log, to a collector. Off unless the standard variables ask for it.

`with telemetry.span("room.open", room=name) as span: ...; span.set(rows=3)`. While it is off that is one look at a
name, and nothing of OpenTelemetry's is imported here. Never a span for an edit or a tick, and nothing of a document or
a token in one. Only `collab serve` switches it on: inside another application the telemetry is the application's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Literal, Protocol, Self

from ..log import get_logger

log = get_logger(__name__)

Signal = Literal["traces", "logs"]
SIGNALS: tuple[Signal, ...] = ("traces", "logs")

PROTOCOL = "http/protobuf"
REMEDY = 'it was asked for by OTEL_ variables, and what sends it is not installed: pip install "collab[otel]"'


class Span:
    """A stretch of time with a name. This one is kept by nobody."""

    __slots__ = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Whatever happened in it is raised on."""

    def set(self, **fields: str | int | float) -> None:
        """Add attributes; each is called `collab.` and its name."""

    def answered(self, method: str, route: str, status: int) -> None:
        """Say that it is an HTTP request, and what became of it.

        Args:
            method: Such as GET.
            route: The path with names in place of what varies; "" when there is none like it.
            status: The answer's; 0 when there was none.
        """


class Tracer(Protocol):
    """Makes spans that are sent."""

    def span(self, name: str, fields: Mapping[str, str | int | float], *, server: bool) -> Span: ...


_NOTHING = Span()
_tracer: Tracer | None = None


def span(name: str, **fields: str | int | float) -> Span:
    """A stretch of this server's own work, around a `with`; a child of the one around it."""
    return _NOTHING if _tracer is None else _tracer.span(name, fields, server=False)


def request(method: str) -> Span:
    """A request that came from outside. Its name is made when it was answered."""
    return _NOTHING if _tracer is None else _tracer.span(method, {}, server=True)


def is_traced() -> bool:
    """Whether spans are kept at all."""
    return _tracer is not None


def wanted(environ: Mapping[str, str]) -> tuple[list[Signal], list[str]]:
    """What the standard variables ask for, and what they ask for that is not here.

    https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/: an empty variable is none.
    """

    def said(name: str) -> str:
        return environ.get(name, "").strip()

    signals: list[Signal] = []
    problems: list[str] = []
    if said("OTEL_SDK_DISABLED").lower() == "true":
        return signals, problems
    for signal in SIGNALS:
        upper = signal.upper()
        endpoint = said(f"OTEL_EXPORTER_OTLP_{upper}_ENDPOINT") or said("OTEL_EXPORTER_OTLP_ENDPOINT")
        exporter = said(f"OTEL_{upper}_EXPORTER") or ("otlp" if endpoint else "none")
        protocol = said(f"OTEL_EXPORTER_OTLP_{upper}_PROTOCOL") or said("OTEL_EXPORTER_OTLP_PROTOCOL") or PROTOCOL
        if exporter == "none":
            continue
        if exporter != "otlp":
            problems.append(f"OTEL_{upper}_EXPORTER is {exporter!r}; this server has otlp and none")
        elif protocol != PROTOCOL:
            problems.append(f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol!r} for {signal}; this server has {PROTOCOL}")
        else:
            signals.append(signal)
    return signals, problems


@contextmanager
def sending(version: str, environ: Mapping[str, str] = os.environ) -> Iterator[None]:
    """While inside, send what the variables ask for; at the end, what is left, for two seconds at most.

    What is wrong with it is a warning: a platform may set these variables for all it runs, and a server that serves
    without telemetry is worth more than none.
    """
    global _tracer
    signals, problems = wanted(environ)
    for problem in problems:
        log.warning("telemetry off", problem=problem)
    if not signals:
        yield
        return
    try:
        from .otlp import Outlet

        outlet = Outlet(signals, version)
    except ImportError as error:
        log.warning("telemetry off", problem=REMEDY, error=str(error))
        yield
        return
    except Exception as error:  # theirs to read, so theirs to refuse: numbers, files of certificates
        log.warning("telemetry off", problem="a variable of OpenTelemetry is wrong", error=str(error))
        yield
        return
    _tracer = outlet if "traces" in signals else None
    log.info("telemetry on", signals=list(signals))
    try:
        yield
    finally:
        _tracer = None
        outlet.close()
