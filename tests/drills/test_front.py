"""nginx in front over TLS: real editors through it, what it passes on, and certificates that change under them."""

from __future__ import annotations

import asyncio
import http.client
import ssl

import pytest
from websockets.sync.client import connect

from tests.support.authority import NAME
from tests.support.node import Node
from tests.support.server import Server
from tests.support.waiting import until

pytestmark = [pytest.mark.anyio, pytest.mark.drill, pytest.mark.timeout(300)]


def ask(front, path, *, secure=True, **headers):
    """GET; status, headers (each name with all its values) and body."""
    connection = (
        http.client.HTTPSConnection(NAME, front.https, timeout=5, context=front.trust())
        if secure
        else http.client.HTTPConnection(NAME, front.http, timeout=5)
    )
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        names = {name.lower(): answer.headers.get_all(name) for name in answer.headers}
        return answer.status, names, answer.read().decode()
    finally:
        connection.close()


async def test_a_certificate_changes_under_editors_who_type(front, production, token, full, figure):
    """Reload, then a new certificate and a reload: nobody is dropped, nothing is lost, new clients see the new one."""
    count = 100 if full else 20
    with Server(env=production) as server:
        gate = front(server)
        async with Node() as node:
            editors = await node.clients(gate.url, ["drill"] * count, params={"token": token})
            for editor in editors:
                await editor.synced(20)
            for number, editor in enumerate(editors):
                await editor.insert("text", 0, f"<{number}>")
            gate.reload()
            before = gate.shown()[0]
            assert before == gate.serial
            for number, editor in enumerate(editors):
                await editor.insert("text", 0, f"<{count + number}>")
            renewed = gate.authority.issue(gate.tls)
            gate.reload()
            await until(lambda: gate.shown()[0] == renewed, "the new certificate", within=10)
            for number, editor in enumerate(editors):
                await editor.insert("text", 0, f"<{2 * count + number}>")
            late = await node.client(gate.url, "drill", params={"token": token})
            await late.synced(10)
            wanted = {f"<{number}>" for number in range(3 * count)}

            async def everything() -> bool:
                text = await late.text()
                return all(one in text for one in wanted)

            for _ in range(200):
                if await everything():
                    break
                await asyncio.sleep(0.1)
            assert await everything(), "edits are missing in what a late client sees"
            opens = [len((await editor.counters())["opens"]) for editor in editors]
            assert not await node.reset()
        assert opens == [1] * count, "somebody had to come back"
        figure(f"nginx: 2 reloads and a certificate change under {count} editors: 0 dropped, {3 * count} edits, 0 lost")
        assert not server.complaints()


async def test_what_nginx_passes_on(front, production, token, figure):
    with Server(env=production) as server:
        gate = front(server)
        status, headers, body = ask(gate, "/health")
        assert (status, "ok" in body) == (200, True)
        for name in ("strict-transport-security", "x-content-type-options", "referrer-policy", "x-frame-options"):
            assert len(headers[name]) == 1, f"{name}: {headers[name]}"
        assert "max-age=31536000" in headers["strict-transport-security"][0]
        assert "server" not in headers or "/" not in headers["server"][0]
        assert ask(gate, "/metrics")[0] == 404
        status, headers, _ = ask(gate, "/a%20b?token=hush", secure=False)
        assert (status, headers["location"]) == (301, [f"https://{NAME}/a%20b?token=hush"])
        assert ask(gate, "/nginx-health", secure=False)[0] == 200
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            assert gate.shown(version)[1] == version.name.replace("_", ".")
        async with Node() as node:
            editor = await node.client(gate.url, "a b/ü", params={"token": token})
            await editor.synced(10)
            await editor.insert("text", 0, "through nginx")
            other = await node.client(server.url, "a b/ü", params={"token": token})
            await other.text_is("through nginx")
        assert "hush" not in gate.accesses() and token not in gate.accesses()
    figure("nginx: TLS 1.2 and 1.3, headers once each, /metrics hidden, room names byte for byte, no token in its log")


async def test_a_client_cannot_choose_its_address(front, production, token):
    """The server counts connections per address: what a client claims must not become its address."""
    claims = {"X-Forwarded-For": "203.0.113.9", "Forwarded": "for=203.0.113.9", "X-Real-IP": "203.0.113.9"}
    env = production | {"COLLAB_LOG__LEVEL": "debug"}
    with Server(env=env) as server:
        gate = front(server)
        assert ask(gate, "/health", **claims)[0] == 200
        with connect(f"{gate.url}/room?token={token}", ssl=gate.trust(), additional_headers=claims) as socket:
            socket.recv(5)
        assert "203.0.113.9" not in server.logs()
    assert "203.0.113.9" not in gate.accesses()
