"""What an idle client costs: memory of the server's process for each, on either path, with access and storage on."""

from __future__ import annotations

import asyncio
import time

import jwt
import psutil
import pytest

from tests.support.raw import Raw, sync1
from tests.support.server import Server

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]
SECRET = "a secret of at least thirty-two bytes, for tests"


async def settled(process: psutil.Process) -> int:
    await asyncio.sleep(1)
    return process.memory_info().rss


async def test_memory_for_an_idle_client(full, figure):
    count = 2000 if full else 500
    shown = jwt.encode({"sub": "ana", "exp": time.time() + 600, "rooms": {"*": "write"}}, SECRET, "HS256")
    cost = {}
    for path, fast in (("asgi", "no"), ("takeover", "yes")):
        env = {"JWT_SECRET": SECRET, "COLLAB_SERVER__FAST_PATH": fast, "COLLAB_LIMITS__CONNECTIONS_PER_USER": "9999"}
        env |= {"COLLAB_LIMITS__CONNECTIONS_PER_ROOM": "9999", "COLLAB_LIMITS__ROOMS_CREATED_PER_USER": "9999"}
        env |= {"COLLAB_LIMITS__DOCUMENTS_PER_USER": "9999"}
        with Server(env=env) as server:
            process = psutil.Process(server.pid)
            warm = [await enter(server, shown) for _ in range(100)]
            before = await settled(process)
            clients = [await enter(server, shown) for _ in range(count)]
            assert server.metrics().get("collab_connections", transport=path) == count + len(warm)
            cost[path] = (await settled(process) - before) / count
            figure(f"{path}: {cost[path] / 1024:.1f} KiB for each of {count:,} idle clients with access, in one room")
            for client in (*warm, *clients):
                client.fin()
    assert cost["takeover"] < 27 * 1024
    assert cost["takeover"] < cost["asgi"] / 2


async def enter(server: Server, shown: str) -> Raw:
    client = await Raw.open(server.url, f"/idle?token={shown}")
    await client.send(sync1())
    await client.expect("sync2")
    return client
