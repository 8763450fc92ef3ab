"""The process: what it says and how it ends. Load, crashes and stalled clients are in tests/faults."""

from __future__ import annotations

import asyncio
import http.client
import shutil
import signal
import socket
import ssl
import subprocess

import pytest

from tests.support.raw import Raw, sync1
from tests.support.server import Server
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


def test_an_address_in_use_is_one_sentence():
    with socket.socket() as taken, Server() as server:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server.terminate()
        server.wait()
        server.port = taken.getsockname()[1]
        server.start(wait=False)
        assert server.wait(10).code == 2
        assert f"cannot listen on 127.0.0.1:{server.port}" in server.logs()
        assert "Traceback" not in server.logs()


def test_a_store_in_use_is_one_sentence():
    with Server() as server:
        other = Server(store=server.store)
        try:
            other.start(wait=False)
            assert other.wait(15).code == 3
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
