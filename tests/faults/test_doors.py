"""A07, A08, A10, A12, A15, A17: who gets past the door of a running server, and what a door costs those inside."""

from __future__ import annotations

import json
import time
from collections import Counter
from contextlib import AsyncExitStack

import pytest

from tests.faults.bystander import Bystander
from tests.faults.tokens import SECRET, enter, token
from tests.faults.writers import spread
from tests.support.door import Door
from tests.support.raw import Raw, Refused, sync1
from tests.support.raw import hocuspocus as frames
from tests.support.server import Server, free_port
from tests.support.waiting import until

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

MiB = 1 << 20
OURS = "https://app.example"
FOREIGN = {
    "none": [],
    "foreign": [("Origin", "https://evil.example")],
    "null": [("Origin", "null")],
    "ours below theirs": [("Origin", "https://app.example.evil.example")],
    "ours behind theirs": [("Origin", "https://evil-app.example")],
    "another scheme": [("Origin", "http://app.example")],
    "another port": [("Origin", "https://app.example:444")],
    "with a user": [("Origin", "https://app.example@evil.example")],
    "two": [("Origin", OURS), ("Origin", "https://evil.example")],
    "cross-site and no origin": [("Sec-Fetch-Site", "cross-site")],
}


@pytest.mark.case("A07", "A08")
async def test_pages_and_refusals(figure):
    """With a cookie that gives access only listed pages may connect; each refusal has its status or its close code."""
    env = {"JWT_SECRET": SECRET, "COLLAB_AUTH__COOKIE": "session", "COLLAB_SERVER__ALLOWED_ORIGINS": OURS}
    with Server(env=env | {"COLLAB_LIMITS__HOLD_SECONDS": "0.1", "COLLAB_LIMITS__CONNECTIONS": "3"}) as server:
        good, late = token({"r": "write"}), token({"r": "write"}, seconds=-600)
        cookie = ("Cookie", f"session={good}")
        assert (await enter(server, "/r", [cookie, ("Origin", OURS)])).inside
        outcomes = {name: await enter(server, "/r", [cookie, *headers]) for name, headers in FOREIGN.items()}
        accepted = [name for name, outcome in outcomes.items() if outcome.inside]
        figure(f"A07: {len(FOREIGN)} foreign pages with a cookie that gives access, accepted: {len(accepted)}")
        assert accepted == [] and {outcome.status for outcome in outcomes.values()} == {403}
        codes: dict[str, object] = {
            "foreign page": outcomes["foreign"].short,
            "no token": (await enter(server, "/r")).short,
            "expired": (await enter(server, f"/r?token={late}")).short,
            "another room": (await enter(server, f"/s?token={good}")).short,
            "no room's name": (await enter(server, f"/r%00?token={good}")).short,
        }
        async with await Raw.open(server.url, "/") as raw:
            await raw.send(frames.token("s", good))
            codes["Hocuspocus, another room"] = frames.heard(await raw.recv() or b"").kind
            assert raw.ended is None
        async with AsyncExitStack() as stack:
            for _ in range(3):
                await stack.enter_async_context(await Raw.open(server.url, f"/r?token={good}"))
            codes["full"] = (await enter(server, f"/r?token={good}")).short
            server.terminate()
            await until(lambda: "draining" in server.logs(), "the drain")
            codes["going"] = (await enter(server, f"/r?token={good}")).short
    figure(f"A08: {', '.join(f'{name} {code}' for name, code in codes.items())}")
    assert list(codes.values()) == [403, 4401, 4401, 4403, 4400, "denied", 429, 503]


@pytest.mark.case("A10")
async def test_decisions_that_never_come(full, figure):
    """Many wait for an answer that does not come: so many at once, so long; whoever is answered is served meanwhile."""
    count = 1_000 if full else 300
    env = {"COLLAB_LIMITS__AUTH_SECONDS": "3", "COLLAB_LIMITS__HOLD_SECONDS": "0.1", "COLLAB_LOG__LEVEL": "error"}
    with Door(env=env) as server:
        async with Bystander(server.url) as bystander, AsyncExitStack() as stack:
            await bystander.idle()
            waiting = [
                await stack.enter_async_context(await Raw.open(server.url, f"/r{number % 50}?token=never"))
                for number in range(count)
            ]
            for one in waiting:
                await one.send(sync1())
            took, began = [], time.monotonic()
            for number in range(20):
                at = time.monotonic()
                async with await Raw.open(server.url, f"/served-{number}?token=fine") as editor:
                    await editor.send(sync1())
                    await editor.expect("sync2")
                    took.append(time.monotonic() - at)
            ends = Counter([(await one.closed(20)).code for one in waiting])
            seconds = time.monotonic() - began
        assert not server.complaints()
    figure(
        f"A10: {count} decisions that never come: 20 of 20 others served in {spread(took)}; given up after "
        f"{seconds:.1f} s (limit 3) with {dict(ends)}; {bystander}"
    )
    assert set(ends) <= {1013, 4401} and seconds < 8 and bystander.errors == 0


@pytest.mark.case("A12")
async def test_forged_addresses(figure):
    """Believed from configured peers only, from the right; one client is one, whatever it writes in its headers."""
    limit = 10
    env = {
        "COLLAB_LIMITS__CONNECTIONS_PER_ADDRESS": str(limit),
        "COLLAB_SERVER__TRUSTED_PROXIES": "127.0.0.1, 10.0.0.0/8",
    }

    async def let_in(server: Server, *chains: str, name: str = "X-Forwarded-For") -> int:
        inside = 0
        async with AsyncExitStack() as stack:
            for chain in chains:
                try:
                    await stack.enter_async_context(await Raw.open(server.url, room="r", headers=[(name, chain)]))
                    inside += 1
                except Refused as refused:
                    assert refused.status == 429
        await until(lambda: server.metrics().get("collab_connections") == 0, "their end")
        return inside

    with Server(env=env) as server:
        some = range(40)
        evading = {
            "forged in front": [f"198.51.{n}.1, 203.0.113.7" for n in some],
            "two proxies": [f"198.51.{n}.1, 203.0.113.7, 10.1.1.{n}" for n in some],
            "three proxies": [f"198.51.{n}.1, 203.0.113.7, 10.1.1.{n}, 10.2.2.2" for n in some],
            "rubbish in front": [f"{'x' * n}, 203.0.113.7" for n in some],
            "one IPv6 network": [f"2001:db8:1:2:{n:x}::{n:x}" for n in some],
            "ports": [f"203.0.113.7:{n + 1000}" for n in some],
            "IPv4 in IPv6": [f"::ffff:203.0.113.7, 10.0.0.{n + 1}" for n in some],
        }
        found = {name: await let_in(server, *chains) for name, chains in evading.items()}
        others = await let_in(server, *(f"203.0.113.{n}" for n in some))
        forwarded = await let_in(server, *(f"for=198.51.{n}.1, for=203.0.113.7" for n in some), name="Forwarded")
    evaded = [name for name, inside in (found | {"Forwarded": forwarded}).items() if inside > limit]
    figure(
        f"A12: {len(some)} sockets in each of {len(found) + 1} disguises, limit {limit}: evaded {len(evaded)}; "
        f"of 40 clients {others}"
    )
    assert evaded == [] and others == 40
    with Server(env={"COLLAB_LIMITS__CONNECTIONS_PER_ADDRESS": "1"}) as server:
        poisoned = await let_in(server, *["203.0.113.7"] * 5)
        assert poisoned == 5, "nobody is believed here: another's address cannot be used up"


INSIDE = [
    "/metrics",
    "/admin",
    "/api",
    "/api/rooms",
    "/debug",
    "/debug/pprof",
    "/console",
    "/docs",
    "/openapi.json",
    "/demo",
    "/.env",
]


@pytest.mark.case("A15")
async def test_what_is_inside_is_not_reached_from_outside(figure):
    """/metrics at its own port and with its token; nothing else than health answers at the editors' port."""
    secret, inner = "a token for whoever scrapes, 32 bytes", free_port()
    env = {"COLLAB_SERVER__INTERNAL_PORT": str(inner), "COLLAB_SERVER__METRICS_TOKEN": secret}
    env |= {"JWT_SECRET": "0f3a9b7c5d1e8264" * 4, "COLLAB_ADMIN__TOKEN": "another, for administrators, 32 bytes"}
    with Server(env=env, args=["--production"]) as server:
        outside = {path: server.get(path)[0] for path in INSIDE}
        tricks = ["/metrics/", "//metrics", "/./metrics", "/%6detrics", "/metrics?x", "/health/../metrics", "/METRICS"]
        outside |= {path: server.get(path)[0] for path in tricks}
        reached = [path for path, status in outside.items() if status < 300 or status in (401, 403)]
        public, server.port = server.port, inner
        without = server.get("/metrics")[0]
        try:
            editor: object = await enter(server, "/room")
        except OSError:
            editor = None
        server.port = public
        figure(
            f"A15: {len(outside)} paths from outside, reachable: {len(reached)}; at the internal port without the "
            f"token {without}, and an editor there: {getattr(editor, 'short', editor)}"
        )
        assert reached == [] and without == 401
        assert not getattr(editor, "inside", False)


@pytest.mark.case("A17")
async def test_rooms_made_by_entering_them(full, figure):
    """One user tries names: so many become rooms, none that nobody typed in is on the disk, memory is bounded."""
    names, quota = (20_000, 1_000) if full else (1_000, 100)
    env = {
        "JWT_SECRET": SECRET,
        "COLLAB_LIMITS__ROOMS_CREATED_PER_USER": str(quota),
        "COLLAB_ROOMS__IDLE_COUNT": "50",
        "COLLAB_LOG__LEVEL": "error",
        "COLLAB_LIMITS__HOLD_SECONDS": "0.1",
    }
    with Server(env=env) as server:
        may = token({"**": "write"}, 600)
        may_not = token({"**": "write"}, 600, sub="ben", create=False)
        ends = Counter[object]()
        async with Bystander(server.url, token=token({"bystander": "write"}, 600, sub="eve")) as bystander:
            await bystander.idle()
            before, began = server.rss(), time.monotonic()
            for number in range(names):
                ends[(await enter(server, f"/a{number}?token={may}")).short] += 1
            refused = [(await enter(server, f"/b{number}?token={may_not}")).short for number in range(20)]
            grown, more = server.rss() - before, quota * (time.monotonic() - began) / 3600  # the quota is for an hour
            metrics = server.metrics()
        rooms = metrics.get("collab_rooms")
        server.terminate()
        await server.exited()
        stored = [room["name"] for room in json.loads(server.call("rooms", "--json"))]
    figure(
        f"A17: {names} names tried by one user, quota {quota}: {dict(ends)}; without the right to create "
        f"{set(refused)}; "
        f"{rooms:.0f} rooms in memory, {len(stored) - 1} of them on disk, memory grew by {grown / MiB:.1f} MiB; "
        f"{bystander}"
    )
    assert quota <= ends[101] <= quota + more + 1 and set(ends) == {101, 1013} and set(refused) == {4403}
    assert rooms <= 51 and stored == ["bystander"] and grown < 40 * MiB
