"""What is special to plain ASGI; all that it promises stands in test_transport.py."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from collab.transport.asgi import AsgiSocket
from tests.support.carried import LIMIT, Recorder
from tests.support.waiting import until

pytestmark = pytest.mark.anyio


async def test_told_to_go_before_it_is_served():
    said: list[Any] = []

    async def send(message: Any) -> None:
        said.append(message)

    socket = AsgiSocket(asyncio.Event().wait, send, message_bytes=LIMIT)  # type: ignore[arg-type]
    socket.close(4400, "early")
    recorder = Recorder()
    running = asyncio.create_task(socket.run(recorder))
    await until(lambda: said, "told")
    assert said == [{"type": "websocket.close", "code": 4400, "reason": "early"}]
    socket.abort()
    await asyncio.wait_for(running, 5)
    assert recorder.ended == [1006]


async def test_another_server_may_let_a_large_message_through():
    """Where hypercorn's insides are not there, the limit is looked at when the message has come."""
    queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    said: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        said.append(message)
        if message["type"] == "websocket.close":
            queue.put_nowait({"type": "websocket.disconnect", "code": message["code"]})

    recorder = Recorder()
    recorder.socket = AsgiSocket(queue.get, send, message_bytes=LIMIT)
    queue.put_nowait({"type": "websocket.receive", "bytes": b"x" * (LIMIT + 1)})
    await asyncio.wait_for(recorder.socket.run(recorder), 5)
    assert recorder.sizes == [LIMIT + 1] and recorder.frames == [] and recorder.ended == [4413]
    assert said == [{"type": "websocket.close", "code": 4413, "reason": "too large"}]


async def test_abort_on_another_server_ends_the_call():
    queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    stuck = asyncio.Event()

    async def send(message: Any) -> None:
        stuck.set()
        await asyncio.Event().wait()

    recorder = Recorder()
    recorder.socket = AsgiSocket(queue.get, send, message_bytes=LIMIT)
    recorder.socket.send(b"x")
    running = asyncio.create_task(recorder.socket.run(recorder))
    await asyncio.wait_for(stuck.wait(), 5)
    recorder.socket.abort()
    await asyncio.wait_for(running, 5)
    assert recorder.ended == [1006]
