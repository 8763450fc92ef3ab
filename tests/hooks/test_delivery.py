"""Bringing events to a real server that is well, slow, wrong, away and back."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from collab.auth.outside import open_client
from collab.hooks.delivery import AWAY_AFTER, Delivery, pause
from collab.log import Throttle, get_logger
from collab.metrics import Metrics
from collab.settings.hooks import HookSettings
from collab.store.memory import MemoryStore
from collab.store.outbox import Event, News
from tests.support.receiver import SECRET, Receiver
from tests.support.waiting import until

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def delivering(receiver: Receiver, **settings: Any) -> AsyncIterator[tuple[MemoryStore, Delivery, Metrics]]:
    options = {"retry_seconds": 0.05, "retry_max_seconds": 0.2, "timeout_seconds": 0.5} | settings
    metrics = Metrics()
    async with MemoryStore() as store, open_client(10) as client, anyio.create_task_group() as tasks:
        await store.outbox.want(tuple(Event), 1, 0.0)
        hooks = HookSettings(**options)
        floods = Throttle(get_logger("test"))
        delivery = Delivery(0, receiver.url, SECRET, client, store.outbox, hooks, metrics, floods)
        tasks.start_soon(delivery.run)
        yield store, delivery, metrics
        tasks.cancel_scope.cancel()


async def post(store: MemoryStore, delivery: Delivery, *names: str) -> None:
    """Events with names such as `a-1`, of room `a`."""
    await store.outbox.post([News(Event.RESTORED, name.partition("-")[0], 1.0, {}, name) for name in names])
    delivery.wake()


def ids(receiver: Receiver) -> list[str]:
    return [event["id"] for event in receiver.told]


async def settled(store: MemoryStore) -> None:
    with anyio.fail_after(10):
        while (await store.outbox.tally()).waiting:  # noqa: ASYNC110
            await anyio.sleep(0.01)


async def test_in_order_within_a_room():
    with Receiver() as receiver:
        async with delivering(receiver) as (store, delivery, metrics):
            names = [f"{room}-{number}" for number in range(5) for room in "abcdefghijklmnop"]
            await post(store, delivery, *names)
            await settled(store)
            assert sorted(ids(receiver)) == sorted(names) and not receiver.wrong
            for room in "abcdefghijklmnop":
                assert [id for id in ids(receiver) if id[0] == room] == [f"{room}-{n}" for n in range(5)]
            assert metrics.registry.get_sample_value("collab_hook_deliveries_total", {"outcome": "delivered"}) == 80


async def test_a_failure_holds_up_its_room_alone():
    healed = threading.Event()
    with Receiver(lambda event: 204 if event["id"] != "a-1" or healed.is_set() else 500) as receiver:
        async with delivering(receiver) as (store, delivery, _):
            await post(store, delivery, "a-1", "a-2", "b-1", "b-2")
            await until(lambda: {"b-1", "b-2"} <= set(ids(receiver)), "the other room")
            await until(lambda: receiver.asked > 5, "further attempts")
            assert "a-2" not in ids(receiver) and not delivery.away
            healed.set()
            await settled(store)
            assert [id for id in ids(receiver) if id[0] == "a"] == ["a-1", "a-2"]


@pytest.mark.parametrize("status", [302, 400, 404, 500])
async def test_what_is_tried_again(status):
    answers = [status, 200]
    with Receiver(lambda event: answers.pop(0)) as receiver:
        async with delivering(receiver) as (store, delivery, _):
            await post(store, delivery, "a-1")
            await settled(store)
            assert receiver.asked == 2 and ids(receiver) == ["a-1"]


async def test_what_nobody_wants_is_dead_at_once():
    with Receiver(lambda event: 410 if event["id"] == "a-1" else 200) as receiver:
        async with delivering(receiver) as (store, delivery, metrics):
            await post(store, delivery, "a-1", "a-2")
            await settled(store)
            (dead,) = await store.outbox.notices(dead=True)
            assert (dead.id, dead.error) == ("a-1", "status 410") and ids(receiver) == ["a-2"]
            assert metrics.registry.get_sample_value("collab_hook_deliveries_total", {"outcome": "dead"}) == 1


async def test_given_up_after_a_time():
    with Receiver(lambda event: 500 if event["id"] == "a-1" else 200) as receiver:
        async with delivering(receiver, give_up_hours=0.3 / 3600) as (store, delivery, _):
            await post(store, delivery, "a-1", "a-2")
            await settled(store)
            (dead,) = await store.outbox.notices(dead=True)
            assert dead.id == "a-1" and dead.attempts >= 2 and ids(receiver) == ["a-2"]


async def test_away_and_back():
    receiver = Receiver()
    async with delivering(receiver) as (store, delivery, _):
        await post(store, delivery, *(f"{room}-{n}" for n in range(3) for room in "abcdefghijkl"))
        await until(lambda: delivery.away, "noticing that nobody is there")
        await anyio.sleep(0.5)
        attempts = sum(notice.attempts for notice in await store.outbox.notices(dead=False))
        await anyio.sleep(1)
        more = sum(notice.attempts for notice in await store.outbox.notices(dead=False)) - attempts
        assert more <= 8, "one after the other, and not twelve rooms at once"
        with receiver:
            await settled(store)
            assert not delivery.away
            for room in "abcdefghijkl":
                assert [id for id in ids(receiver) if id[0] == room] == [f"{room}-{n}" for n in range(3)]


async def test_what_waits_behind_a_receiver_that_stays_away_dies_too():
    async with delivering(Receiver(), give_up_hours=0.5 / 3600) as (store, delivery, metrics):
        await post(store, delivery, *(f"{room}-{n}" for n in range(3) for room in "abcdefghijklmnopqrst"))
        await settled(store)
        tally = await store.outbox.tally()
        assert tally.dead == 60
        assert (metrics.registry.get_sample_value("collab_hook_deliveries_total", {"outcome": "dead"}) or 0) >= 60


async def test_a_receiver_that_is_slow():
    let = threading.Event()

    def answer(event: dict[str, Any]) -> int:
        let.wait(3)
        return 200

    with Receiver(answer) as receiver:
        async with delivering(receiver, timeout_seconds=0.1) as (store, delivery, _):
            await post(store, delivery, "a-1")
            await until(lambda: receiver.asked >= 1, "the first request")
            await anyio.sleep(0.3)
            (waiting,) = await store.outbox.notices(dead=False)
            assert waiting.error == "no answer within 0.1 s"
            let.set()
            await settled(store)
            assert set(ids(receiver)) == {"a-1"}


async def test_a_store_that_fails_for_a_while():
    with Receiver() as receiver:
        async with delivering(receiver) as (store, delivery, _):
            await post(store, delivery, "a-1")
            await settled(store)
            await store.__aexit__()
            delivery.wake()
            await anyio.sleep(0.1)
            await store.__aenter__()
            await post(store, delivery, "a-2")
            await settled(store)
            assert ids(receiver) == ["a-1", "a-2"]


def test_pauses():
    settings = HookSettings(retry_seconds=1, retry_max_seconds=60)
    assert [pause(attempts, settings, 1.0) for attempts in (1, 2, 3, 7, 10_000)] == [1, 2, 4, 60, 60]
    assert pause(3, settings, 0.0) == 3
    assert AWAY_AFTER > 1
