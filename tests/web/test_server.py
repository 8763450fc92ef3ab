"""The process: what it says and how it ends. Load, crashes and stalled clients are in tests/faults."""

from __future__ import annotations

import asyncio
import http.client
import logging
import shutil
import signal
import socket
import ssl
import subprocess
from typing import Any

import pytest
import websockets
from pycrdt import Doc, Text

from collab.settings import Settings
from collab.store.memory import MemoryStore
from collab.web import server as module
from collab.web.server import _config
from tests.support.raw import Raw, Refused, parse, sync1, update
from tests.support.server import Server, free_port
from tests.support.waiting import until

pytestmark = pytest.mark.anyio


def test_sigterm_and_sigint_end_an_idle_server_with_zero():
    with Server() as server:
        for number in (signal.SIGTERM, signal.SIGINT):
            if not server.running:
                server.start()
            server.signal(number)
            ended = server.wait(10)
            assert ended.code == 0 and ended.seconds < 3
        assert server.complaints() == []


def test_the_system_gives_up_clients_that_confirm_nothing():
    """The option stands on the listener; what it accepts inherits it."""
    settings = Settings(server={"port": free_port(), "internal_port": free_port(), "tcp_timeout_seconds": 12.5})
    sockets = _config(settings).create_sockets()
    assert len(sockets.insecure_sockets) == 2
    for listener in sockets.insecure_sockets:
        listener.listen()
        with listener, socket.create_connection(listener.getsockname()) as client:
            accepted, _ = listener.accept()
            with accepted:
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 12_500
            assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 0


async def test_trouble_underneath_is_told_once(monkeypatch, caplog):
    """And a last time at the end, with how many there were."""

    async def fails(*given: Any, **more: Any) -> None:
        for _ in range(50):
            logging.getLogger("asyncio").error("Unhandled exception in client_connected_cb")

    monkeypatch.setattr(module, "serve_asgi", fails)
    monkeypatch.setattr(module, "take_turns", lambda metrics: None)
    settings = Settings(server={"port": free_port()})
    try:
        assert await module._serve(settings, _config(settings), MemoryStore()) == 0
    finally:
        for stop in module.STOPS:
            asyncio.get_running_loop().remove_signal_handler(stop)
    told = [record for record in caplog.records if "underneath" in record.getMessage() or record.name == "asyncio"]
    assert [record.name for record in told] == ["collab.hub"] * 2


async def test_a15_the_internal_port_has_metrics_and_no_editors():
    internal = free_port()
    with Server(env={"COLLAB_SERVER__INTERNAL_PORT": str(internal)}) as server:
        assert server.get("/metrics")[0] == 404 and server.get("/health")[0] == 200
        async with await Raw.open(server.url):
            server.port, public = internal, server.port
            assert server.metrics().get("collab_connections") == 1
            with pytest.raises(Refused) as refused:
                await Raw.open(server.url)
            assert refused.value.status == 403
            server.port = public
        server.terminate()
        assert (await server.exited(10)).code == 0 and server.complaints() == []


def test_an_internal_port_in_use_is_one_sentence():
    with socket.socket() as taken, Server() as server:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server.terminate()
        server.wait()
        server.env["COLLAB_SERVER__INTERNAL_PORT"] = str(taken.getsockname()[1])
        server.start(wait=False)
        assert server.wait(30).code == 2
        assert f"or 127.0.0.1:{taken.getsockname()[1]}" in server.logs() and "Traceback" not in server.logs()


def test_an_address_in_use_is_one_sentence():
    with socket.socket() as taken, Server() as server:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server.terminate()
        server.wait()
        server.port = taken.getsockname()[1]
        server.start(wait=False)
        assert server.wait(30).code == 2
        assert f"cannot listen on 127.0.0.1:{server.port}" in server.logs()
        assert "Traceback" not in server.logs()


def test_a_store_in_use_is_one_sentence():
    with Server() as server:
        other = Server(store=server.store)
        try:
            other.start(wait=False)
            assert other.wait(30).code == 3
            assert "in use by another process" in other.logs()
            assert "Traceback" not in other.logs()
        finally:
            other.close()
        assert server.health()[0] == 200


async def test_clients_are_told_to_come_back_and_new_ones_are_sent_away():
    with Server(env={"COLLAB_SERVER__DRAIN_SECONDS": "1.5"}) as server:
        clients = [await Raw.open(server.url, room="room") for _ in range(10)]
        for client in clients:
            await client.expect("sync1")
            await client.send(sync1())
            await client.expect("sync2")
        server.terminate()
        await until(lambda: server.health()[0] == 503, "not ready any more")
        ends = await asyncio.gather(*(client.closed(within=6) for client in clients))
        assert {end.code for end in ends} == {1012}
        ended = await server.exited(10)
        assert ended.code == 0
        assert 1.0 < ended.seconds < 4
        for client in clients:
            client.fin()


async def test_keep_alive_connections_do_not_hold_up_the_end():
    with Server() as server:
        idle = http.client.HTTPConnection("127.0.0.1", server.port)
        idle.request("GET", "/live")
        assert idle.getresponse().read()
        silent = socket.create_connection(("127.0.0.1", server.port))
        server.terminate()
        ended = await server.exited(10)
        assert ended.code == 0 and ended.seconds < 4
        silent.close()
        idle.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for localhost, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    if shutil.which("openssl") is None:
        pytest.fail("openssl is missing")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "cert.pem", folder / "key.pem"


async def test_an_editor_over_tls(certificate):
    certfile, keyfile = certificate
    arguments = ["--certfile", str(certfile), "--keyfile", str(keyfile)]
    context = ssl.create_default_context(cafile=str(certfile))
    context.check_hostname = False
    with Server(args=arguments, health=None, env={"COLLAB_LIMITS__MESSAGE_BYTES": "100kB"}) as server:
        url = f"wss://127.0.0.1:{server.port}/room"
        async with websockets.connect(url, ssl=context) as one, websockets.connect(url, ssl=context) as other:
            for client in (one, other):
                await client.send(sync1())
                while parse(await client.recv(decode=False)).kind != "sync2":
                    pass
            doc: Doc[Any] = Doc({"t": Text("over TLS")})
            await one.send(update(doc.get_update()))
            async with asyncio.timeout(5):
                while parse(told := await other.recv(decode=False)).kind != "update":
                    pass
            assert parse(told).content == doc.get_update()
            await one.send(b"\x00\x02" + b"x" * 200_000)
            with pytest.raises(websockets.ConnectionClosedError):
                async with asyncio.timeout(5):
                    while True:
                        await one.recv()
            assert one.close_code == 4413
        server.terminate()
        assert (await server.exited(10)).code == 0
        assert server.complaints() == []


def test_a_key_that_does_not_fit_is_one_sentence(certificate, tmp_path):
    """And nobody is asked for a passphrase on the terminal."""
    certfile, keyfile = certificate
    other, locked = tmp_path / "other.pem", tmp_path / "locked.pem"
    subprocess.run(["openssl", "genrsa", "-out", str(other), "2048"], check=True, capture_output=True)
    lock = ["openssl", "rsa", "-aes256", "-passout", "pass:secret", "-in", str(keyfile), "-out", str(locked)]
    subprocess.run(lock, check=True, capture_output=True)
    for wrong in (other, locked, certfile):
        server = Server(args=["--certfile", str(certfile), "--keyfile", str(wrong)], health=None)
        try:
            server.start(wait=False)
            assert server.wait(30).code == 2
            assert f"{certfile} and {wrong} are no certificate and its key" in server.logs()
            assert len(server.logs().splitlines()) == 1
        finally:
            server.close()


def test_tls_offers_http_1_1_only(certificate):
    """Browsers would else carry WebSockets over HTTP/2, past what is measured here."""
    certfile, keyfile = certificate
    arguments = ["--certfile", str(certfile), "--keyfile", str(keyfile)]
    with Server(args=arguments, health=None) as server:
        context = ssl.create_default_context(cafile=str(certfile))
        context.check_hostname = False
        context.set_alpn_protocols(["h2", "http/1.1"])
        with socket.create_connection(("127.0.0.1", server.port)) as plain, context.wrap_socket(plain) as secure:
            assert secure.selected_alpn_protocol() == "http/1.1"
            assert secure.version() in ("TLSv1.2", "TLSv1.3")
            secure.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            answer = b""
            while chunk := secure.recv(4096):
                answer += chunk
        assert answer.startswith(b"HTTP/1.1 200") and b'"status":"ok"' in answer
        assert b"server:" not in answer.lower(), "what serves is nobody's business"
