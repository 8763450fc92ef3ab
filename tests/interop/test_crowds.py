"""Many rooms at once: two who come first at the same time, and those who type and are gone."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from tests.support.server import Server
from tests.support.waiting import until

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]


async def test_two_clients_open_a_new_room_in_the_same_tick(server, node, room, figure):
    """S19. Both get sync step 2 within a second, and both are in the same room."""
    rooms = [f"{room}-{nth}" for nth in range(1_000)]
    found = await node.new_rooms(server.url, rooms)
    times = [seconds for one in found for seconds in one["sync"]]
    assert len(times) == 2_000
    never = times.count(None)
    assert never == 0, f"{never} of 2,000 never got sync step 2"
    assert all(one["opens"] == [1, 1] for one in found), "somebody had to reconnect"
    figure(
        f"2 clients x 1,000 new rooms: sync step 2 after {1000 * sorted(times)[1_000]:.1f} ms (median), "
        f"{1000 * max(times):.1f} ms (longest)"
    )
    assert max(times) < 1
    apart = [one["room"] for one in found if not one["together"]]
    assert not apart, f"in {len(apart)} rooms the two do not see each other: {apart[:5]}"


async def test_a_crowd_opens_one_new_room_in_the_same_tick(server, node, room, full):
    found = await node.new_rooms(
        server.url, [f"{room}-{nth}" for nth in range(50 if full else 10)], each=20, concurrency=2
    )
    assert all(None not in one["sync"] and one["together"] for one in found)


@pytest.mark.parametrize("ending", ["terminate", "kill"])
async def test_type_and_leave_in_the_same_instant(node, ending, full, figure):
    """D05: connect, type, close, the edit and the close frame in one TCP segment. Then the server is started anew."""
    with Server() as server:
        expected: dict[str, str] = {}
        for delay in (0, 2, 20, 200) if full else (0,):
            rooms = [f"{ending}-{delay}-{nth}" for nth in range(1_000)]
            done = await node.type_and_leave(server.url, rooms, delay=delay)
            outcome = Counter((one["sent"], one["answered"]) for one in done)
            assert all(sent and answered is not None and answered != 1006 for sent, answered in outcome), outcome
            expected |= {name: name for name in rooms}
        if ending == "terminate":
            server.terminate()
            ended = await server.exited()
            assert ended.code == 0
        else:
            await asyncio.sleep(1)  # far more than a commit takes
            server.kill()
        server.start()
        found = await node.read_rooms(server.url, list(expected))
    lost = [name for name in expected if found[name] != name]
    figure(f"typed and left: {len(expected)} rooms, {len(lost)} lost after a restart by {ending}")
    assert not lost, f"{len(lost)} of {len(expected)}: {[(name, found[name]) for name in lost[:5]]}"


async def sigterm_in_the_middle(node, prefix: str) -> tuple[int, list[str]]:
    """How many were heard (their closing handshake was answered, with their own code), and whose edit is lost."""
    with Server(env={"COLLAB_SERVER__DRAIN_SECONDS": "0.3"}) as server:
        rooms = [f"{prefix}-{nth}" for nth in range(300)]
        crowd = asyncio.create_task(node.type_and_leave(server.url, rooms, concurrency=60, within=1))
        await until(lambda: server.metrics().get("collab_connection_attempts_total") > 60, "a crowd")
        server.terminate()
        assert (await server.exited()).code == 0
        heard = [one["room"] for one in await crowd if one["sent"] and one["answered"] in (1000, 1005)]
        server.start()
        found = await node.read_rooms(server.url, heard)
    await node.reset()
    return len(heard), [name for name in heard if found[name] != name]


async def test_type_and_leave_while_the_server_goes(node, full, figure):
    rounds = [await sigterm_in_the_middle(node, str(nth)) for nth in range(20 if full else 3)]
    heard = sum(count for count, _lost in rounds)
    lost = [name for _count, names in rounds for name in names]
    figure(f"SIGTERM amid a crowd that types and leaves, {len(rounds)} times: {heard} were heard, {len(lost)} lost")
    assert heard > 0 and not lost


@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_type_and_die_in_the_same_instant(server, node, room, how, figure):
    """The client's process dies instead. What TCP delivered is kept; a reset may destroy what was still under way."""
    rooms = [f"{room}-{how}-{nth}" for nth in range(1_000)]
    done = await node.type_and_leave(server.url, rooms, how=how)
    assert all(one["sent"] for one in done)
    await asyncio.sleep(0.5)
    found = await node.read_rooms(server.url, rooms)
    kept = [name for name in rooms if found[name] == name]
    figure(f"typed and died ({how}): {len(kept)} of {len(rooms)} edits kept")
    assert all(found[name] in ("", name) for name in rooms), "a room was not served, or holds something else"
    if how == "fin":
        assert len(kept) == len(rooms)
