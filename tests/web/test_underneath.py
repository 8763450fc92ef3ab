"""Trouble of the event loop and of hypercorn: told, and not for ever."""

from __future__ import annotations

import asyncio
import io
import json
import logging

import pytest

from collab.log import Throttle, configure, get_logger
from collab.web.underneath import LOGGERS, calmed


@pytest.fixture
def told(monkeypatch):
    """A throttle of ten seconds, the lines that were written, and a clock."""
    stream, now = io.StringIO(), [0.0]
    root = logging.getLogger()
    before = root.level, root.handlers[:]
    configure("info", "json", stream)
    floods = Throttle(get_logger("collab.hub"), clock=lambda: now[0])
    yield floods, lambda: [json.loads(line) for line in stream.getvalue().splitlines()], now
    root.level, root.handlers[:] = before
    logging.captureWarnings(False)


def report(name: str, message: str, error: BaseException) -> None:
    try:
        raise error
    except BaseException:
        logging.getLogger(name).exception(message)


def test_one_line_of_each_kind(told):
    floods, lines, now = told
    with calmed(floods):
        for number in range(100):
            error = ExceptionGroup("unhandled errors", [ValueError(f"number {number}")])
            report("asyncio", f"Unhandled exception in client_connected_cb\ntransport: {number}", error)
        report("asyncio", "Unhandled exception in client_connected_cb", KeyError("another"))
        report("hypercorn.error", "Error in ASGI Framework", ValueError("x"))
        for _ in range(100):
            logging.getLogger("asyncio").warning("socket.send() raised exception.")
    first, another, framework, sending = lines()
    assert first["event"] == "trouble underneath" and first["level"] == "error" and first["source"] == "asyncio"
    assert first["reason"] == "Unhandled exception in client_connected_cb"
    assert "number 0" in first["exception"] and "suppressed" not in first
    assert "KeyError" in another["exception"] and framework["source"] == "hypercorn.error"
    assert sending["level"] == "warning" and "exception" not in sending
    now[0] = 10
    floods.flush()
    assert [line["suppressed"] for line in lines()[4:]] == [98, 98], "each is in a line, or counted"
    assert "number 99" in lines()[4]["exception"]


def test_what_is_less_is_written_as_ever(told):
    floods, lines, _ = told
    with calmed(floods):
        for _ in range(2):
            logging.getLogger("hypercorn.error").info("Running on %s", "x")
    assert [line["event"] for line in lines()] == ["Running on x"] * 2


def test_afterwards_they_write_themselves(told):
    floods, lines, _ = told
    with calmed(floods):
        pass
    for _ in range(2):
        report("asyncio", "Task exception was never retrieved", ValueError("x"))
    assert [line["event"] for line in lines()] == ["Task exception was never retrieved"] * 2
    assert not any(logging.getLogger(name).filters for name in LOGGERS)


def test_the_event_loop_reports_there(told):
    floods, lines, _ = told

    async def fail() -> None:
        loop = asyncio.get_running_loop()
        for _ in range(50):
            loop.call_soon(lambda: 1 / 0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    with calmed(floods):
        asyncio.run(fail())
    assert len(lines()) == 1 and "ZeroDivisionError" in lines()[0]["exception"]
