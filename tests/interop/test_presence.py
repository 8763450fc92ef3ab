"""What presence costs. Every y-websocket client sends back each change it hears; the server must not pass that on."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.support.node import VERSIONS
from tests.support.raw import Raw, awareness, sync1

pytestmark = pytest.mark.anyio

EDITORS = 16


async def frames(node) -> dict[str, int]:
    """Awareness frames and entries that the server has sent to all editors, and frames that they have sent to it."""
    counted = await node.counters()
    return {
        "frames": sum(one["received"]["awareness"] for one in counted),
        "entries": sum(one["received"]["awarenessEntries"] for one in counted),
        "sent": sum(one["sent"]["awareness"] for one in counted),
    }


def change(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    return {key: after[key] - before[key] for key in before}


async def quiet(node, within: float = 5.0) -> None:
    """Wait until no awareness frame has passed for half a second."""
    deadline = time.monotonic() + within
    before = await frames(node)
    while True:
        await asyncio.sleep(0.5)
        after = await frames(node)
        if after == before:
            return
        assert time.monotonic() < deadline, f"presence does not come to rest: {change(before, after)} in 0.5 s"
        before = after


@pytest.mark.timeout(150)
async def test_one_cursor_move_among_sixteen(server, node, room, figure):
    """One move is one frame to each of the 16; a renewal likewise, and no client's echo multiplies it."""
    began = time.monotonic()
    editors = []
    for nth in range(EDITORS):  # all generations
        version = VERSIONS[nth % len(VERSIONS)]
        editors.append(await node.client(server.url, room, version=version, awareness={"name": f"e{nth}"}, quiet=True))
    await node.all_synced(editors)
    for editor in editors:
        await editor.sees(*editors)
    await quiet(node)

    before = await frames(node)
    at = time.monotonic()
    await editors[5].set_presence({"name": "e5", "cursor": {"anchor": 1, "head": 2}})
    await asyncio.sleep(5)
    moved = change(before, await frames(node))
    assert time.monotonic() - began < 15, "too slow: a renewal may have come between"
    for state in await node.each(editors, "presence"):
        shown = {id_: state for id_, _clock, state in state}
        assert shown[editors[5].client_id] == {"name": "e5", "cursor": {"anchor": 1, "head": 2}}
    figure(
        f"one cursor move, {EDITORS} editors, {time.monotonic() - at:.0f} s: the server sent {moved['frames']} frames, "
        f"the editors {moved['sent']}"
    )
    assert moved["sent"] >= EDITORS - 1, "these clients echo; if they did not, nothing would be proven"
    assert moved["frames"] == EDITORS
    assert moved["entries"] == EDITORS

    # Everybody renews 15 to 18 s after the last own change (the mover later).
    clocks = [await editor.presence_clocks() for editor in editors]
    before = await frames(node)
    resting = [editor for editor in editors if editor is not editors[5]]
    deadline = began + 15 + 3 + 6

    async def renewed() -> bool:
        now = [await editor.presence_clocks() for editor in editors]
        return all(now[nth][one.client_id] > clocks[nth][one.client_id] for nth in range(EDITORS) for one in resting)

    while not await renewed():
        assert time.monotonic() < deadline, "not every renewal has reached every editor"
        await asyncio.sleep(0.2)
    await quiet(node)
    now = [await editor.presence_clocks() for editor in editors]
    renewals = sum(now[nth][one.client_id] - clocks[nth][one.client_id] for nth, one in enumerate(editors))
    for nth in range(EDITORS):  # everybody knows the newest clock of everybody
        assert now[nth] == {one.client_id: now[i][one.client_id] for i, one in enumerate(editors)}
    got = change(before, await frames(node))
    figure(f"{renewals} renewals among {EDITORS} editors: {got['entries']} states in {got['frames']} frames")
    assert renewals >= EDITORS - 1
    assert got["entries"] == renewals * EDITORS
    assert got["frames"] <= renewals * EDITORS


@pytest.mark.parametrize("clock", [2**31, 2**53 - 1])
async def test_an_id_taken_while_its_editor_is_offline(server, node, room, version, clock):
    """Clients believe whatever has a higher clock, of themselves too. It keeps its state, and steps over by itself."""
    mine: dict[str, object] = {"name": "mine"}
    watcher = await node.client(server.url, room, version=version, awareness={"name": "watcher"})
    editor = await node.client(server.url, room, version=version, awareness=mine)
    await watcher.sees(editor)
    await editor.disconnect()
    await watcher.misses(editor)
    async with await Raw.open(server.url, room=room) as spoofer:
        await spoofer.send_many([sync1(), awareness([(editor.client_id, clock, {"name": "a lie"})])])
        if clock == 2**31:
            await watcher.sees(editor)  # or who says so
        await editor.connect()
        await editor.synced()
        deadline = time.monotonic() + 20  # the other is asked for a sign of life, and gives none

        async def shown(state: dict[str, object]) -> bool:
            assert (await editor.presence())[editor.client_id] == state, "its own state is its own"
            return (await watcher.presence()).get(editor.client_id) == state

        while not await shown(mine):
            assert time.monotonic() < deadline, "it is not shown again"
            await editor.set_presence(mine)
            await asyncio.sleep(0.5)
        await editor.set_presence(mine | {"at": 1})
        while not await shown(mine | {"at": 1}):
            assert time.monotonic() < deadline, "its moves are not shown"
            await asyncio.sleep(0.05)
