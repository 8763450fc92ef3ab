"""What happens in a hub, and what a receiver is told of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from pycrdt import Text

from collab.errors import SettingsError
from collab.hooks import telling
from collab.hooks.telling import Hooks
from collab.hub import Hub
from collab.settings import Settings
from collab.store import Entry
from collab.store.memory import MemoryStore
from collab.store.outbox import Event
from tests.support.receiver import SECRET, Receiver
from tests.support.waiting import until

pytestmark = pytest.mark.anyio


def settings(url: str | None, **more: Any) -> Settings:
    hooks = {"urls": url, "secret": SECRET, "debounce_seconds": 0, "max_wait_seconds": 0, "retry_seconds": 0.1}
    return Settings(store={"url": "memory:"}, hooks=hooks | more)


@asynccontextmanager
async def running(url: str | None, store: MemoryStore | None = None, **more: Any) -> AsyncIterator[tuple[Hub, Hooks]]:
    async with Hub(settings(url, **more), store=store) as hub:
        hooks = Hooks(hub)
        await hooks.open()
        yield hub, hooks
        await hub.flush()
        await hooks.close()


async def write(hub: Hub, room: str) -> None:
    async with hub.room(room) as opened:
        opened.ydoc.get("text", type=Text).insert(0, "x")
    await hub.flush()


def kinds(receiver: Receiver, room: str = "room") -> list[str]:
    return [event["event"] for event in receiver.first(room)]


async def test_a_room_is_made_changed_and_deleted():
    with Receiver() as receiver:
        async with running(receiver.url) as (hub, _):
            await write(hub, "room")
            await until(lambda: "document.changed" in kinds(receiver), "the change")
            await hub.dismiss("room")
            await hub.store.erase("room")
            await until(lambda: "room.deleted" in kinds(receiver), "the end")
        assert kinds(receiver) == ["room.created", "document.changed", "room.deleted"] and not receiver.wrong


async def test_changes_are_gathered():
    with Receiver() as receiver:
        async with running(receiver.url, debounce_seconds=2, max_wait_seconds=9) as (hub, _):
            for _ in range(10):
                await write(hub, "room")
                await anyio.sleep(0.1)
            await until(lambda: "document.changed" in kinds(receiver), "the change", within=10)
            changed = receiver.first("room")[-1]
            assert (changed["since"], changed["seq"]) == (0, 10)


async def test_what_was_not_told_is_told_at_the_next_start():
    store = MemoryStore()
    with Receiver() as receiver:
        async with running(receiver.url, store, debounce_seconds=5, max_wait_seconds=9) as (hub, _):
            await write(hub, "room")
            hub.news(Event.JOINED, "room", {"client": 7, "user": "ana", "clients": 1})
            await until(lambda: "client.joined" in kinds(receiver), "who came")
        assert "document.changed" not in kinds(receiver)
        async with running(receiver.url, store):
            await until(lambda: {"document.changed", "client.left"} <= set(kinds(receiver)), "the rest")
        joined, left = (event for event in receiver.first("room") if event["event"].startswith("client"))
        assert joined["client"] == left["client"] and left["lost"] and left["user"] == "ana"


async def test_changes_that_came_by_another_way(monkeypatch):
    monkeypatch.setattr(telling, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(telling, "SWEEP_SECONDS", 0.1)
    with Receiver() as receiver:
        async with running(receiver.url) as (hub, _):
            await hub.store.append([Entry("room", b"\0\0", 1.0)])
            await until(lambda: "document.changed" in kinds(receiver), "the change")


async def test_only_what_is_wanted():
    with Receiver() as receiver:
        async with running(receiver.url, events="document.restored, room.created") as (hub, hooks):
            await write(hub, "room")
            hub.news(Event.JOINED, "room", {"client": 7, "user": None, "clients": 1})
            hub.news(Event.RESTORED, "room", {"before": 1})
            await hooks.test()
            await until(lambda: "test" in kinds(receiver, ""), "the test")
            await until(lambda: "document.restored" in kinds(receiver), "the restore")
            await anyio.sleep(1.2)
            assert kinds(receiver) == ["room.created", "document.restored"]


async def test_nobody_is_told_without_a_url():
    store = MemoryStore()
    async with running(None, store) as (hub, hooks):
        await write(hub, "room")
        hub.news(Event.RESTORED, "room", {})
        assert await hooks.test()
    async with store:
        assert (await store.outbox.tally()).waiting == 0


async def test_events_wait_for_the_store():
    with Receiver() as receiver:
        async with running(receiver.url) as (hub, _):
            store = hub.store
            await store.__aexit__()
            hub.news(Event.RESTORED, "room", {"before": 1})
            await anyio.sleep(0.1)
            await store.__aenter__()
            await until(lambda: "document.restored" in kinds(receiver), "what was kept", within=10)


async def test_no_more_waits_than_there_is_room_for(monkeypatch):
    monkeypatch.setattr(telling, "QUEUE", 3)
    with Receiver() as receiver:
        async with running(receiver.url) as (hub, _):
            for _ in range(5):
                hub.news(Event.RESTORED, "room", {})
            lost = hub.metrics.registry.get_sample_value("collab_hook_deliveries_total", {"outcome": "lost"})
            assert lost == 2
            await until(lambda: len(kinds(receiver)) == 3, "the others")


def test_a_secret_that_could_be_found():
    with pytest.raises(SettingsError, match="can be found by trying"):
        Hooks(Hub(settings("http://127.0.0.1:1/", secret="short")))


def test_a_store_without_an_outbox():
    store = MemoryStore()
    del store.outbox
    with pytest.raises(SettingsError, match="no outbox"):
        Hooks(Hub(settings("http://127.0.0.1:1/"), store=store))
