"""Real editors, driven from Python: one Node process (tests/interop/driver.mjs) that hosts y-websocket providers.

    async with Node() as node:
        anna = await node.client(server.url, "room", version="3.1")
        await anna.insert("text", 0, "hello")
        await anna.synced()

Where Node or its packages are missing, `Node()` skips the test, or fails it where the environment says CI.

Times (`t`, `opens`, ...) are seconds of the monotonic clock: comparable with `time.monotonic()` here.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

import pytest

from .editor import Editor

__all__ = ["INTEROP", "VERSIONS", "Editor", "Node", "NodeError", "missing", "node_binary"]

INTEROP = Path(__file__).resolve().parents[1] / "interop"

VERSIONS = ("2.1", "3.0", "3.1")
"""The y-websocket generations at hand."""


class NodeError(AssertionError):
    """A command failed inside Node; the text is its stack."""


def missing(what: str) -> NoReturn:
    """End a test that lacks something: a failure where CI is set, a skip elsewhere."""
    if os.environ.get("CI"):
        pytest.fail(f"{what}, and CI is set", pytrace=False)
    pytest.skip(what)


def node_binary() -> str:
    """The `node` to run, or the end of the test when it cannot run the real clients."""
    node = shutil.which("node")
    if node is None:
        missing("Node.js (20 or newer) is not installed")
    if not all((INTEROP / "node_modules" / name).is_dir() for name in ("y-websocket-3.1", "hocuspocus-4.8")):
        missing("the real clients are not installed: run 'npm ci' in tests/interop")
    return node


class Node:
    """One Node process. Use as `async with`.

    Args:
        heap_mb: V8's heap limit.
    """

    def __init__(self, *, heap_mb: int = 4096) -> None:
        self._heap_mb = heap_mb
        self._binary = node_binary()
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._next = 0
        self._changed = asyncio.Event()
        self.events: list[dict[str, Any]] = []
        """Events as they came: `event` is sync, connection-close or closed; `client`, `t` and more."""

    async def __aenter__(self) -> Node:
        self._process = await asyncio.create_subprocess_exec(
            self._binary,
            f"--max-old-space-size={self._heap_mb}",
            "driver.mjs",
            cwd=INTEROP,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=1 << 30,
        )
        self._reader = asyncio.create_task(self._read())
        await self.call("hello")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        assert self._process is not None and self._reader is not None and self._process.stdin is not None
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), 5)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)

    async def _read(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        try:
            async for line in self._process.stdout:
                message = json.loads(line)
                if "event" in message:
                    self.events.append(message)
                    self._changed.set()
                    continue
                answer = self._answers.pop(message["id"])
                if answer.done():
                    continue
                if message["ok"]:
                    answer.set_result(message["result"])
                else:
                    answer.set_exception(NodeError(message["error"]))
        finally:
            for answer in self._answers.values():
                if not answer.done():
                    answer.set_exception(NodeError("the Node process ended"))

    async def call(self, cmd: str, **arguments: Any) -> Any:
        """One command, its result.

        Raises:
            NodeError: it threw.
        """
        assert self._process is not None and self._process.stdin is not None, "use 'async with Node()'"
        self._next += 1
        id_ = self._next
        answer = self._answers[id_] = asyncio.get_running_loop().create_future()
        line = json.dumps({"id": id_, "cmd": cmd, **arguments}) + "\n"
        self._process.stdin.write(line.encode())
        await self._process.stdin.drain()
        return await answer

    async def batch(self, commands: Iterable[dict[str, Any]]) -> list[Any]:
        """Many commands, each `{"cmd": name, "client": name, ...}`, run in one turn of Node's event loop."""
        return list(await self.call("batch", commands=list(commands)))

    async def event(self, name: str, client: Editor | None = None, within: float = 5.0) -> dict[str, Any]:
        """The first event of this name (and client), waited for if need be."""
        async with asyncio.timeout(within):
            seen = 0
            while True:
                self._changed.clear()
                for event in self.events[seen:]:
                    if event["event"] == name and (client is None or event["client"] == client.name):
                        return event
                seen = len(self.events)
                await self._changed.wait()

    # -- editors

    async def client(self, url: str, room: str, **options: Any) -> Editor:
        """One real provider.

        Options: version ("2.1", "3.0" or "3.1", the default), name, params, protocols, awareness (True: y-websocket's
        default state {}; a dict: the first state; False: no presence at all), connect (default True), clientID, gc,
        update (bytes, applied before it connects), deflate (default True, as browsers), resyncInterval,
        maxBackoffTime, trace (keep all frames' headers), quiet (no events), typeOnOpen ((field, text): typed as soon as
        the socket opens, in the same tick as sync step 1 goes out, before any answer).
        """
        return (await self.clients(url, [room], **options))[0]

    async def clients(self, url: str, rooms: Iterable[str], **options: Any) -> list[Editor]:
        """One provider for each of `rooms` (which may repeat), all created in one tick. Options as in `client()`."""
        options.setdefault("version", VERSIONS[-1])
        if isinstance(options.get("update"), bytes):
            options["update"] = base64.b64encode(options["update"]).decode()
        made = await self.batch({"cmd": "create", "options": {"url": url, "room": r, **options}} for r in rooms)
        return [Editor(self, one["name"], one["clientID"]) for one in made]

    async def each(self, editors: Iterable[Editor], cmd: str, **arguments: Any) -> list[Any]:
        """The same command for many editors, in one tick."""
        return await self.batch({"cmd": cmd, "client": editor.name, **arguments} for editor in editors)

    async def all_synced(self, editors: Iterable[Editor], within: float = 10.0) -> None:
        editors = list(editors)
        held = await self.each(editors, "until", what="synced", timeout=within)
        late = [editor.name for editor, ok in zip(editors, held, strict=True) if not ok]
        assert not late, f"{len(late)} of {len(editors)} not synced within {within:g} s: {late[:10]}"

    async def converged(self, editors: Iterable[Editor], within: float = 10.0) -> None:
        """All documents are equal: the same state vector and the same deletions."""
        names = [editor.name for editor in editors]
        odd = await self.call("converged", names=names, timeout=within)
        assert not odd, f"{len(odd)} of {len(names)} documents differ from the first after {within:g} s: {odd[:10]}"

    async def counters(self) -> list[dict[str, Any]]:
        """The counters of all editors that were not destroyed."""
        return list(await self.call("allCounters"))

    async def js_errors(self) -> list[dict[str, Any]]:
        """console.error, uncaught exceptions and rejections: client, kind, text, t."""
        return list((await self.call("errors"))["errors"])

    async def js_warnings(self) -> list[dict[str, Any]]:
        """console.warn: y-websocket's "Permission denied to access ..."."""
        return list((await self.call("errors"))["warnings"])

    async def reset(self) -> list[dict[str, Any]]:
        """Destroy all editors and forget all that was recorded, for the next test; returns the JavaScript errors."""
        found = await self.call("reset")
        self.events.clear()
        return list(found)

    # -- crowds, each one command (see crowds.mjs)

    async def new_rooms(
        self,
        url: str,
        rooms: Sequence[str],
        *,
        versions: Sequence[str] = VERSIONS,
        each: int = 2,
        concurrency: int = 4,
        within: float = 10.0,
    ) -> list[dict[str, Any]]:
        """`each` clients enter every room in the same tick. Per room: `sync` (seconds from open to sync step 2 of
        each client, None: never) and `together` (each saw what the others typed)."""
        return list(
            await self.call(
                "newRooms", url=url, rooms=list(rooms), versions=list(versions), each=each, concurrency=concurrency,
                timeout=within,
            )
        )  # fmt: skip

    async def type_and_leave(
        self,
        url: str,
        rooms: Sequence[str],
        *,
        versions: Sequence[str] = VERSIONS,
        field: str = "text",
        text: str | None = None,
        how: str = "close",
        delay: int = 0,
        concurrency: int = 50,
        within: float = 10.0,
    ) -> list[dict[str, Any]]:
        """Connect to every room, type (the room's name unless `text`) and leave in the same instant.

        `how`: "close" (an answered closing handshake proves that the edit reached the server), "fin" or "rst".
        `delay`: milliseconds between typing and leaving. Per room: `sent`, and `answered`, the close code that came.
        """
        return list(
            await self.call(
                "typeAndLeave", url=url, rooms=list(rooms), versions=list(versions), field=field, text=text, how=how,
                delay=delay, concurrency=concurrency, timeout=within,
            )
        )  # fmt: skip

    async def read_rooms(
        self,
        url: str,
        rooms: Sequence[str],
        *,
        versions: Sequence[str] = VERSIONS,
        field: str = "text",
        concurrency: int = 50,
        within: float = 10.0,
    ) -> dict[str, str | None]:
        """What a fresh client reads in each room; None where it was not served in time."""
        found = await self.call(
            "readRooms", url=url, rooms=list(rooms), versions=list(versions), field=field, concurrency=concurrency,
            timeout=within,
        )  # fmt: skip
        return {one["room"]: one["text"] for one in found}
