"""Logging: one JSON object per line, or lines for people. Fields are `room`, `client`, `connection`, `code`, ...

`get_logger(__name__).info("room opened", room=name)`. The event is a fixed text; what varies stands in fields. Tokens
and document content are never passed; in case they are, `_redact` drops what is called like a secret and shows only the
length of bytes. Without `configure`, which only the edges call, records reach whatever the application set up.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

import structlog
from structlog.stdlib import ProcessorFormatter
from structlog.typing import EventDict, Processor

Level = Literal["debug", "info", "warning", "error"]

SECRET_WORDS = ("token", "authorization", "cookie", "secret", "password", "query_string")


class Logger(structlog.BoundLoggerBase):
    """A logger with fields. A call that is filtered out costs one look into a dict.

    Not structlog's own, which fixes its level when it is made: modules make theirs before the level is known.
    """

    _logger: logging.Logger

    def debug(self, event: str, **fields: Any) -> None:
        if self._logger.isEnabledFor(logging.DEBUG):
            self._proxy_to_logger("debug", event, **fields)

    def info(self, event: str, **fields: Any) -> None:
        if self._logger.isEnabledFor(logging.INFO):
            self._proxy_to_logger("info", event, **fields)

    def warning(self, event: str, **fields: Any) -> None:
        if self._logger.isEnabledFor(logging.WARNING):
            self._proxy_to_logger("warning", event, **fields)

    def error(self, event: str, **fields: Any) -> None:
        if self._logger.isEnabledFor(logging.ERROR):
            self._proxy_to_logger("error", event, **fields)

    def exception(self, event: str, **fields: Any) -> None:
        """An error with the traceback of the exception that is being handled."""
        self.error(event, **{"exc_info": True} | fields)

    def log(self, level: Level, event: str, **fields: Any) -> None:
        """As the method called like `level`."""
        getattr(self, level)(event, **fields)


def get_logger(name: str) -> Logger:
    """The logger of a module; `bind(room=...)` gives one that says so on every line."""
    return Logger(logging.getLogger(name), [ProcessorFormatter.wrap_for_formatter], {})


def configure(
    level: Level = "info", format: Literal["auto", "json", "console"] = "auto", stream: TextIO | None = None
) -> None:
    """Write the log of this process to `stream` (standard output).

    Everything goes there, warnings and other libraries included (from level warning; hypercorn from info, and it has to
    be told `config.errorlog = logging.getLogger("hypercorn.error"); config.accesslog = None`).
    """
    stream = stream or sys.stdout
    people = format == "console" or (format == "auto" and stream.isatty())
    if people:
        colors = stream.isatty() and not os.environ.get("NO_COLOR")
        # Not structlog's own tracebacks: with rich installed they show local variables, tokens and documents included.
        plain = structlog.dev.plain_traceback
        chain: list[Processor] = [
            *(_head, _redact, _printable),
            structlog.dev.ConsoleRenderer(
                colors=colors, timestamp_key="time", exception_formatter=plain, sort_keys=False
            ),
        ]
    output = logging.StreamHandler(stream)
    output.set_name(__name__)
    output.setFormatter(ProcessorFormatter(processors=chain) if people else json_formatter())
    root = logging.getLogger()
    for old in [handler for handler in root.handlers if handler.name == __name__]:
        root.removeHandler(old)
    root.addHandler(output)
    logging.captureWarnings(True)
    set_level(level)


def json_formatter() -> ProcessorFormatter:
    """Makes of a record the line that the JSON log has of it."""
    return ProcessorFormatter(processors=[_head, _redact, structlog.processors.format_exc_info, _as_json])


def set_level(level: Level) -> None:
    """From now on write what has at least this level (other libraries: see `configure`)."""
    for name, least in (("collab", level), ("hypercorn", "info"), ("", "warning")):
        logging.getLogger(name).setLevel(max(logging.getLevelName(least.upper()), logging.getLevelName(level.upper())))


def _head(logger: object, method: str, fields: EventDict) -> EventDict:
    """What every line begins with, in this order."""
    record: logging.LogRecord = fields.pop("_record")
    del fields["_from_structlog"]
    head: EventDict = {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "level": record.levelname.lower(),
        "event": fields.pop("event"),
        "logger": record.name,
    }
    return {**head, **fields, **head}  # no field takes the place of one of these


def _redact(logger: object, method: str, fields: EventDict) -> EventDict:
    """Without what must not be written, should it get here."""
    return {
        name: f"<{len(value)} bytes>" if isinstance(value, bytes | bytearray | memoryview) else value
        for name, value in fields.items()
        if not any(word in name.lower() for word in SECRET_WORDS)
    }


def _printable(logger: object, method: str, fields: EventDict) -> EventDict:
    """With control characters escaped: a room's name must not be able to drive the terminal."""
    for name, value in fields.items():
        if isinstance(value, str) and not value.isprintable():
            fields[name] = value.encode("unicode_escape").decode("ascii")
    return fields


def _as_json(logger: object, method: str, fields: MutableMapping[str, Any]) -> str:
    return json.dumps(fields, default=str)


@dataclass(slots=True)
class _Flood:
    """One event that came at `since` and then again and again."""

    since: float
    level: Level
    event: str
    fields: dict[str, Any]
    suppressed: int = 0


class Throttle:
    """Keeps floods out of the log: one line per event and `seconds`; the others are counted in `suppressed`.

    Args:
        logger: Where the lines go.
        seconds: Least time between two lines of one event.
        size: Number of events that are kept apart; past it the oldest is written out and forgotten.
        clock: Gives monotonic seconds.
    """

    def __init__(
        self, logger: Logger, *, seconds: float = 10.0, size: int = 1_000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._logger = logger
        self._seconds = seconds
        self._size = size
        self._clock = clock
        self._floods: OrderedDict[object, _Flood] = OrderedDict()

    def log(self, level: Level, event: str, *, key: object = None, **fields: Any) -> None:
        """Write it, or count it. Events with the same text and `key` are one event."""
        now = self._clock()
        flood = self._floods.get((event, key))
        if flood is not None and now - flood.since < self._seconds:
            flood.suppressed += 1
            flood.fields = fields
            return
        if flood is not None and flood.suppressed:
            fields["suppressed"] = flood.suppressed
        self._floods[event, key] = _Flood(now, level, event, fields)
        self._floods.move_to_end((event, key))
        self._logger.log(level, event, **fields)
        while len(self._floods) > self._size:
            self._report(self._floods.popitem(last=False)[1])

    def flush(self, *, everything: bool = False) -> None:
        """Write the counts of floods that ended (or of all); call it now and then, and at the end."""
        now = self._clock()
        for key, flood in list(self._floods.items()):
            if everything or now - flood.since >= self._seconds:
                del self._floods[key]
                self._report(flood)

    def _report(self, flood: _Flood) -> None:
        """Write the last of those that were counted, with the number of the others: lines and counts are the sum."""
        if flood.suppressed:
            others = {"suppressed": flood.suppressed - 1} if flood.suppressed > 1 else {}
            self._logger.log(flood.level, flood.event, **flood.fields, **others)
