"""A room of a running server: who is let in, what is confirmed, and what is said when it is not."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from pycrdt import Array, Doc, Text
from websockets.sync.server import serve

from collab.cli import live as live_module
from collab.cli.live import live_room, own_token, own_url
from collab.errors import (
    BadRoomName,
    BadUpdate,
    CollabError,
    Forbidden,
    SettingsError,
    StoreLocked,
    Unavailable,
    Unconfirmed,
)
from collab.settings import Settings
from collab.wire.lib0 import var_uint
from collab.wire.vet import MAX_DEPTH
from tests.support.server import Server, free_port

SECRET = "a secret of this test, 32 bytes and more"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(env={"COLLAB_AUTH__JWT_SECRET": SECRET}) as running:
        yield running
        assert not running.complaints()


def settings(server: Server, **auth: Any) -> Settings:
    return Settings(server={"port": server.port}, auth={"jwt_secret": SECRET, **auth})


def written(text: str) -> bytes:
    doc: Doc[Any] = Doc()
    doc["text"] = Text(text)
    return doc.get_update()


def text_in(server: Server, room: str) -> str:
    with live_room(settings(server), room, server=None, token=None) as live:
        return str(live.doc.get("text", type=Text))


@pytest.mark.parametrize("room", ["plain", "a/ü 😀/c", "a*b/*"])
def test_what_is_confirmed_survives_a_kill(server, room):
    with live_room(settings(server), room, server=None, token=None) as live:
        live.edit(written("kept"))
        server.kill()
    server.restart()
    assert text_in(server, room) == "kept"


def test_the_document_comes_with_it(server):
    with live_room(settings(server), "twice", server=None, token=None) as live:
        live.edit(written("one"))
    with live_room(settings(server), "twice", server=f"{server.url}/hocuspocus", token=None) as live:
        assert str(live.doc.get("text", type=Text)) == "one"


def test_without_a_good_token_nobody_gets_in(server):
    with pytest.raises(Forbidden, match="does not let us in: the token is not valid"):
        with live_room(settings(server), "room", server=None, token="x.y.z"):
            pass


def test_who_may_read_may_not_write(server, collab):
    token = collab("token", "--sub", "x", "--room", "**=read", JWT_SECRET=SECRET).stdout.strip()
    with live_room(settings(server), "plain", server=None, token=token) as live:
        with pytest.raises(Forbidden, match="read the room, not write"):
            live.edit(written("no"))
    assert "no" not in text_in(server, "plain")


def test_what_the_server_refuses(server):
    deep: list[Any] = []
    for _ in range(MAX_DEPTH + 1):
        deep = [deep]
    doc: Doc[Any] = Doc({"array": Array([deep])})
    with live_room(settings(server), "deep", server=None, token=None) as live:
        with pytest.raises(BadUpdate, match="does not take this edit .*nested.*nothing of it was saved"):
            live.edit(doc.get_update())
    assert text_in(server, "deep") == ""


def test_a_room_that_is_closed_meanwhile(server):
    """Vetting sees no harm in these; the room itself does."""
    inner = b"".join(b"\x07\x00\x07" + var_uint(clock) + b"\x00" for clock in range(2_000))
    deep = b"\x01" + var_uint(2_001) + b"\x07\x00\x07\x01\x04list\x00" + inner + b"\x00"
    with live_room(settings(server), "deep", server=None, token=None) as live:
        with pytest.raises(BadUpdate, match="closed the room: shared types are nested too deep"):
            live.edit(deep)
    assert text_in(server, "deep") == ""


def test_a_server_that_does_not_answer(server, monkeypatch):
    monkeypatch.setattr(live_module, "CONFIRM_SECONDS", 0.3)
    with live_room(settings(server), "stopped", server=None, token=None) as live:
        server.signal(signal.SIGSTOP)
        try:
            with pytest.raises(Unconfirmed, match=r"did not confirm within 0\.3 s"):
                live.edit(written("late"))
        finally:
            server.signal(signal.SIGCONT)


def test_a_server_that_goes(server):
    with live_room(settings(server), "gone", server=None, token=None) as live:
        server.kill()
        try:
            with pytest.raises(Unconfirmed):
                live.edit(written("late"))
        finally:
            server.restart()


def test_over_tls(tmp_path):
    """The server's own certificate is trusted under whatever name it is reached, and nowhere else."""
    certfile, keyfile = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=example.com"]
    subprocess.run([*command, "-keyout", keyfile, "-out", certfile], check=True, capture_output=True)
    options = ("--certfile", str(certfile), "--keyfile", str(keyfile))
    with Server(args=options, health=None) as secure:
        known = Settings(server={"port": secure.port, "certfile": certfile, "keyfile": keyfile})
        with live_room(known, "room", server=None, token=None) as live:
            assert live.url == f"wss://127.0.0.1:{secure.port}/"
            live.edit(written("secret"))
        with pytest.raises(Unavailable, match="certificate verify failed"):
            with live_room(Settings(), "room", server=live.url, token=None):
                pass


@pytest.mark.parametrize("url", ["ws://", "ws://[::1", "ws://127.0.0.1:0/"])
def test_addresses_of_nobody(url):
    with pytest.raises(Unavailable):
        with live_room(Settings(), "room", server=url, token=None):
            pass


def test_what_is_too_large_for_it():
    with Server(env={"COLLAB_LIMITS__MESSAGE_BYTES": "64KiB"}) as small:
        with live_room(Settings(), "large", server=small.url, token=None) as live:
            with pytest.raises(Forbidden, match=r"refuses: .* is over the limit of 65536 \(close code 4413\)"):
                live.edit(written("x" * 100_000))


def test_another_server():
    """One that speaks y-websocket alone, or none at all, is told from one that does not answer."""
    with serve(lambda socket: socket.send(b"\x00\x00\x01\x00"), "127.0.0.1", 0) as other:
        thread = threading.Thread(target=other.serve_forever)
        thread.start()
        url = f"ws://127.0.0.1:{other.socket.getsockname()[1]}"
        with pytest.raises(CollabError) as caught:
            with live_room(Settings(), "room", server=url, token=None):
                pass
        assert url in str(caught.value)
        other.shutdown()
        thread.join()


def test_nobody_there():
    nowhere = Settings(server={"port": free_port()})
    with pytest.raises(Unavailable, match=r"ws://127\.0\.0\.1:\d+/ \(Connection refused\) is not available"):
        with live_room(nowhere, "room", server=None, token=None):
            pass
    with pytest.raises(Unavailable, match=r"the server that has /x\.db should be \(--server names another\)"):
        with live_room(nowhere, "room", server=None, token=None, locked=StoreLocked("/x.db")):
            pass


@pytest.mark.parametrize(
    ("where", "url"),
    [
        ({"port": 1}, "ws://127.0.0.1:1/"),
        ({"host": "0.0.0.0", "port": 1}, "ws://127.0.0.1:1/"),
        ({"host": "::", "port": 1}, "ws://[::1]:1/"),
        ({"host": "localhost", "port": 80}, "ws://localhost:80/"),
    ],
)
def test_where_it_is(where, url):
    assert own_url(Settings(server=where)) == url


def test_where_it_cannot_be():
    with pytest.raises(SettingsError, match="name it with --server"):
        own_url(Settings(server={"port": 0}))
    with pytest.raises(SettingsError, match="should begin with ws://"):
        with live_room(Settings(), "room", server="http://x", token=None):
            pass
    with pytest.raises(BadRoomName):
        with live_room(Settings(), " ", server="ws://x", token=None):
            pass


def test_no_token_without_a_secret():
    assert own_token(Settings(), "room") is None
