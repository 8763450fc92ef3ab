"""Stock y-websocket editors, each generation: they type together, lose nothing, and see each other."""

from __future__ import annotations

import asyncio
import time
import unicodedata

import pytest

from tests.support.node import VERSIONS
from tests.support.raw import Peer

pytestmark = pytest.mark.anyio


async def test_both_ways(server, node, room, version):
    anna = await node.client(server.url, room, version=version)
    ben = await node.client(server.url, room)
    await node.all_synced([anna, ben])

    await anna.insert("text", 0, "Grüße 🙂")
    await ben.text_is("Grüße 🙂")
    await ben.edit(["text.insert", "text", -1, "!"], ["text.format", "text", 0, 5, {"bold": True}])
    await anna.text_is("Grüße 🙂!")
    await anna.edit(
        ["map.set", "map", "key", {"nested": [1, 2.5, None, "ü"]}],
        ["array.push", "array", [1, "two", {"three": 3}]],
        ["xml.insert", "xml", 0, "paragraph", {"align": "left"}, "words"],
    )
    await ben.value_is("array", "array", [1, "two", {"three": 3}])
    await ben.edit(["array.delete", "array", 0, 1], ["map.set", "map", "other", True])
    await node.converged([anna, ben])

    late = await node.client(server.url, room, version=version)
    await late.synced()
    await node.converged([anna, ben, late])
    assert await late.read("delta", "text") == [
        {"insert": "Grüße", "attributes": {"bold": True}},
        {"insert": " 🙂!"},
    ]
    assert await late.read("map", "map") == {"key": {"nested": [1, 2.5, None, "ü"]}, "other": True}
    assert await late.read("array", "array") == ["two", {"three": 3}]
    assert await late.read("xml", "xml") == '<paragraph align="left">words</paragraph>'


async def test_typing_at_once(server, node, room, version):
    """Eight editors type and delete without waiting for each other, long enough for the room to be compacted."""
    editors = await node.clients(server.url, [room] * 8, version=version)
    await node.all_synced(editors)
    for round_ in range(50):
        await node.each(editors, "edit", edits=[["text.insert", "text", 0, f"{round_},"]], together=False)
        await node.each(editors[1:], "edit", edits=[["text.delete", "text", 0, 1]], together=False)
    await node.converged(editors, within=20)
    late = await node.client(server.url, room, version=version)
    await late.synced()
    await node.converged([*editors, late])
    assert (await late.text()).count(",") >= 50


async def test_offline_edits_are_uploaded(server, node, room, version):
    anna = await node.client(server.url, room, version=version)
    ben = await node.client(server.url, room, version=version)
    await node.all_synced([anna, ben])
    await anna.insert("text", 0, "shared.")
    await ben.text_is("shared.")

    await anna.disconnect()
    await anna.insert("text", 0, "offline ")
    await anna.edit(["map.set", "map", "made", "offline"], ["text.delete", "text", -0, 3])
    await ben.insert("text", -1, " meanwhile")
    await anna.connect()
    await ben.text_is("line shared. meanwhile")
    await ben.value_is("map", "map", {"made": "offline"})
    await node.converged([anna, ben])

    # Someone who wrote all of it before ever connecting.
    saved = await anna.state()
    carol = await node.client(server.url, f"{room}-copy", version=version, update=saved.update)
    await carol.insert("text", 0, "copy: ")
    late = await node.client(server.url, f"{room}-copy")
    await late.text_is("copy: line shared. meanwhile")
    await carol.synced()
    await node.converged([carol, late])


async def test_edits_made_while_cut_off_arrive(server, node, room, version):
    """The socket dies under the editor, who types on; the provider reconnects by itself."""
    anna = await node.client(server.url, room, version=version)
    ben = await node.client(server.url, room, version=version)
    await node.all_synced([anna, ben])
    for nth, how in enumerate(("fin", "rst", "fin", "rst")):
        await node.batch(
            [
                {"cmd": "cut", "client": anna.name, "how": how, "back": True},
                {"cmd": "edit", "client": anna.name, "edits": [["text.insert", "text", -1, f"{nth};"]]},
            ]
        )
        await anna.opened(nth + 2)
        await anna.synced()
    await ben.text_is("0;1;2;3;")
    await node.converged([anna, ben])


NAMES = (
    "réunion à 10h",
    "資料/2026/計画 1",
    "a/b",
    "a//b",
    "a/b/",
    "🙂",
    unicodedata.normalize("NFC", "Ångström"),
    unicodedata.normalize("NFD", "Ångström"),
    "Docs",
    "docs",
    "a:b*[c]",
    "x&y=z;w+v",
    "~tilde'quote(1)!",
)


async def test_room_names(server, node, version):
    """Every name is a room of its own, and the same one for everybody who says it."""
    writers = await node.clients(server.url, NAMES, version=version)
    await node.all_synced(writers)
    for name, writer in zip(NAMES, writers, strict=True):
        await writer.insert(f"names-{version}", 0, name)
    readers = await node.clients(server.url, NAMES)
    for name, reader in zip(NAMES, readers, strict=True):
        await reader.text_is(name, field=f"names-{version}")
    async with await Peer.open(server.url, NAMES[1]) as peer:  # and percent-encoded by someone else
        await peer.text_is(NAMES[1], name=f"names-{version}")


async def test_query_parameters_are_not_part_of_the_room(server, node, room, version):
    anna = await node.client(server.url, room, version=version, params={"token": "a b&c", "x": "/ü"})
    ben = await node.client(server.url, room)
    await node.all_synced([anna, ben])
    await anna.insert("text", 0, "same room")
    await ben.text_is("same room")


async def test_a_late_joiner_sees_who_is_there(server, node, room, version):
    anna = await node.client(server.url, room, version=version, awareness={"name": "Änna", "cursor": None})
    ben = await node.client(server.url, room, awareness={"name": "Ben"})
    await node.all_synced([anna, ben])
    await anna.set_presence({"name": "Änna", "cursor": {"anchor": 3}})
    await ben.until("present", ids=[anna.client_id])

    late = await node.client(server.url, room, version=version, awareness=False)
    began = time.monotonic()
    await late.sees(anna, ben, within=2)
    assert time.monotonic() - began < 2
    assert await late.presence() == {
        anna.client_id: {"name": "Änna", "cursor": {"anchor": 3}},
        ben.client_id: {"name": "Ben"},
    }, "the late joiner must see the two editors and nobody else (no phantom user of the server)"


@pytest.mark.parametrize("how", ["fin", "rst", "destroy"])
async def test_whoever_leaves_vanishes(server, node, room, version, how, figure):
    """Within two seconds, not the 30 s after which editors give up on a silent one by themselves."""
    anna = await node.client(server.url, room, version=version, awareness={"name": "anna"})
    ben = await node.client(server.url, room, awareness={"name": "ben"})
    await anna.sees(ben)
    await ben.sees(anna)
    began = time.monotonic()
    if how == "destroy":
        await anna.destroy()
    else:
        assert await anna.cut(how, back=False)
    await ben.misses(anna, within=2)
    figure(f"presence gone after {1000 * (time.monotonic() - began):.0f} ms")
    assert ben.client_id in await ben.presence()


async def test_no_echo_brings_back_a_ghost(server, node, room, version):
    """Someone moves the cursor and dies in the same instant: the others' echoes of that move arrive after the end."""
    others = await node.clients(server.url, [room] * 6, version=version, awareness={"name": "here"})
    await node.all_synced(others)
    ghosts = await node.clients(server.url, [room] * 20, version=version, awareness={"name": "dying"})
    await node.all_synced(ghosts)
    await others[0].sees(*others, *ghosts)
    for ghost in ghosts:
        await node.batch(
            [
                {"cmd": "setPresence", "client": ghost.name, "state": {"name": "dying", "cursor": 1}},
                {"cmd": "cut", "client": ghost.name, "how": "fin", "back": False},
            ]
        )
    await others[0].misses(*ghosts, within=2)
    await asyncio.sleep(0.5)
    late = await node.client(server.url, room, awareness=False)
    await late.sees(*others)
    assert set(await late.presence()) == {other.client_id for other in others}


@pytest.mark.parametrize("how", ["disconnect", "fin", "rst"])
async def test_whoever_comes_back_is_shown_again(server, node, room, version, how):
    """A provider that reconnects announces itself with the clock it had, which y-protocols calls old news.

    Those who saw it leave can take it only with its next renewal (15 s). Those who did not must see it at once.
    """
    anna = await node.client(server.url, room, version=version, awareness={"name": "anna"})
    ben = await node.client(server.url, room, awareness={"name": "ben"})
    await anna.set_presence({"name": "anna", "cursor": 1})
    await ben.sees(anna)
    if how == "disconnect":
        await anna.disconnect()
        await ben.misses(anna)
        await anna.connect()
    else:
        await anna.cut(how)
    await anna.opened(2)
    await anna.synced()
    late = await node.client(server.url, room, version=version, awareness=False)
    await late.sees(anna, ben, within=2)


async def test_editing_during_ones_own_handshake(server, node, room, version, full, figure):
    """S20: joiners type before sync step 2 has come, while the room is busy. No update may overtake step 2."""
    joiners = 100 if full else 30
    busy = await node.client(server.url, room)
    await busy.synced()
    stop = asyncio.Event()

    async def type_on():
        nth = 0
        while not stop.is_set():
            await busy.insert("busy", 0, f"{nth} ")
            nth += 1
        return nth

    typing = asyncio.create_task(type_on())
    editors = []
    for nth in range(joiners):
        joiner = await node.client(
            server.url,
            room,
            version=version,
            typeOnOpen=["joined", f"<{nth}>"],
            trace=True,
            quiet=True,
            deflate=False,  # Node inflates a few thousand frames a second for all of them together
        )
        editors.append(joiner)
    await node.all_synced(editors)
    stop.set()
    typed = await typing
    await node.converged([busy, *editors], within=30)
    text = await busy.text("joined")
    assert sorted(text.strip("<>").split("><"), key=int) == [str(nth) for nth in range(joiners)]
    assert typed > joiners
    for editor in editors:
        kinds = [kind for _t, direction, kind, _bytes in await editor.frames() if direction == "in"]
        assert "update" not in kinds[: kinds.index("sync2")], f"an update came before sync step 2: {kinds[:6]}"
    figure(f"{joiners} joiners typed during their handshake, {typed} edits beside them")


async def test_every_generation_in_one_room(server, node, room):
    editors = [await node.client(server.url, room, version=version) for version in VERSIONS]
    async with await Peer.open(server.url, room) as peer:
        await node.all_synced(editors)
        await peer.until(peer.synced.is_set, "sync step 2")
        for editor in editors:
            await editor.insert("text", 0, f"{editor.name};")
        await peer.write("python;")
        await peer.until(lambda: len(peer.text().split(";")) == 5, "what all four typed")
        for editor in editors:
            await editor.text_is(peer.text())
        assert peer.doc.get_state() and peer.text().count("python;") == 1


async def test_a_resync_is_answered(server, node, room, version):
    """`resyncInterval`: sync step 1 again and again on one connection, each answered by step 2."""
    anna = await node.client(server.url, room, version=version, resyncInterval=100)
    await anna.synced()
    await asyncio.sleep(1)
    counted = await anna.counters()
    assert counted["sent"]["sync1"] >= 5
    assert counted["received"]["sync2"] >= counted["sent"]["sync1"] - 1
    assert len(counted["opens"]) == 1
