"""What only the fast path has or could do wrong; all that it promises stands in test_transport.py."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
import time
import tracemalloc

import pytest
import websockets

from collab.transport.takeover import HIGH_WATER, TakeoverSocket
from tests.support.carried import LIMIT, Host, hosted
from tests.support.raw import PING, PONG, Raw, encode_frame
from tests.support.waiting import until

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request):
    return "asyncio", {"use_uvloop": request.param}


@pytest.fixture
async def host():
    async with hosted(Host(fast=True)) as host:
        yield host


async def test_hypercorn_has_nothing_to_do_with_it_any_more(host):
    """Its task ended with the upgrade; a connection is logged as what it is, once."""
    before = len(asyncio.all_tasks())
    clients = [(await host.open())[0] for _ in range(20)]
    await until(lambda: host.done == 20 and len(asyncio.all_tasks()) == before, "the tasks have ended")
    assert [line.split('"')[2].split()[0] for line in host.logged if line.startswith("access")] == ["101"] * 20
    for client, recorder in zip(clients, host.recorders, strict=True):
        recorder.socket.send(b"still here")
        assert await client.recv() == b"still here"
        client.fin()


async def test_nothing_is_written_onto_live_sockets_when_hypercorn_stops():
    """It would be a raw HTTP response, and a traceback in the log."""
    host = Host(fast=True)
    async with hosted(host):
        clients = [(await host.open())[0] for _ in range(10)]
        host.stop.set()
        await asyncio.sleep(0.3)
        for client, recorder in zip(clients, host.recorders, strict=True):
            recorder.socket.send(b"until you are sent away")
            assert await client.read_bytes(1000) == b"\x82\x17until you are sent away"
            recorder.socket.close(1012, "")
            assert (await client.closed()).code == 1012
            client.fin()
    assert [line for line in host.logged if " 500 " in line or "Traceback" in line or "Error" in line] == []


async def test_pongs_are_heard(host):
    client, recorder = await host.open()
    assert recorder.socket.ping() is True
    await client.send(b"answers on the way", opcode=PONG)
    await until(lambda: recorder.pongs == 1, "heard")
    with pytest.raises(TimeoutError):
        await client.recv(within=0.3)
    await until(lambda: recorder.pongs == 2, "and the answer to ours")
    assert client.pings == 1
    client.fin()


async def test_a_flood_of_pings_that_reads_no_answers_costs_nothing(host):
    client, recorder = await host.open(receive_buffer=4096)
    for _ in range(100):
        recorder.socket.send(b"x" * 90_000)
    before = recorder.socket.buffered
    flood = encode_frame(b"p" * 125, opcode=PING) * 1000
    for _ in range(20):
        await client.send_bytes(flood)
    await client.send(b"last", opcode=PING)
    await client.send(b"done")
    await until(lambda: recorder.frames, "all of it was read")
    assert recorder.socket.buffered <= before
    for _ in range(100):
        await client.recv()
    fin, opcode, said = await client._read_frame()
    assert (opcode, said) == (PONG, b"last"), "the last one is answered"
    client.fin()


async def test_frames_wait_as_they_are_and_not_as_copies(host):
    """One broadcast to slow clients: the frame is in memory once."""
    pairs = [await host.open(receive_buffer=4096) for _ in range(5)]
    for _, recorder in pairs:
        while recorder.socket.buffered < LIMIT:
            recorder.socket.send(b"z" * LIMIT)
    for frame in (b"x" * 90_000, b"y" * 500_000):
        tracemalloc.start()
        for _, recorder in pairs:
            recorder.socket.send(frame)
        used, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert sum(recorder.socket.buffered for _, recorder in pairs) > 5 * len(frame)
        if "uvloop" in repr(asyncio.get_running_loop()):  # asyncio of Python 3.11 gathers what waits in one buffer
            assert used < 2 * len(frame) + 50_000
    for client, recorder in pairs:
        recorder.socket.abort()
        client.fin()


async def test_when_it_is_told_that_it_can_take_more(host):
    client, recorder = await host.open(receive_buffer=4096)
    while recorder.socket.buffered <= HIGH_WATER:
        recorder.socket.send(b"x" * 10_000)
    assert recorder.drains == 0
    while recorder.drains == 0:
        await client.recv()
    assert recorder.drains == 1 and recorder.socket.buffered < HIGH_WATER
    client.fin()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    if shutil.which("openssl") is None:
        pytest.fail("openssl is missing")
    folder = tmp_path_factory.mktemp("tls")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "cert.pem", folder / "key.pem"


@pytest.mark.parametrize("ends", ["goodbye", "close", "too large", "broken", "abort"])
async def test_over_tls(certificate, ends):
    context = ssl.create_default_context(cafile=str(certificate[0]))
    context.check_hostname = False
    host = Host(fast=True, compress=True)
    async with hosted(host, certificate=certificate):
        client = await websockets.connect(host.url, ssl=context, max_size=None)
        await until(lambda: host.recorders, "the app has it")
        recorder = host.recorders[0]
        wanted = [b"a" * 10, b"b" * 3000, b"c" * 90_000, b"d" * 400_000]
        for frame in wanted:
            recorder.socket.send(frame)
            await client.send(frame[:LIMIT])
        assert [await client.recv() for _ in wanted] == wanted
        await until(lambda: len(recorder.frames) == 4, "all received")
        recorder.socket.pause()
        recorder.socket.resume()
        match ends:
            case "goodbye":
                await client.close(1001)
            case "close":
                recorder.socket.close(4000, "")
            case "too large":
                await client.send([b"x" * 60_000, b"y" * 60_000])
            case "broken":
                client.transport.write(encode_frame(b"x", mask=False))
            case "abort":
                recorder.socket.abort()
        await client.wait_closed()
        codes = {"goodbye": 1001, "close": 4000, "too large": 4413, "broken": 1002, "abort": 1006}
        assert client.close_code == codes[ends]
        await until(lambda: recorder.ended, "told of the end", within=2)
        assert recorder.socket.name == "takeover"


async def test_a_send_is_cheap(host, figure):
    """Once per client and tick: what is not the system's own `write` has to be little."""
    pairs = [await host.open() for _ in range(50)]
    reading = [asyncio.create_task(_read(client)) for client, _ in pairs]
    sockets: list[TakeoverSocket] = [recorder.socket for _, recorder in pairs]
    for size in (60, 600, 2000):
        best = 1.0
        for _ in range(20):
            frame = bytes(size)
            began = time.perf_counter()
            for socket in sockets:
                socket.send(frame)
            best = min(best, (time.perf_counter() - began) / len(sockets))
            await asyncio.sleep(0.01)
        figure(f"{size} bytes: {best * 1e6:.1f} us per send, the system's write included")
        assert best < 100e-6
    for (client, recorder), task in zip(pairs, reading, strict=True):
        recorder.socket.abort()
        await task
        client.fin()


async def _read(client: Raw) -> None:
    try:
        while await client.read_bytes(1 << 16):
            pass
    except OSError:
        pass
