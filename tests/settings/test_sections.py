"""The rules that values must keep, alone and together."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from collab.settings.sections import (
    HistorySettings,
    LivenessSettings,
    LogSettings,
    RoomSettings,
    ServerSettings,
    StoreSettings,
)


@pytest.mark.parametrize(
    ("section", "field", "value"),
    [
        (ServerSettings, "port", -1),
        (ServerSettings, "port", 65_536),
        (ServerSettings, "host", ""),
        (ServerSettings, "drain_seconds", float("nan")),
        (ServerSettings, "drain_seconds", float("inf")),
        (ServerSettings, "switch_interval_seconds", 0),
        (ServerSettings, "certfile", "/no/such/file"),
        (StoreSettings, "url", ""),
        (StoreSettings, "checkpoint_rows", 0),
        (StoreSettings, "journal_bytes", "0"),
        (HistorySettings, "keep_days", -1),
        (HistorySettings, "keep_days", float("inf")),
        (HistorySettings, "snapshot_edits", -1),
        (HistorySettings, "keep_snapshots", 0),
        (HistorySettings, "sweep_minutes", 0),
        (RoomSettings, "idle_count", -1),
        (RoomSettings, "presence_seconds", 15),
        (ServerSettings, "trusted_proxies", "10.0.0.1/8"),
        (ServerSettings, "trusted_proxies", "proxy.example.com"),
        (ServerSettings, "allowed_origins", "app.example.com"),
        (ServerSettings, "allowed_origins", "https://a.example.com, null"),
        (ServerSettings, "allowed_origins", "https://a.example.com/path"),
        (ServerSettings, "internal_port", 0),
        (ServerSettings, "handshake_seconds", 0),
        (LivenessSettings, "keepalive_seconds", 30),
        (LogSettings, "level", "loud"),
    ],
)
def test_refused(section, field, value):
    with pytest.raises(ValidationError):
        section(**{field: value})


def test_no_idle_rooms_is_a_choice():
    assert RoomSettings(idle_count=0).idle_count == 0


def test_words_in_any_case():
    assert LogSettings(level="DEBUG", format="Json") == LogSettings(level="debug", format="json")  # type: ignore[arg-type]


def test_certificate_and_key_together(tmp_path):
    file = tmp_path / "file.pem"
    file.touch()
    assert ServerSettings(certfile=file, keyfile=file).keyfile == file
    for only in ("certfile", "keyfile"):
        with pytest.raises(ValidationError, match="set both for TLS, or none"):
            ServerSettings(**{only: file})


@pytest.mark.parametrize(
    ("section", "values", "rule"),
    [
        (ServerSettings, {"shutdown_seconds": 3, "drain_seconds": 3}, "must be longer than"),
        (ServerSettings, {"port": 9, "internal_port": 9}, "told apart by their numbers"),
        (StoreSettings, {"retry_seconds": 6}, "must not be less than"),
        (HistorySettings, {"every_hours": 24, "hourly_days": 0.5}, "must each last as long"),
        (HistorySettings, {"daily_days": 400}, "must each last as long"),
        (LivenessSettings, {"probe_seconds": 21}, "must be more than twice"),
    ],
)
def test_rules_over_several(section, values, rule):
    with pytest.raises(ValidationError, match=rule):
        section(**values)
