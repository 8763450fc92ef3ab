"""The receiver of webhooks is away, the server is killed meanwhile: everything arrives, in order within each room."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from typing import Any

import httpx
import pytest

from tests.support.raw import Peer
from tests.support.receiver import SECRET, Receiver
from tests.support.server import Server
from tests.support.waiting import until

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

TOKEN = "a token that opens the admin interface"
ROOMS = 12
SETTLED = 0.3
"""Seconds after which who came and went is in the outbox, with room for a slow machine."""


class Story:
    """What is done in some rooms, and what has to be told of it."""

    def __init__(self, server: Server, http: httpx.AsyncClient, dice: random.Random) -> None:
        self.server, self.http, self.dice = server, http, dice
        self.peers: dict[str, Peer] = {}
        self.due: dict[str, Counter[str]] = {f"room-{number}": Counter() for number in range(ROOMS)}
        self.gone: set[str] = set()
        self.snapshots: dict[str, list[int]] = {room: [] for room in self.due}
        self.edits = 0

    async def enter(self) -> None:
        for room in self.due:
            if room not in self.gone:
                self.peers[room] = await Peer.open(self.server.url, room, doc=self._doc(room))
                await self.peers[room].synced.wait()
                self.due[room]["client.joined"] += 1

    def _doc(self, room: str) -> Any:
        return self.peers[room].doc if room in self.peers else None

    async def type(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            await self.dice.choice(list(self.peers.values())).write("x")
            self.edits += 1
            await asyncio.sleep(0.005)

    async def snapshot_and_restore(self, room: str) -> None:
        while not (await self.http.get(f"/rooms/{room}")).is_success:
            await self.peers[room].write("x")
        made = (await self.http.post(f"/rooms/{room}/snapshots", json={"label": "mine"})).json()
        self.snapshots[room].append(made["id"])
        await self.peers[room].write("more")
        await asyncio.sleep(0.2)
        done = (await self.http.post(f"/rooms/{room}/restore", json={"to": {"snapshot": made["id"]}})).json()
        self.snapshots[room].append(done["before"]["id"])
        self.due[room]["document.restored"] += 1

    async def delete(self, room: str) -> None:
        assert (await self.http.delete(f"/rooms/{room}")).is_success
        self.gone.add(room)
        self.due[room]["room.deleted"] += 1
        await self.peers.pop(room).leave()

    async def leave(self) -> None:
        for peer in self.peers.values():
            await peer.leave()


def check(room: str, events: list[dict[str, Any]]) -> list[str]:
    """What is out of order in what was told of a room."""
    wrong, seq, here, snapshot = [], 0, set[str](), 0
    for place, event in enumerate(events):
        match event["event"]:
            case "room.created" if any(one["event"] == "document.changed" for one in events[:place]):
                wrong.append("made after it was changed")
            case "document.changed":
                if event["since"] != seq:
                    wrong.append(f"changes since {event['since']} told after those up to {seq}")
                seq = event["seq"]
            case "client.joined":
                here.add(event["client"])
            case "client.left":
                if event["client"] not in here:
                    wrong.append("left before it joined")
                here.discard(event["client"])
            case "snapshot.made":
                if event["snapshot"] <= snapshot:
                    wrong.append("snapshots")
                snapshot = event["snapshot"]
            case "room.deleted" if any(one["event"] == "document.changed" for one in events[place:]):
                wrong.append("changed after it was deleted")
    return [f"{room}: {what}" for what in wrong] + [f"{room}: {client} never left" for client in here]


async def test_receiver_away_and_server_killed(tmp_path, full, figure):
    away = 60.0 if full else 6.0
    env = {
        "COLLAB_ADMIN__TOKEN": TOKEN,
        "COLLAB_HOOKS__SECRET": SECRET,
        "COLLAB_HOOKS__DEBOUNCE_SECONDS": "0.3",
        "COLLAB_HOOKS__MAX_WAIT_SECONDS": "1",
        "COLLAB_HOOKS__RETRY_SECONDS": "0.2",
        "COLLAB_HOOKS__RETRY_MAX_SECONDS": "5",
    }
    cross = random.Random(9)  # an event that fails must hold back those after it
    receiver = Receiver(lambda event: 500 if cross.random() < 0.2 else 204).start()
    server = Server(env=env | {"COLLAB_HOOKS__URLS": receiver.url})
    headers = {"authorization": f"Bearer {TOKEN}"}
    with server:
        async with httpx.AsyncClient(base_url=f"{server.http_url}/api/v1", headers=headers, timeout=30) as http:
            story = Story(server, http, random.Random(8))
            await story.enter()
            await story.type(1)
            await story.snapshot_and_restore("room-0")
            await until(lambda: _kinds(receiver)["document.restored"], "the first events", within=15)

            receiver.stop()
            down = time.monotonic()
            before = len(receiver.first())
            await story.snapshot_and_restore("room-1")
            await story.delete("room-2")
            await story.type(away / 3)
            await asyncio.sleep(SETTLED)
            typing = asyncio.create_task(story.type(2))
            await asyncio.sleep(0.2)
            server.kill()  # in the middle of it
            typing.cancel()
            await asyncio.gather(typing, return_exceptions=True)
            await asyncio.to_thread(server.start)
            await story.enter()
            await story.snapshot_and_restore("room-3")
            await story.delete("room-4")
            await story.type(max(0.5, away - (time.monotonic() - down)))
            receiver.start()
            back = time.monotonic()

            await story.leave()
            heads = {}
            for room in story.due.keys() - story.gone:
                heads[room] = (await http.get(f"/rooms/{room}")).json()["seq"]
            await until(lambda: _done(receiver, heads), lambda: f"all events; there are {_kinds(receiver)}", within=60)
            needed = time.monotonic() - back
            await until(lambda: not server.metrics().get("collab_hooks", state="waiting"), "an empty outbox", within=30)
    receiver.stop()

    wrong, lacking, events = list(receiver.wrong), [], 0
    for room, due in story.due.items():
        told = receiver.first(room)
        events += len(told)
        wrong += check(room, told)
        kinds = Counter(event["event"] for event in told)
        snapshots = [event["snapshot"] for event in told if event["event"] == "snapshot.made"]
        lacking += [f"{room}: {kind}" for kind, count in due.items() if kinds[kind] < count]
        lacking += [f"{room}: snapshot {id}" for id in story.snapshots[room] if id not in snapshots]
        if not kinds["room.created"] or (room in heads and _seq(told) != heads[room]):
            lacking.append(f"{room}: {kinds}, changes up to {_seq(told)} of {heads.get(room)}")
    figure(
        f"webhooks: receiver fails at every fifth event, and is away for {back - down:.0f} s, "
        f"server killed with -9 meanwhile, {story.edits} edits in "
        f"{ROOMS} rooms: {events} events, {events - before} of them after the receiver was back, {len(lacking)} lost, "
        f"{len(receiver.told) - events} told twice, {len(wrong)} out of order within their room; "
        f"all there {needed:.1f} s after it was back"
    )
    assert not lacking and not wrong, (lacking, wrong)


def _seq(told: list[dict[str, Any]]) -> int:
    return max((event["seq"] for event in told if event["event"] == "document.changed"), default=0)


def _kinds(receiver: Receiver) -> Counter[str]:
    return Counter(event["event"] for event in receiver.first())


def _done(receiver: Receiver, heads: dict[str, int]) -> bool:
    """Whether all changes are told, and all who came have gone."""
    kinds = _kinds(receiver)
    return kinds["client.joined"] == kinds["client.left"] and all(
        _seq(receiver.first(room)) == head for room, head in heads.items()
    )
