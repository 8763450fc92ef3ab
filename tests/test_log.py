"""What a line looks like, what never gets into one, and what happens to floods."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import subprocess
import sys
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from collab.log import Throttle, configure, get_logger, set_level


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _as_it_was():
    loggers = [logging.getLogger(name) for name in ("", "collab", "hypercorn")]
    before = [(logger, logger.level, logger.handlers[:]) for logger in loggers]
    yield
    logging.captureWarnings(False)
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers


@pytest.fixture
def lines():
    """Configures JSON at level info; gives a function that returns the lines written so far."""
    stream = io.StringIO()
    configure("info", "json", stream)
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


log = get_logger("collab.test")


def test_json(lines):
    log.bind(room="a\nb", connection=4).info("room opened", client=7)
    (line,) = lines()
    assert list(line) == ["time", "level", "event", "logger", "room", "connection", "client"]
    assert line | {"time": ""} == {
        "time": "",
        "level": "info",
        "event": "room opened",
        "logger": "collab.test",
        "room": "a\nb",
        "connection": 4,
        "client": 7,
    }
    assert line["time"].endswith("Z")
    assert abs(datetime.fromisoformat(line["time"]) - datetime.now(UTC)) < timedelta(minutes=1)


def test_no_field_takes_the_place_of_what_a_line_begins_with(lines):
    log.info("changed", level="error", time="never", logger="mine", room="a")
    (line,) = lines()
    assert (line["level"], line["logger"], line["event"], line["room"]) == ("info", "collab.test", "changed", "a")
    assert line["time"] != "never"


def test_levels(lines):
    for level in ("debug", "info", "warning", "error"):
        getattr(log, level)(level)
    log.log("warning", "by name")
    assert [line["event"] for line in lines()] == ["info", "warning", "error", "by name"]


@pytest.mark.parametrize(("level", "count"), [("debug", 4), ("warning", 2), ("error", 1)])
def test_configured_level(level, count):
    stream = io.StringIO()
    configure(level, "json", stream)
    for each in ("debug", "info", "warning", "error"):
        log.log(each, "x")
    assert len(stream.getvalue().splitlines()) == count


def test_a_filtered_call_makes_nothing(lines):
    class Loud:
        def __str__(self) -> str:
            raise AssertionError

    log.debug("x", value=Loud())
    assert lines() == []


def test_exception(lines):
    try:
        secret = "hush"
        raise ValueError(len(secret))
    except ValueError:
        log.exception("failed", room="a")
    (line,) = lines()
    assert (line["level"], line["room"]) == ("error", "a")
    assert line["exception"].endswith("ValueError: 4")
    assert "exc_info" not in line


@pytest.mark.parametrize("format", ["json", "console"])
def test_nothing_secret(format):
    stream = Terminal()
    configure("info", format, stream)
    secrets = {
        name: "hush"
        for name in ("token", "Authorization", "set_cookie", "jwt_secret", "password", "query_string", "access_token")
    }
    log.info("connected", **secrets, update=b"hush", room="a")
    try:
        hidden = "hush"
        raise ValueError(f"{len(hidden)}")
    except ValueError:
        log.exception("failed")
    text = stream.getvalue()
    # The traceback quotes this file's line, but shows no variable.
    assert text.replace('hidden = "hush"', "").count("hush") == 0
    assert "4 bytes" in text
    assert "room" in text


def test_values_of_any_kind(lines):
    log.info("x", path=io.StringIO, exception_count=1, nothing=None, when=datetime(2026, 1, 1, tzinfo=UTC))
    assert lines()[0]["when"].startswith("2026-01-01")


def test_others_are_written_too(lines):
    logging.getLogger("hypercorn.error").info("Running on %s", "x")
    logging.getLogger("hypercorn.error").debug("not this")
    logging.getLogger("asyncio").info("nor this")
    try:
        raise ValueError("x")
    except ValueError:
        logging.getLogger("asyncio").exception("Task exception was never retrieved")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("old", stacklevel=1)
    first, second, third = lines()
    assert (first["event"], first["logger"]) == ("Running on x", "hypercorn.error")
    assert second["exception"].endswith("ValueError: x")
    assert third["logger"] == "py.warnings"


def test_configuring_again_replaces(lines):
    stream = io.StringIO()
    configure("info", "json", stream)
    log.info("x")
    assert lines() == []
    assert len(stream.getvalue().splitlines()) == 1


def test_for_people(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream, terminal = io.StringIO(), Terminal()
    configure("info", "console", stream)
    log.info("room opened", room="a")
    configure("info", "auto", terminal)
    log.info("room opened", room="a")
    assert "room opened" in stream.getvalue()
    assert "\x1b[" not in stream.getvalue()
    assert "\x1b[" in terminal.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    configure("info", "console", calm := Terminal())
    log.info("room opened", room="a")
    assert "\x1b[" not in calm.getvalue()


def test_auto_is_json_where_nobody_looks():
    configure("info", "auto", stream := io.StringIO())
    log.info("x")
    assert json.loads(stream.getvalue())["event"] == "x"


def test_a_rooms_name_cannot_drive_the_terminal():
    configure("info", "console", stream := io.StringIO())
    log.info("x", room="a\x1b[2J\nb\u202e")
    assert "\x1b" not in stream.getvalue()
    assert "\u202e" not in stream.getvalue()
    assert len(stream.getvalue().splitlines()) == 1


def test_standard_output_is_where_it_goes():
    program = "from collab.log import *; configure(); get_logger('collab.x').info('hello')"
    here = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", program], env=here, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["event"] == "hello"
    assert done.stderr == ""


def test_without_configuring_records_reach_the_applications_own_handlers(caplog):
    with caplog.at_level("INFO", logger="collab"):
        log.info("x", room="a")
    assert caplog.records[-1].name == "collab.test"
    assert caplog.records[-1].msg == {"event": "x", "room": "a"}


# ---------------------------------------------------------------------------------------------------------- floods


@pytest.fixture
def clock():
    class Clock:
        now = 0.0

        def __call__(self) -> float:
            return self.now

    return Clock()


def test_flood(lines, clock):
    throttle = Throttle(log, seconds=10, clock=clock)
    for number in range(5):
        throttle.log("warning", "bad frame", number=number)
    throttle.log("warning", "another")
    clock.now = 10
    throttle.log("warning", "bad frame", number=5)
    events = [(line["event"], line.get("number"), line.get("suppressed")) for line in lines()]
    assert events == [("bad frame", 0, None), ("another", None, None), ("bad frame", 5, 4)]


def test_keys_are_kept_apart(lines, clock):
    throttle = Throttle(log, clock=clock)
    for key in (1, 2, 1):
        throttle.log("info", "x", key=key)
    assert len(lines()) == 2


def test_another_level_from_now_on(lines):
    log.debug("a")
    set_level("debug")
    log.debug("b")
    set_level("error")
    log.warning("c")
    logging.getLogger("hypercorn.error").warning("d")
    assert [line["event"] for line in lines()] == ["b"]
    set_level("info")


def test_flush(lines, clock):
    throttle = Throttle(log, seconds=10, clock=clock)
    for number in range(3):
        throttle.log("info", "x", number=number)
    throttle.flush()
    assert len(lines()) == 1
    clock.now = 10
    throttle.flush()
    throttle.flush()
    assert [(line["number"], line.get("suppressed")) for line in lines()] == [(0, None), (2, 1)]
    throttle.log("info", "x", number=3)
    throttle.log("info", "x", number=4)
    throttle.flush(everything=True)
    assert [(line["number"], line.get("suppressed")) for line in lines()[2:]] == [(3, None), (4, None)]


def test_nothing_is_lost_when_there_are_too_many_kinds(lines, clock):
    throttle = Throttle(log, size=2, clock=clock)
    for key in (1, 1, 2, 3):
        throttle.log("info", "x", key=key, number=key)
    assert [(line["number"], line.get("suppressed")) for line in lines()] == [
        (1, None),
        (2, None),
        (3, None),
        (1, None),
    ]


def test_the_loop_is_not_needed(lines):
    async def write() -> None:
        log.info("x")

    asyncio.run(write())
    assert len(lines()) == 1
