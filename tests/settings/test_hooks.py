"""The rules of the section `hooks`."""

from __future__ import annotations

import pytest
from pydantic import SecretStr, ValidationError

from collab.settings.hooks import EVENTS, HookSettings, wanted
from collab.store.outbox import Event

SECRET = SecretStr("x" * 32)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("urls", "http://app.example/"),
        ("urls", "https://a.example/, ftp://b.example/"),
        ("urls", "https://user:hush@a.example/"),
        ("urls", "https://a.example/?token=x"),
        ("urls", "https://a.example/,https://a.example/"),
        ("events", ""),
        ("events", "document.changed, document.chnged"),
        ("events", "test"),
        ("debounce_seconds", -1),
        ("debounce_seconds", 11),
        ("concurrency", 0),
        ("give_up_hours", 0),
        ("secret_file", "/no/such/file"),
    ],
)
def test_refused(field, value):
    with pytest.raises(ValidationError):
        HookSettings(**({"secret": SECRET} | {field: value}))


def test_a_secret_and_one_only(tmp_path):
    with pytest.raises(ValidationError, match="must be"):
        HookSettings(urls="https://a.example/")
    file = tmp_path / "secret"
    file.write_text("x" * 32)
    with pytest.raises(ValidationError, match="leave one out"):
        HookSettings(secret=SECRET, secret_file=file)
    assert HookSettings(urls="https://a.example/, http://127.0.0.1:1/", secret_file=file).events == "all"


def test_events_that_are_wanted():
    assert {event.value for event in Event} == {*EVENTS, "test"}
    assert wanted(HookSettings(events=" room.deleted,room.created ").events) == ("room.created", "room.deleted")
    assert wanted("all") == EVENTS
