"""The how-to guides: their programs run, and what they name is there."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import httpx
import pytest
import websockets
import yaml

from collab.metrics import Metrics
from collab.settings import every_setting
from collab.store.sqlite import SQLiteStore
from collab.wire import lib0, vet, yjs
from collab.wire.messages import SyncStep1, SyncStep2, Update
from tests.docs.blocks import DOCS, at, block, blocks, table
from tests.support.server import REPO, Server, free_port

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

EMBED = DOCS / "howto" / "embed.md"
OPERATE = DOCS / "howto" / "operate.md"

HELLO = bytes.fromhex("01010700040104746578740568656c6c6f00")
"""The update by which client 7 writes "hello" into the text `text`."""


def program(folder: Path, name: str, having: str, port: int) -> None:
    """Put the block of the guide that has `having` into a module."""
    (folder / f"{name}.py").write_text(at(block(EMBED, "python", having), port))


def run(folder: Path, *command: str, port: int) -> Server:
    """A program of the guide as a server; the project is importable in it, and `data` lies in the folder."""
    return Server(command=[sys.executable, *command], folder=folder, port=port, health=None)


def under_hypercorn(folder: Path, app: str, port: int) -> Server:
    """Without workers: one would outlive its parent when that is killed, and keep the port."""
    return run(folder, "-m", "hypercorn", app, "--workers", "0", "--bind", f"127.0.0.1:{port}", port=port)


async def text_of(url: str, update: bytes | None = None) -> bytes:
    """Send `update` into a room, and return all that the room then has, as one update."""
    async with asyncio.timeout(10), websockets.connect(url) as socket:
        if update is not None:
            await socket.send(yjs.encode(Update(update)))
        while True:
            await socket.send(yjs.encode(SyncStep1(b"\x00")))
            while True:
                frame = await socket.recv()
                assert isinstance(frame, bytes)
                message = yjs.decode(frame)
                if isinstance(message, SyncStep2):
                    break
            if update is None or message.update != vet.EMPTY:  # what was sent is applied a moment later
                return message.update


async def test_in_a_process_of_your_own(tmp_path):
    port = free_port()
    program(tmp_path, "own", "shutdown_trigger=", port)
    with run(tmp_path, "own.py", port=port) as server:
        assert await text_of(f"{server.url}/room", HELLO) == HELLO
        async with websockets.connect(f"{server.url}/room") as socket:
            server.terminate()
            with pytest.raises(websockets.ConnectionClosedError) as closed:
                while True:
                    await socket.recv()
            assert closed.value.rcvd is not None and closed.value.rcvd.code == 1012
        assert (await server.exited()).code == 0
        assert "draining" in server.logs() and "Traceback" not in server.logs()
        server.restart()
        assert await text_of(f"{server.url}/room") == HELLO


async def test_the_shortest_app(tmp_path):
    program(tmp_path, "myapp", "app = create_app()\n", 1)
    port = free_port()
    with under_hypercorn(tmp_path, "myapp:app", port) as server:
        assert await text_of(f"{server.url}/room", HELLO) == HELLO
        assert server.health()[0] == 200


async def test_beside_routes_of_your_own(tmp_path):
    program(tmp_path, "beside", "Mount(", 1)
    port = free_port()
    with under_hypercorn(tmp_path, "beside:app", port) as server:
        assert await text_of(f"{server.url}/rooms/minutes", HELLO) == HELLO
        async with httpx.AsyncClient() as client, websockets.connect(f"{server.url}/rooms/minutes") as socket:
            await socket.send(yjs.encode(SyncStep1(b"\x00")))
            answer = await client.post(f"{server.http_url}/stamp/minutes")
            assert (answer.status_code, answer.text) == (200, "helloRead and approved.\n")
            async with asyncio.timeout(5):
                while b"approved" not in (await socket.recv()):
                    pass
            assert (await client.get(f"{server.http_url}/rooms/health")).json()["status"] == "ok"
        server.kill()
        server.start()
        assert b"approved" in await text_of(f"{server.url}/rooms/minutes")


async def test_in_fastapi(tmp_path):
    """Mounted, with a function that decides: who may not is refused, and who is logged out is cut off."""
    program(tmp_path, "fast", "FastAPI(", 1)
    port = free_port()
    with under_hypercorn(tmp_path, "fast:app", port) as server:
        url = f"{server.url}/rooms/team-a/minutes"
        assert await text_of(f"{url}?token=key%20of%20ana", HELLO) == HELLO
        for target, code in ((f"{url}-1?token=wrong", 4401), (f"{url}-2?token=key%20of%20ben", 4403)):
            async with websockets.connect(target) as socket:
                await socket.send(yjs.encode(SyncStep1(b"\x00")))
                with pytest.raises(websockets.ConnectionClosedError) as closed:
                    while True:
                        await asyncio.wait_for(socket.recv(), 20)
            assert closed.value.rcvd is not None and closed.value.rcvd.code == code
        async with httpx.AsyncClient() as client, websockets.connect(f"{url}?token=key%20of%20ana") as socket:
            await socket.send(yjs.encode(SyncStep1(b"\x00")))
            await socket.recv()
            assert (await client.post(f"{server.http_url}/logout/ana")).json() == {"gone": "ana"}
            with pytest.raises(websockets.ConnectionClosedError) as closed:
                while True:
                    await asyncio.wait_for(socket.recv(), 5)
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 4401


async def test_a_room_without_the_server(tmp_path):
    program(tmp_path, "alone", "WebSocketRoute(", 1)
    port = free_port()
    with under_hypercorn(tmp_path, "alone:app", port) as server:
        async with websockets.connect(f"{server.url}/edit") as other:
            await other.send(yjs.encode(SyncStep1(b"\x00")))
            assert await text_of(f"{server.url}/edit", HELLO) == HELLO
            async with asyncio.timeout(5):
                while await other.recv() != yjs.encode(Update(HELLO)):
                    pass
        async with websockets.connect(f"{server.url}/edit") as socket:
            await socket.send(lib0.var_uint(9))
            with pytest.raises(websockets.ConnectionClosedError) as closed:
                while True:
                    await socket.recv()
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4400, "unknown message type 9")


def test_a_store_of_your_own(tmp_path):
    (tmp_path / "audited.py").write_text(block(EMBED, "python", "class AuditedStore"))
    (tmp_path / "test_audited.py").write_text(block(EMBED, "python", "class TestAuditedStore"))
    package = tomllib.loads(block(EMBED, "toml"))
    module, _, name = package["project"]["entry-points"]["collab.stores"]["audited"].partition(":")
    assert [module] == package["tool"]["setuptools"]["py-modules"]
    info = tmp_path / "audited-1.0.dist-info"  # what an installer makes of it
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: audited\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[collab.stores]\naudited = {module}:{name}\n")
    env = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{REPO}"}
    url = "audited:sqlite:///data/collab.db"

    def call(*command: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", *command], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=100
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert " passed" in call("pytest", "-q", "-p", "no:cacheprovider", "test_audited.py")

    async def make() -> None:
        async with SQLiteStore(tmp_path / "data" / "collab.db"):
            pass

    asyncio.run(make())
    assert json.loads(call("collab", "rooms", "--json", "--store", url)) == []
    assert "serve --store " + url in EMBED.read_text("utf-8")


def test_the_public_names_are_those_that_the_guide_promises():
    (names,) = re.findall(r"names that `from collab import \.\.\.` gives \(([^)]*)\)", EMBED.read_text("utf-8"))
    assert sorted(re.findall(r"`(\w+)`", names)) == sorted(import_module("collab").__all__)


# How to operate it


def test_metrics_that_are_watched_exist():
    body = Metrics().render()[0].decode()
    text = OPERATE.read_text("utf-8")
    names = set(re.findall(r"collab_\w+", text)) - {"collab_db"}
    assert len(names) > 10
    for name in names:
        assert re.search(rf"^{name}[ {{]", body, re.MULTILINE), name
    for expression, label, value in re.findall(r'(collab_\w+)\{(\w+)=~?"([^"]*)"', text):
        for one in value.replace("\\|", "|").split("|"):
            assert f'{expression}{{{label}="{one}"' in body, (expression, label, one)


def test_the_health_that_is_shown(tmp_path):
    with Server(store="memory:") as server:
        shown = json.loads(next(body for body in blocks(OPERATE, "json") if "uptime" in body))
        assert server.health()[1].keys() == shown.keys()
        assert server.health()[1] | {"uptime_seconds": 8.1} == shown
        for path in ("/live", "/ready", "/health", "/metrics"):
            assert server.get(path)[0] == 200
            assert any(f"`{path}`" in row["path"] for row in table(OPERATE, "path"))


async def test_the_log_line_that_is_shown():
    (shown,) = [json.loads(body) for body in blocks(OPERATE, "json") if "clients" in body]
    with Server(store="memory:") as server:
        await text_of(f"{server.url}/minutes")
        lines = [line for line in server.json_logs() if line["event"] == shown["event"]]
    assert [list(line) for line in lines] == [list(shown)]
    assert {**lines[0], "time": "", "connection": 2} == {**shown, "time": ""}


def test_kubernetes():
    deployment = yaml.safe_load(block(OPERATE, "yaml"))
    pod = deployment["spec"]["template"]
    assert deployment["spec"]["selector"]["matchLabels"] == pod["metadata"]["labels"]
    assert deployment["spec"]["replicas"] == 1 and deployment["spec"]["strategy"] == {"type": "Recreate"}
    container = pod["spec"]["containers"][0]
    dockerfile = (REPO / "Dockerfile").read_text()
    assert f"EXPOSE {container['ports'][0]['containerPort']}" in dockerfile
    assert f"VOLUME {container['volumeMounts'][0]['mountPath']}" in dockerfile
    assert f"USER {pod['spec']['securityContext']['fsGroup']}:" in dockerfile
    shutdown = next(one for one in every_setting() if one.name == "server.shutdown_seconds")
    assert pod["spec"]["terminationGracePeriodSeconds"] > shutdown.info.default


def test_exit_codes_are_all_told():
    from collab.errors import CollabError
    from docs import generate

    told = {row["code"] for row in table(OPERATE, "code")}
    assert {str(error.exit_code) for _, error in generate.tree(CollabError)} | {"0"} == told
