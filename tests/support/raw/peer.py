"""An editor in Python: a pycrdt document on a hand-made WebSocket."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from pycrdt import Doc, Map, Text

from ..waiting import until
from .frames import EMPTY_UPDATE, Message, awareness, parse, sync1, sync2, update
from .websocket import Closed, Raw


@dataclass
class Peer:
    """A pycrdt document on a `Raw`: answers sync step 1, applies what comes, sends what is typed here.

        async with await Peer.open(server.url, "room") as peer:
            await peer.synced.wait()
            await peer.write("hello")

    It does not reconnect by itself: `await peer.reconnect()` does, with the same document.
    """

    url: str
    room: str
    doc: Doc[Any] = field(default_factory=Doc)
    target: str | None = None
    raw: Raw | None = None
    synced: asyncio.Event = field(default_factory=asyncio.Event)
    received: Counter[str] = field(default_factory=Counter)
    sent: Counter[str] = field(default_factory=Counter)
    presence: dict[int, Any] = field(default_factory=dict)
    on_message: Callable[[Message], None] | None = None
    _pump: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, url: str, room: str, *, doc: Doc[Any] | None = None, target: str | None = None) -> Peer:
        peer = cls(url, room, doc if doc is not None else Doc(), target)
        await peer.reconnect()
        return peer

    async def reconnect(self) -> None:
        """Open a new connection for the same document (the old one is dropped)."""
        await self.leave()
        self.synced.clear()
        self.presence.clear()
        self.raw = await Raw.open(self.url, self.target, room=self.room)
        await self._send(sync1(self.doc.get_state()))
        self._pump = asyncio.create_task(self._run(self.raw))

    async def _send(self, frame: bytes) -> None:
        assert self.raw is not None
        self.sent[parse(frame).kind] += 1
        await self.raw.send(frame)

    async def _run(self, raw: Raw) -> None:
        while (frame := await raw.recv(3600)) is not None:
            message = parse(frame)
            self.received[message.kind] += 1
            if message.kind == "sync1":
                await self._send(sync2(self.doc.get_update(message.content)))
            elif message.kind in ("sync2", "update"):
                if message.content != EMPTY_UPDATE:
                    self.doc.apply_update(message.content)
                if message.kind == "sync2":
                    self.synced.set()
            elif message.kind == "awareness":
                for id_, _clock, state in message.entries:
                    if state is None:
                        self.presence.pop(id_, None)
                    else:
                        self.presence[id_] = state
            if self.on_message is not None:
                self.on_message(message)

    def change(self, edit: Callable[[Doc[Any]], None]) -> bytes:
        """Make an edit here, in one transaction; returns its update, unsent."""
        made: list[bytes] = []
        subscription = self.doc.observe(lambda event: made.append(event.update))
        try:
            with self.doc.transaction():
                edit(self.doc)
        finally:
            self.doc.unobserve(subscription)
        assert len(made) == 1, "the edit changed nothing"
        return made[0]

    async def send_update(self, content: bytes) -> None:
        await self._send(update(content))

    async def edit(self, edit: Callable[[Doc[Any]], None]) -> bytes:
        """Make an edit and send it; returns its update."""
        content = self.change(edit)
        await self.send_update(content)
        return content

    async def write(self, text: str, name: str = "text") -> bytes:
        """Append to a text."""
        shared: Text = self.doc.get(name, type=Text)
        return await self.edit(lambda _doc: shared.insert(len(shared), text))

    async def put(self, key: str, value: Any, name: str = "map") -> bytes:
        """Set a key of a map."""
        shared: Map[Any] = self.doc.get(name, type=Map)
        return await self.edit(lambda _doc: shared.__setitem__(key, value))

    async def show(self, id_: int, clock: int, state: Any) -> None:
        """Send one awareness entry."""
        await self._send(awareness([(id_, clock, state)]))

    def text(self, name: str = "text") -> str:
        return str(self.doc.get(name, type=Text))

    async def text_is(self, wanted: str, name: str = "text", within: float = 5.0) -> None:
        await self.until(lambda: self.text(name) == wanted, f"the text to be {wanted!r:.200}", within)

    async def until(self, predicate: Callable[[], bool], what: str, within: float = 5.0) -> None:
        """Wait until `predicate()` holds.

        Raises:
            AssertionError: it does not in time.
        """
        await until(predicate, lambda: f"{what} in {self.room}; {self._story()}", within)

    def _story(self) -> str:
        return f"received {dict(self.received)}, sent {dict(self.sent)}, ended {self.raw and self.raw.ended}"

    @property
    def ended(self) -> Closed | None:
        return self.raw.ended if self.raw is not None else None

    async def closed(self, within: float = 5.0) -> Closed:
        """Wait for the end of the connection.

        Raises:
            AssertionError: it goes on.
        """
        await self.until(lambda: self.ended is not None, "the connection to end", within)
        assert self.ended is not None
        return self.ended

    async def leave(self, code: int | None = None) -> None:
        """Drop the connection, after a close frame if `code` is given."""
        if self.raw is not None and code is not None and self.raw.ended is None:
            await self.raw.close(code)
            await self.closed()
        if self._pump is not None:
            self._pump.cancel()
            (outcome,) = await asyncio.gather(self._pump, return_exceptions=True)
            self._pump = None
            if isinstance(outcome, Exception):
                raise outcome  # a malformed frame from the server must not pass unseen
        if self.raw is not None:
            self.raw.fin()

    async def __aenter__(self) -> Peer:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.leave()
