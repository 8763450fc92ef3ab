"""Choosing a store by its URL, and what is told about a room."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from collab import store
from collab.errors import SettingsError
from collab.store import Kind, Row, Store, Stored, open_store
from collab.store.memory import MemoryStore
from collab.store.sqlite import SQLiteStore


def test_memory():
    assert isinstance(open_store("memory:"), MemoryStore)


def test_sqlite():
    opened = open_store("sqlite:////var/lib/rooms.db")
    assert isinstance(opened, SQLiteStore)
    assert opened.path == Path("/var/lib/rooms.db")


def test_every_store_looks_like_one():
    assert isinstance(open_store("memory:"), Store)
    assert isinstance(open_store("sqlite:///x.db"), Store)


@pytest.mark.parametrize("url", ["", "nonsense", "/var/lib/rooms.db", "redis://host", "postgresql://host/db"])
def test_an_unknown_scheme_is_refused(url):
    with pytest.raises(SettingsError, match="COLLAB_STORE__URL: no store is known for"):
        open_store(url)


class Installed:
    def __init__(self, url: str) -> None:
        self.url = url


def test_installed_packages_bring_schemes(monkeypatch):
    point = EntryPoint(name="mine", value=f"{__name__}:Installed", group="collab.stores")
    monkeypatch.setattr(EntryPoint, "load", lambda self: Installed)
    asked = []

    def entry_points(**wanted: str) -> list[EntryPoint]:
        asked.append(wanted)
        return [point] if wanted == {"group": "collab.stores", "name": "mine"} else []

    monkeypatch.setattr(store, "entry_points", entry_points)
    found = open_store("mine://host/place")
    assert isinstance(found, Installed) and found.url == "mine://host/place"
    assert asked == [{"group": "collab.stores", "name": "mine"}]


def test_the_last_number_in_use():
    row = Row(7, b"", 0.0, None, Kind.RAW)
    assert Stored(1, None, 0, ()).seq == 0
    assert Stored(1, b"state", 6, ()).seq == 6
    assert Stored(1, b"state", 6, (row,)).seq == 7
