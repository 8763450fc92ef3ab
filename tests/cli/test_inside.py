"""The admin API inside a command's process."""

from __future__ import annotations

import pytest

from collab.cli.inside import inside
from collab.errors import NoSuchRoom, StoreLocked
from collab.settings import load_settings
from collab.store import open_store
from tests.support.server import Server

URL = "sqlite:///rooms.db"


def test_it_is_the_api_and_the_store_is_free_after_it():
    for _ in range(2):
        with inside(load_settings({"store": {"url": URL}}), open_store(URL)) as http:
            put = http.put("/rooms/a%2Fb/document", content="text", headers={"content-type": "text/plain"})
            assert put.status_code in (200, 201)
            assert http.get("/rooms/a%2Fb/document", params={"format": "text"}).text == "text\n"
            assert http.get("/audit").json()["items"][0]["what"] == "document.put", "on record"
            for path, status in (("/rooms", 403), ("/rooms/a%2Fb", 401)):
                assert http.get(path, headers={"authorization": "Bearer x"}).status_code == status


def test_whatever_the_server_is_set_to():
    """Neither its port nor who may come in there is ours."""
    settings = load_settings(
        {
            "store": {"url": URL},
            "server": {"host": "0.0.0.0", "port": 0, "internal_port": 9999},
            "auth": {"mode": "open"},
        }
    )
    with inside(settings, open_store(URL)) as http:
        assert http.get("/server").status_code == 200


def test_errors_come_out_as_they_are(tmp_path):
    with pytest.raises(NoSuchRoom), inside(load_settings({"store": {"url": URL}}), open_store(URL)):
        raise NoSuchRoom("x")
    with Server(store=f"sqlite:///{tmp_path / 'rooms.db'}"):
        with pytest.raises(StoreLocked), inside(load_settings({"store": {"url": URL}}), open_store(URL)):
            pass
