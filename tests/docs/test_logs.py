"""Log events: the reference has all of them, the guide names none that is not there, and its examples are right."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from collab.web.api.audit import KEPT
from docs import log_words, logs
from tests.docs.blocks import DOCS, at, block, blocks, table
from tests.support.server import REPO, Server

GUIDE = DOCS / "howto" / "logs.md"
REFERENCE = DOCS / "reference" / "logs.md"
TEXT = GUIDE.read_text("utf-8")
EVENTS = logs.events()

TOKEN = "a token that opens the admin interface"


def source(folder: Path, text: str, name: str = "collab.x") -> logs.Source:
    """A module with this text."""
    path = folder / "x.py"
    path.write_text(f"from .log import Logger, get_logger\nlog = get_logger(__name__)\n{text}\n")
    return logs.Source(path, name)


# ---------------------------------------------------------------------- the reference


def test_every_event_of_the_code_is_on_the_page():
    """Found a second time, more simply: whatever looks like a call of a logger."""
    called = r"\b_?log(?:ger)?\.(?:debug|info|warning|error|exception)\(\s*\"([^\"]+)\""
    throttled = r"floods\.log\(\s*\"\w+\",\s*\"([^\"]+)\""
    found: set[str] = set()
    for module in (REPO / "collab").rglob("*.py"):
        if module.name != "log.py" and "node_modules" not in module.parts:
            text = module.read_text("utf-8")
            found |= set(re.findall(called, text)) | set(re.findall(throttled, text))
    listed = {row["event"].strip("`") for row in table(REFERENCE, "logger")}
    assert len(found) > 40 and found <= listed
    assert listed - found <= {
        *("connection refused", "document refused", "room not opened", "room not reloaded", "store failed"),
        *("history not cleared away", "snapshots not thinned", "snapshot not made", "server given up", "server killed"),
        *("connection cut", "client vanished", "webhook given up", "trouble underneath"),
    }, "these are handed on, or written elsewhere; look whether the new one is rightly so"


def test_what_stands_in_a_row():
    rows = {row["event"]: row for row in table(REFERENCE, "logger")}
    assert rows["`store failed`"]["level"] == "error or warning"
    assert rows["`client joined`"] == {
        "event": "`client joined`",
        "level": "info",
        "logger": "`collab.hub`",
        "fields": "`connection`, `client`, `room`, `clients`, `suppressed`",
        "what it means": rows["`client joined`"]["what it means"],
    }
    assert rows["`client vanished`"]["fields"] == "`connection`, `client`, `seconds`"
    assert "exception" in rows["`access could not be decided`"]["fields"]
    assert [row["level"] for row in rows.values()] == sorted(
        (row["level"] for row in rows.values()), key=lambda level: logs.LEVELS.index(level.partition(" ")[0])
    )


def test_texts_that_are_handed_on_are_followed(tmp_path):
    text = """
class A:
    def one(self):
        self.fail("first thing", 1)
    def two(self):
        self.fail("second thing" if self.x else "third thing", 2)
    def fail(self, what, number):
        log.log("warning" if number else "error", what, number=number)
        self.log.exception("fourth thing")
"""
    found = logs.events([source(tmp_path, text)])
    assert set(found) == {"first thing", "second thing", "third thing", "fourth thing"}
    assert found["second thing"].levels == {"warning", "error"} and list(found["first thing"].fields) == ["number"]
    assert list(found["fourth thing"].fields) == ["connection", "client", "exception"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('log.info(f"joined {1}")', "no fixed text"),
        ('log.info("joined %s" % 1)', "no fixed text"),
        ('what = "x"\nlog.info(what)', "is no parameter"),
        ('def f(what):\n    what2 = what\n    log.info(what2)\nf("x")', "no parameter"),
        ("def f(what):\n    log.info(what)", "not every call"),
        ('def f(what):\n    log.info(what)\nf("x")\nf(what="y")', "not every call"),
        ('def f(what):\n    log.info(what)\nf("x" + "y")', "no fixed text"),
        ('log.log(level, "x")', "no parameter"),
        ('log.info("x", **fields)', "hides the fields"),
        ('call = log.info\ncall("x")', "not called where it stands"),
    ],
)
def test_what_cannot_be_read_is_an_error(tmp_path, text, why):
    with pytest.raises(logs.UnreadableLine, match=why):
        logs.events([source(tmp_path, text)])


def test_a_change_that_hides_its_details_is_an_error(tmp_path):
    found = logs.changes([source(tmp_path, 'self._audit.note(admin, "a", room, b=1)\nself._audit.note(admin, "c")')])
    assert found == {"a": ["room", "b"], "c": []}
    with pytest.raises(logs.UnreadableLine, match="hides the details"):
        logs.changes([source(tmp_path, 'self._audit.note(admin, "a", **done)')])


def test_words_without_an_event_and_events_without_words(monkeypatch):
    monkeypatch.setitem(log_words.EVENTS, "nothing like this", "It means nothing.")
    monkeypatch.delitem(log_words.EVENTS, "client joined")
    monkeypatch.delitem(log_words.DETAILS, "jti")
    with pytest.raises(logs.UnreadableLine) as error:
        logs.tables()
    assert "nothing logs 'nothing like this'" in str(error.value)
    assert "nothing says what 'client joined' means" in str(error.value)
    assert "nothing says what 'jti' means" in str(error.value)


def test_no_field_is_called_like_what_a_line_begins_with():
    known = {"x": logs.Event("x", {"info"}, {"collab.x"}, {"level": None})}
    assert "a field must not be called 'level'" in logs.unexplained(known, {})
    assert "a field must not be called 'event'" in logs.unexplained({}, {"x": ["event"]})


# ---------------------------------------------------------------------- the guide


def names(text: str) -> set[str]:
    """What stands in code and looks like an event: words with spaces, or the value of `event` in an example."""
    quoted = {name for name in re.findall(r"`([a-z]+(?: [a-z]+)+)`", text) if not name.startswith(("docker ", "make "))}
    given = set(re.findall(r"\bevent\"?\s*(?:==|:|=)\s*\"([^\"]+)\"", text))
    return quoted | given - {"event"}


def test_events_that_the_guides_name_exist():
    found = {page: names(page.read_text("utf-8")) & {*EVENTS} for page in (GUIDE, DOCS / "howto" / "operate.md")}
    assert len(found[GUIDE]) > 15 and found[DOCS / "howto" / "operate.md"]
    assert names(TEXT) <= {*EVENTS}, names(TEXT) - {*EVENTS}


def test_events_that_the_runbook_names_exist():
    text = (DOCS / "howto" / "runbook.md").read_text("utf-8")
    named = set(re.findall(r"log lines? \"([^\"]+)\"(?: and \"([^\"]+)\")?", text))
    assert {name for pair in named for name in pair if name} - {*EVENTS} == set()
    assert named


def test_one_line_in_ten_seconds_is_said_of_those_that_are_throttled():
    rows = table(GUIDE, "one line in ten seconds for each")
    told = {name for row in rows for name in re.findall(r"`([^`]+)`", row["event"])}
    assert told == {event.name for event in EVENTS.values() if event.throttled}
    assert f"newest\n{KEPT:,} at least" in TEXT


def test_every_path_and_member_in_the_examples_is_there():
    fields = {name for event in EVENTS.values() for name in event.fields} | {*logs.HEAD}
    shipper = yaml.safe_load(block(GUIDE, "yaml", "filebeat.inputs"))
    assert shipper["setup.template.append_fields"][0]["name"] == "collab"
    (timed,) = [one["timestamp"] for one in shipper["filebeat.inputs"][0]["processors"] if "timestamp" in one]
    assert timed["field"].removeprefix("collab.") in fields
    assert {*re.findall(r"collab\.(\w+): ", TEXT)} <= fields
    (alloy,) = blocks(GUIDE, "alloy")
    assert alloy.count("{") == alloy.count("}")
    (read,) = re.findall(r"expressions = \{(.*)\}", alloy)
    assert {*re.findall(r'= "(\w+)"', read)} <= fields
    defined = {f"{kind}.{label}" for kind, label in re.findall(r'^([\w.]+) "(\w+)" \{$', alloy, re.MULTILINE)}
    used = set(re.findall(r"\b((?:loki|discovery)\.\w+\.\w+)\.(?:receiver|targets)", alloy))
    assert used and used <= defined


def test_the_driver_is_for_a_service_that_the_file_has():
    beside = yaml.safe_load(block(GUIDE, "yaml", "syslog-address"))
    production = yaml.safe_load((REPO / "docker" / "compose.production.yml").read_text("utf-8"))
    assert set(beside["services"]) <= set(production["services"])
    port = beside["services"]["collab"]["logging"]["options"]["syslog-address"].rpartition(":")[2]
    assert f'port="{port}"' in block(GUIDE, "rsyslog")


def test_the_command_changes_the_level_and_the_audit_log_tells_of_it():
    with Server(env={"COLLAB_ADMIN__TOKEN": TOKEN, "COLLAB_LOG__LEVEL": "warning"}) as server:
        command = at(block(GUIDE, "sh", "log-level"), server.port)
        done = subprocess.run(
            ["sh", "-c", command], env={"ADMIN_TOKEN": TOKEN, "PATH": "/usr/bin:/bin"}, capture_output=True
        )
        assert json.loads(done.stdout) == json.loads(block(GUIDE, "text", '"level"')), done.stderr
        lines, beside = list(server.json_logs()), server.stderr_path.read_text("utf-8")
    (told,) = [line for line in lines if line["event"] == "audit"]
    assert (told["level"], told["what"], told["to"], told["before"]) == ("info", "server.log_level", "debug", "warning")
    assert [line["event"] for line in lines] == ["audit"] and beside == "", "from then on, and nothing before"


def test_lines_of_a_server_have_the_fields_that_the_page_says(tmp_path):
    """One for each event that a start, an admin and an end make."""
    example = json.loads(block(GUIDE, "json"))
    assert {*example} == {*logs.HEAD, "connection", "client", "room", "clients"}
    with Server(env={"COLLAB_ADMIN__TOKEN": TOKEN, "COLLAB_LOG__LEVEL": "debug"}) as server:
        server.terminate()
        server.wait()
        lines = [line for line in server.json_logs() if line["logger"].startswith("collab.")]
    assert len(lines) >= 3
    for line in lines:
        event = EVENTS[line["event"]]
        assert tuple(line)[:4] == logs.HEAD
        assert line["level"] in event.levels and line["logger"] in event.loggers
        assert {*line} - {*logs.HEAD} <= {*event.fields}
