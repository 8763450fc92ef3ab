"""O06, O07, O12, O16 and the half of M10 that one server shows: what administrators do while people type."""

from __future__ import annotations

import asyncio
import random
import shutil
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from urllib.parse import quote

import anyio
import httpx
import pytest
from pycrdt import Map, Text

from collab import backup
from collab.errors import CollabError
from collab.store import Entry, Reason
from collab.store.sqlite import SQLiteStore
from tests.cli.test_backup import Writers, run
from tests.faults.images import integrity
from tests.faults.kill_loop import COMPACT_OFTEN
from tests.history.histories import Crowd
from tests.support.histories import applied
from tests.support.ledger import Ledger
from tests.support.raw import Peer
from tests.support.raw.hocuspocus import Attached
from tests.support.rooms import content
from tests.support.server import Server
from tests.support.waiting import until

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(3600)]

TOKEN = "a token that opens the admin interface"
ENV = {"COLLAB_ADMIN__TOKEN": TOKEN}


def admin(server: Server) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=f"{server.http_url}/api/v1", headers={"authorization": f"Bearer {TOKEN}"}, timeout=60
    )


def file_of(server: Server) -> Path:
    return Path(server.store.removeprefix("sqlite:///"))


async def saved_in(file: Path, writers: int) -> set[str]:
    """The edits of `Writers` that a store holds, read by a server of its own."""
    found: set[str] = set()
    with Server(store=f"sqlite:///{file}") as server:
        for nth in range(writers):
            async with await Attached.open(server.url, f"writer {nth}") as one:
                await one.hears("step2")
                found |= set(one.map.to_py() or {})
    return found


# -- O06: backups while people write, and what `cp` makes instead


async def test_o06_backups_under_load(tmp_path, full, figure):
    """Each holds all that was saved before it began; SQLite finds it whole, and so does every checksum of ours."""
    rounds = 20 if full else 3
    writers = Writers("")
    begun: list[tuple[set[str], float, float]] = []
    copies: list[tuple[set[str], Path]] = []
    server = Server(folder=tmp_path, env=ENV | COMPACT_OFTEN)
    with server:
        writers.url = server.url
        async with writers:
            await asyncio.sleep(1)
            for nth in range(rounds):
                before, began = {word for _, word in writers.saved}, time.monotonic()
                await run("backup", f"{tmp_path}/{nth}.db", "--server", server.http_url, "--token", TOKEN)
                begun.append((before, began, time.monotonic()))
                copies.append(({word for _, word in writers.saved}, tmp_path / f"copied-{nth}.db"))
                await anyio.to_thread.run_sync(shutil.copyfile, file_of(server), copies[-1][1])
        assert not server.complaints()
    at = {word: moment for moment, word in writers.saved}
    windows, restored = [], []
    for nth, (before, _, ended) in enumerate(begun):
        assert integrity(tmp_path / f"{nth}.db") == "ok"
        began = time.monotonic()
        await run("restore-backup", f"{tmp_path}/{nth}.db", "--store", f"sqlite:///{tmp_path}/back-{nth}.db")
        found = await saved_in(tmp_path / f"back-{nth}.db", len(writers.tasks))
        restored.append(time.monotonic() - began)
        assert before - found == set(), f"backup {nth} lacks {len(before - found)} edits saved before it began"
        lost = [moment for word, moment in at.items() if word not in found and moment <= ended]
        windows.append(ended - min(lost) if lost else 0.0)
    refused, lacking = 0, 0
    for saved, copy in copies:
        try:
            await backup.verify(copy)
        except CollabError:
            refused += 1
        else:
            lacking += bool(saved - await saved_in(copy, len(writers.tasks)))
    figure(
        f"O06: {rounds} backups while {len(at)} edits were saved: 0 lack an edit saved before they began, "
        f"integrity_check ok; RPO {max(windows):.2f} s at most when it ended, RTO {max(restored):.2f} s at most"
    )
    figure(f"O06: of {rounds} plain copies (cp) of the file in use {refused} are refused, {lacking} lack saved edits")
    assert refused + lacking > 0, "a plain copy would do, then"


# -- O07 and M10: one document goes back while many have it open


class Room:
    """Twenty people in a room, each edit a word of its own; some are away."""

    def __init__(self, server: Server, name: str, dice: random.Random) -> None:
        self.server, self.name, self.dice = server, name, dice
        self.ledger = Ledger()
        self.peers: list[Peer] = []

    @asynccontextmanager
    async def open(self, count: int) -> AsyncIterator[Room]:
        async with AsyncExitStack() as stack:
            for _ in range(count):
                self.peers.append(await stack.enter_async_context(await Peer.open(self.server.url, self.name)))
            for peer in self.peers:
                await peer.synced.wait()
            yield self

    async def write(self, peer: Peer, stage: str, *, send: bool = True) -> None:
        word = self.ledger.new(stage)
        self.ledger.mark(stage, word)
        shared: Text = peer.doc.get("text", type=Text)

        def edit(_: object) -> None:
            shared.insert(self.dice.choice([0, len(str(shared).encode())]), f"[{word}]")

        if send:
            await peer.edit(edit)
        else:
            peer.change(edit)

    def words(self, peer: Peer) -> set[str]:
        found = peer.text().replace("]", "").split("[")[1:]
        assert len(found) == len(set(found)), "a word is there twice"
        return set(found)

    async def agree(self, peers: list[Peer], wanted: Callable[[set[str]], bool]) -> set[str]:
        await until(
            lambda: wanted(self.words(peers[0])) and len({peer.text() for peer in peers}) == 1,
            f"{len(peers)} clients to show the same",
            20,
        )
        return self.words(peers[0])


async def go_back(server: Server, name: str, dice: random.Random) -> tuple[set[str], float]:
    """Snapshot, edits, people who go away and type there, restore, edits, people who return; what came back of what was
    undone, and how many seconds the restore took to be on all screens."""
    room = Room(server, name, dice)
    path = f"/rooms/{quote(name, safe='')}"
    async with room.open(20) as room, admin(server) as http:
        for peer in room.peers:
            await room.write(peer, "old")
        old = room.ledger.ids("old")
        await room.agree(room.peers, lambda words: words == old)
        id = (await http.post(f"{path}/snapshots")).json()["id"]
        for peer in room.peers:
            await room.write(peer, "undone")
        undone = room.ledger.ids("undone")
        await room.agree(room.peers, lambda words: words == old | undone)
        here, away = room.peers[:14], room.peers[14:]
        for peer in away:
            await peer.leave()
        for peer in away[:3]:
            await room.write(peer, "offline", send=False)
        for peer in here:
            await room.write(peer, "undone")
        undone = room.ledger.ids("undone")
        await room.agree(here, lambda words: words == old | undone)
        began = time.monotonic()
        answer = await http.post(f"{path}/restore", json={"to": {"snapshot": id}})
        assert answer.status_code == 200, answer.text
        await room.agree(here, lambda words: words == old)
        shown = time.monotonic() - began
        for peer in here:
            await room.write(peer, "new")
        for peer in away:
            await peer.reconnect()
        kept = old | room.ledger.ids("new") | room.ledger.ids("offline")
        found = await room.agree(room.peers, lambda words: words >= kept)
    return found - kept, shown


async def test_o07_restore_while_twenty_have_it_open(full, figure):
    rounds, dice = (50, random.Random(7)) if full else (4, random.Random(7))
    came_back: set[str] = set()
    seconds = []
    with Server(env=ENV) as server:
        for nth in range(rounds):
            back, shown = await go_back(server, f"room {nth}", dice)
            came_back |= back
            seconds.append(shown)
        assert not server.complaints()
    figure(
        f"O07: {rounds} restores with 20 clients each, 6 of them away: {len(came_back)} undone edits came back, all "
        f"others are kept; on all screens after {max(seconds):.2f} s at most"
    )
    assert came_back == set() and max(seconds) < 5


async def test_m10_both_protocols_and_a_server_that_dies(full, figure):
    """One server's half: clients of both kinds converge on what was restored, and a cold reload shows nothing else."""
    rounds, back = 20 if full else 3, 0
    with Server(env=ENV | COMPACT_OFTEN) as server:
        for nth in range(rounds):
            back += await restored_and_killed(server, f"room {nth}")
    figure(
        f"M10 (one server): {rounds} restores beside clients of both protocols, then kill -9 and a cold reload: {back} "
        "old edits came back"
    )
    assert back == 0


async def restored_and_killed(server: Server, name: str) -> int:
    """How many keys somebody shows that were undone."""
    old = {"old hocuspocus", "old y-websocket"}
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(admin(server))
        yjs = await stack.enter_async_context(await Peer.open(server.url, name))
        hocus = await stack.enter_async_context(await Attached.open(server.url, name))
        away = await stack.enter_async_context(await Peer.open(server.url, name))
        await yjs.synced.wait()
        await hocus.hears("step2")
        await hocus.write("old hocuspocus")
        await yjs.put("old y-websocket", 1)
        for one in (yjs, away):
            await until(partial(shows, one, old), "the old keys")
        id = (await http.post(f"/rooms/{quote(name)}/snapshots")).json()["id"]
        await hocus.write("undone hocuspocus")
        await yjs.put("undone y-websocket", 1)
        await until(partial(shows, away, old | {"undone hocuspocus", "undone y-websocket"}), "what is undone later")
        await away.leave()
        answer = await http.post(f"/rooms/{quote(name)}/restore", json={"to": {"snapshot": id}})
        assert answer.status_code == 200, answer.text
        await hocus.until(lambda: set(hocus.map.to_py() or {}) == old)
        await until(partial(shows, yjs, old), "what was restored")
        server.restart(hard=True)
        await yjs.reconnect()
        await away.reconnect()
        async with await Peer.open(server.url, name) as cold:
            for one in (yjs, away, cold):
                await one.synced.wait()
            await until(partial(shows, away, old), "what was restored")
            await asyncio.sleep(0.1)
            return sum(len(keys(one) - old) for one in (yjs, away, cold))


def shows(peer: Peer, wanted: set[str]) -> bool:
    return keys(peer) == wanted


def keys(peer: Peer) -> set[str]:
    return set(peer.doc.get("map", type=Map).to_py() or {})


# -- O12: from store to store and back


async def test_o12_moved_and_back(tmp_path, full, figure):
    """Random histories from SQLite through an export, a server and another store, back: equal by every hash."""
    count = 1_000 if full else 60
    first = f"sqlite:///{tmp_path}/first.db"
    async with SQLiteStore(tmp_path / "first.db") as store:
        for seed in range(count):
            crowd, name = Crowd(seed, 30), f"doc {seed} ü"
            entries = [Entry(name, row.update, row.time, row.author) for row in crowd.rows]
            if entries:
                await store.append(entries)
                half = len(entries) // 2
                if half:
                    state = applied(entry.update for entry in entries[:half]).get_update()
                    await store.add_snapshot(name, state, covers=half, time=1.25, reason=Reason.MANUAL, label="half")
                    await store.compact(name, state, covers=half, basis=0)
        expected = await content(store)
    began = time.monotonic()
    await command("export-all", f"{tmp_path}/all.export", "--store", first)
    with Server(env=ENV) as server:
        taken = await run("import-all", f"{tmp_path}/all.export", "--server", server.http_url, "--token", TOKEN)
        assert taken["rooms"] == len(expected)
        assert not server.complaints()
        server.terminate()
        assert (await server.exited()).code == 0
        await command("migrate-store", server.store, f"sqlite:///{tmp_path}/back.db")
    seconds = time.monotonic() - began
    async with SQLiteStore(tmp_path / "back.db") as store:
        found = await content(store)
    differ = [name for name in expected if found.get(name) != expected[name]]
    figure(
        f"O12: {len(expected)} documents SQLite -> export -> server -> migrate-store -> SQLite in {seconds:.1f} s: "
        f"{len(differ)} mismatches (rows, checkpoints, snapshots)"
    )
    assert differ == [] and found.keys() == expected.keys()


async def command(*arguments: str) -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "collab", *arguments, stdout=PIPE, stderr=PIPE)
    _, stderr = await process.communicate()
    assert process.returncode == 0, stderr.decode()


# -- O16: what is deleted is gone


async def test_o16_deleted_while_people_type_and_it_is_compacted(tmp_path, full, figure):
    """4404 for all, nothing that was in flight makes the room again, and no file holds a word of it."""
    rounds, resurrected, told = 30 if full else 4, 0, 0
    dice = random.Random(16)
    with Server(folder=tmp_path, env=ENV | COMPACT_OFTEN) as server:
        async with admin(server) as http:
            for nth in range(rounds):
                name = f"secret room {nth}"
                away = await Peer.open(server.url, name)
                await away.synced.wait()
                await away.write("Xyzzy-classified ")
                peers = [await Peer.open(server.url, name) for _ in range(6)]
                typing = [asyncio.create_task(type_on(peer)) for peer in peers]
                await away.leave()
                await asyncio.sleep(dice.uniform(0.1, 0.6))
                assert (await http.post(f"/rooms/{quote(name)}/snapshots")).status_code == 201
                gone = await http.delete(f"/rooms/{quote(name)}")
                assert gone.status_code == 200 and gone.json()["rows"] > 0, gone.text
                codes = {(await peer.closed(20)).code for peer in peers}
                assert codes == {4404}
                told += len(peers)
                for task in typing:
                    task.cancel()
                await asyncio.gather(*typing, return_exceptions=True)
                await away.reconnect()  # who was offline offers it again
                for peer in peers:
                    await peer.leave()
                await asyncio.sleep(0.2)
                await away.leave()
                resurrected += (await http.get(f"/rooms/{quote(name)}")).status_code != 404
            server.restart()
            left = (await http.get("/rooms")).json()["items"]
            resurrected += len(left)
        server.terminate()
        assert (await server.exited()).code == 0
        complaints = [line for line in server.complaints() if "NoSuchRoom" not in line]
    holding = [path.name for path in tmp_path.rglob("*") if path.is_file() and b"Xyzzy-classified" in path.read_bytes()]
    figure(
        f"O16: {rounds} rooms deleted while 6 type and compactions run: {told} of {told} told 4404, {resurrected} "
        f"resurrected, {len(holding)} files hold a word of them"
    )
    assert resurrected == 0 and holding == [] and complaints == []


async def type_on(peer: Peer) -> None:
    await peer.synced.wait()
    while peer.ended is None:
        await peer.write("Xyzzy-classified ")
        await asyncio.sleep(0.01)
