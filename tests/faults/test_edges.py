"""A16, S13, S14, R01: who comes without an editor's manners, before any WebSocket: slowly, in masses, as HTTP/2."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from contextlib import AsyncExitStack, suppress

import pytest

from tests.faults.bystander import Bystander
from tests.faults.writers import spread
from tests.support.raw import Peer, Raw, Refused
from tests.support.server import Server
from tests.support.waiting import until

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

QUIET = {"COLLAB_LOG__LEVEL": "warning"}
HANDSHAKE_SECONDS = 5.0
"""`server.handshake_seconds`, as it is by default."""
UPGRADE = [
    *("Host: collab", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"),
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
]


@pytest.fixture(scope="module")
def server():
    with Server(env=QUIET) as running:
        yield running
        assert running.complaints() == []


async def told(server: Server, request: bytes, within: float = 10.0) -> bytes:
    """All that the server says to these bytes, until it closes or says nothing for a while."""
    reader, writer = await asyncio.open_connection(server.host, server.port)
    answer = b""
    try:
        writer.write(request)
        with suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(within):
                while part := await asyncio.wait_for(reader.read(65_536), 1.0):
                    answer += part
    finally:
        writer.close()
    return answer


# ---------------------------------------------------------------------- A16


def h2c(*lines: str, method: str = "GET", target: str = "/health", version: str = "1.1") -> bytes:
    return "\r\n".join([f"{method} {target} HTTP/{version}", "Host: collab", *lines, "", ""]).encode()


SETTINGS = "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
IN_PLAIN = {
    "as the RFC had it": h2c("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", SETTINGS),
    "without settings": h2c("Connection: Upgrade", "Upgrade: h2c"),
    "no connection header": h2c("Upgrade: h2c", SETTINGS),
    "in capitals": h2c("Connection: Upgrade, HTTP2-Settings", "UPGRADE: H2C", SETTINGS),
    "beside websocket": h2c("Connection: Upgrade", "Upgrade: websocket", "Upgrade: h2c", SETTINGS),
    "in one list": h2c("Connection: Upgrade", "Upgrade: websocket, h2c", SETTINGS),
    "with a body": h2c("Connection: Upgrade", "Upgrade: h2c", SETTINGS, "Content-Length: 1", method="POST") + b"x",
    "with the preface after it": h2c("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", SETTINGS) + PREFACE,
    "by OPTIONS": h2c("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", SETTINGS, method="OPTIONS", target="*"),
    "on a room": h2c("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", SETTINGS, target="/room"),
    "to metrics": h2c("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", SETTINGS, target="/metrics"),
}
FOREKNOWN = {
    "the preface": PREFACE,
    "the preface in a request's clothes": b"PRI * HTTP/2.0\r\nHost: collab\r\n\r\nSM\r\n\r\n",
    "a request of HTTP/2.0": h2c(version="2.0"),
}


@pytest.mark.case("A16")
async def test_a16_no_other_protocol(server, figure):
    """A proxy that forwards the upgrade would no longer see what is asked for."""
    answers = {name: await told(server, request) for name, request in (IN_PLAIN | FOREKNOWN).items()}
    switched = [name for name, answer in answers.items() if b"101" in answer.split(b"\r\n")[0]]
    figure(f"A16: {len(answers)} ways to ask for HTTP/2 in cleartext, 101s: {len(switched)}")
    assert switched == []
    for name in IN_PLAIN:
        assert answers[name].startswith(b"HTTP/1.1 "), name
    for name in FOREKNOWN:
        assert answers[name].startswith(b"HTTP/1.1 505 "), (name, answers[name])
    assert answers["as the RFC had it"].startswith(b"HTTP/1.1 200 "), "it is served, in HTTP/1.1 (RFC 9110, 7.8)"


# ---------------------------------------------------------------------- S13, S14


async def dawdle(server: Server, request: bytes, pause: float) -> float:
    """Send a request byte by byte; seconds until the server has had enough."""
    reader, writer = await asyncio.open_connection(server.host, server.port)
    began = time.monotonic()
    ended = asyncio.ensure_future(reader.read())
    try:
        for byte in request:
            with suppress(ConnectionError):
                writer.write(bytes([byte]))
            done, _ = await asyncio.wait([ended], timeout=pause)
            if done:
                break
        else:
            await asyncio.wait([ended], timeout=60)
        assert ended.done(), "still open"
        return time.monotonic() - began
    finally:
        with suppress(ConnectionError):
            await ended
        writer.close()


@pytest.mark.case("S13", "S14")
async def test_s14_slow_handshakes(server, full, figure):
    """One byte a second, many at once, among them some that say nothing at all; editors connect meanwhile."""
    number = 1_000 if full else 200
    request = "\r\n".join(["GET /room HTTP/1.1", *UPGRADE, "X-Long: " + "x" * 1_000, "", ""]).encode()
    tasks = [asyncio.ensure_future(dawdle(server, request, 1.0)) for _ in range(number)]
    tasks += [asyncio.ensure_future(dawdle(server, b"", 1.0)) for _ in range(20)]
    latencies, failed = list[float](), 0
    async with Bystander(server.url, room="beside the slow") as bystander:
        while not all(task.done() for task in tasks):
            began = time.monotonic()
            try:
                async with await Raw.open(server.url, room=f"editor {len(latencies)}") as editor:
                    await editor.expect("sync1", within=2)
                    latencies.append(time.monotonic() - began)
            except (OSError, AssertionError, TimeoutError):
                failed += 1
            await asyncio.sleep(0.1)
    cut = await asyncio.gather(*tasks)
    tried = len(latencies) + failed
    figure(
        f"S13/S14: {len(cut)} slow or silent, cut after {min(cut):.1f} to {max(cut):.1f} s; meanwhile "
        f"{tried - failed} of {tried} editors connected in {spread(latencies)}; {bystander}"
    )
    assert HANDSHAKE_SECONDS - 0.5 < min(cut) and max(cut) < HANDSHAKE_SECONDS + 1.5
    assert failed == 0 and tried > 5 and bystander.errors == 0


@pytest.mark.case("S14")
async def test_s14_huge_headers(server, figure):
    """A head without end is answered (431) or cut when it is past the limit, whatever the client goes on sending."""
    answers = Counter[bytes]()
    for lines in (
        ["X: " + "x" * 1_000_000],
        [f"X-{number}: {'x' * 100}" for number in range(5_000)],
        ["X" * 200_000 + ": x"],
    ):
        answer = await told(server, "\r\n".join(["GET /room HTTP/1.1", *UPGRADE, *lines, "", ""]).encode())
        answers[answer.split(b"\r\n")[0]] += 1
    figure(f"S14: heads of 200 KB to 1 MB: {dict(answers)}")
    assert set(answers) <= {b"HTTP/1.1 431 ", b"HTTP/1.1 400 ", b""}, "never accepted"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> list[str]:
    """The options for a certificate that nobody has to trust."""
    folder = tmp_path_factory.mktemp("tls")
    if shutil.which("openssl") is None:
        pytest.fail("openssl is missing")
    certfile, keyfile = str(folder / "cert.pem"), str(folder / "key.pem")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run([*command, "-keyout", keyfile, "-out", certfile], check=True, capture_output=True)
    return ["--certfile", certfile, "--keyfile", keyfile]


async def test_a_slow_tls_handshake_is_cut_too(certificate):
    """It comes before the request, so it has a clock of its own."""
    with Server(args=certificate, health=None, env={**QUIET, "COLLAB_SERVER__HANDSHAKE_SECONDS": "2"}) as server:
        hello = bytes.fromhex("1603010200010001fc0303")  # the beginning of a ClientHello
        cut = await asyncio.gather(*(dawdle(server, part, 0.5) for part in (b"", hello[:1], hello)))
        assert all(1.5 < seconds < 4 for seconds in cut), cut


# ---------------------------------------------------------------------- R01


@pytest.mark.alone
@pytest.mark.case("R01")
@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="looks into /proc")
async def test_r01_no_file_descriptor_left(figure):
    """256 descriptors and 400 clients: who is in is served, nobody spins, and when some go others come in."""
    serve = f"exec {sys.executable} -m collab serve --host 127.0.0.1 --port {{port}} --store sqlite:///rooms.db"
    with Server(command=["/bin/sh", "-c", f"ulimit -n 256; {serve}"], env=QUIET) as server:
        async with AsyncExitStack() as stack:
            ana = await stack.enter_async_context(await Peer.open(server.url, "old"))
            ben = await stack.enter_async_context(await Peer.open(server.url, "old"))
            crowd, refused = list[Raw](), Counter[str]()
            for number in range(400):
                try:
                    crowd.append(await Raw.open(server.url, room=f"crowd {number % 7}", within=3))
                except Refused as error:
                    refused[str(error.status)] += 1
                except (OSError, TimeoutError) as error:
                    refused[type(error).__name__] += 1
            knocking = [socket.create_connection((server.host, server.port)) for _ in range(20)]
            files = server.files()
            assert 150 < len(crowd) < 256 and files <= 256

            cpu, size, began = server.cpu(), len(server.logs()), time.monotonic()
            latencies = list[float]()
            while time.monotonic() - began < 5:
                at = time.monotonic()
                await ana.write("x")
                await ben.text_is(ana.text(), within=2)
                latencies.append(time.monotonic() - at)
                await asyncio.sleep(0.1)
            seconds = time.monotonic() - began
            busy, logged = (server.cpu() - cpu) / seconds, (len(server.logs()) - size) / seconds

            for one in crowd:
                one.fin()
            for waiting in knocking:
                waiting.close()
            began = time.monotonic()

            for _ in range(100):
                try:
                    async with await Raw.open(server.url, room="late", within=1):
                        break
                except (OSError, TimeoutError, Refused):
                    await asyncio.sleep(0.05)
            else:
                raise AssertionError("nobody gets in any more")
            back = time.monotonic() - began
            await ana.write("and on")
            await ben.text_is(ana.text())
            figure(
                f"R01: 256 files: {len(crowd) + 2} of 402 let in, {dict(refused)}; edits {spread(latencies)}, "
                f"CPU {100 * busy:.1f} %, log {logged:.0f} bytes/s; next client in {back:.2f} s after they left"
            )
            assert busy < 0.25 and logged < 2_000 and back < 5
        await until(lambda: server.health()[1]["status"] == "ok", "health", 5)
        server.terminate()
        assert (await server.exited(15)).code == 0
