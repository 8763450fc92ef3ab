"""How commands ask the admin API: whom, with what token, and what they make of its answers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from collab.cli.admin import admin_of, of_room
from collab.errors import Forbidden, Refused, SettingsError, Unavailable
from collab.settings import load_settings
from tests.support.server import Server, free_port

TOKEN = "a token that opens the admin interface"
SECRET = "a secret that signs the tokens of editors"


@contextmanager
def answering(status: int, body: bytes, **headers: str) -> Iterator[str]:
    """A server that has one answer."""

    class One(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(body)

        log_message: Callable[..., None] = lambda *_: None

    with HTTPServer(("127.0.0.1", 0), One) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_whom_and_with_what(monkeypatch, tmp_path):
    """Found by the settings; the admin token goes before one that is made of the secret."""
    internal = free_port()
    for env in (
        {"COLLAB_ADMIN__TOKEN": TOKEN},
        {"COLLAB_AUTH__JWT_SECRET": SECRET},
        {"COLLAB_ADMIN__TOKEN": TOKEN, "COLLAB_SERVER__INTERNAL_PORT": str(internal)},
    ):
        with Server(env=env) as server, monkeypatch.context() as here:
            for name, value in (env | {"COLLAB_SERVER__PORT": str(server.port)}).items():
                here.setenv(name, value)
            with admin_of(server=None, token=None) as admin:
                assert admin.ask("GET", "/server")["process"] == server.pid
                assert admin.ask("GET", "/rooms", limit=5, cursor=None)["items"] == []
                with pytest.raises(Refused, match="there is no room 'a/b %'"):
                    admin.ask("GET", of_room("a/b %") + "/document")
            with admin_of(server=None, token="x" * 40) as admin, pytest.raises(Forbidden, match="does not let us in"):
                admin.ask("GET", "/server")


def test_nobody_is_there():
    with admin_of(server=f"http://127.0.0.1:{free_port()}", token=None) as admin, pytest.raises(Unavailable):
        admin.ask("GET", "/server")


@pytest.mark.parametrize("url", ["ws://host", "host:1234", "", "http://[::"])
def test_what_is_no_url(url):
    if not url:
        url = "ftp://host"
    with pytest.raises((SettingsError, Unavailable, ValueError)), admin_of(server=url, token=None) as admin:
        admin.ask("GET", "/server")


def test_who_is_no_collab():
    with answering(404, b"<html>") as url, admin_of(server=url, token=None) as admin:
        with pytest.raises(Refused, match="HTTP 404, which is not from the admin API"):
            admin.ask("GET", "/server")
    with answering(503, b'{"detail": "later"}') as url, admin_of(server=url, token=None) as admin:
        with pytest.raises(Unavailable, match="later"):
            admin.ask("GET", "/server")


def test_a_body_that_is_not_what_was_sent(tmp_path: Path):
    for headers in ({}, {"repr_digest": "sha-256=:AAAA:"}):
        with answering(200, b"body", **headers) as url, admin_of(server=url, token=None) as admin:
            with pytest.raises(Unavailable, match="not what it meant to send"):
                admin.fetch("GET", "/x", tmp_path / f"file{len(headers)}", lambda done, total: None)
    with answering(200, b"bo", content_length="400") as url, admin_of(server=url, token=None) as admin:
        with pytest.raises(Unavailable):
            admin.fetch("GET", "/x", tmp_path / "short", lambda done, total: None)


def test_settings_are_those_of_the_environment():
    with (
        pytest.raises(SettingsError, match="on a port that it chose itself"),
        admin_of(server=None, token=None, settings=load_settings({"server": {"port": 0}})),
    ):
        pass
