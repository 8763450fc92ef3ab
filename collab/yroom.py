"""The room that applications see: a `pycrdt.websocket.YRoom` around the synchronous core.

Code written for pycrdt-websocket runs on it: `ydoc`, `awareness`, `clients`, `ready`, `on_message`, `provider_factory`,
`serve(channel)`, `start`/`stop`, `async with`. Any pycrdt `Channel` can take a seat. What is not upstream's any more is
the hot path, which loses edits (docs/design/architecture.md): messages, broadcasts, awareness and the store go through
`collab.room.RoomCore`. `tests/test_yroom.py` fails when upstream renames what is overridden here.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from logging import Logger, getLogger
from typing import Any, Self

import anyio
from anyio.abc import TaskStatus
from pycrdt import Awareness, Channel, Doc
from pycrdt.store import BaseYStore
from pycrdt.websocket.yroom import ProviderFactory, YRoom

from .errors import CollabError
from .metrics import Metrics
from .peers import Tick
from .room import RoomCore
from .seat import Seat
from .wire import yjs
from .wire.lib0 import var_string, var_uint

BUSY_SECONDS = 0.01
"""How long a tick waits for an application that holds a transaction open."""
OUTBOX_BYTES = 2**20
"""What may wait for a slow channel before it is owed a difference instead."""


class Room(YRoom):
    """One shared document, for clients over channels and for the application that owns it.

    The arguments are upstream's. A room that a `Hub` opened is running and saved by the hub; one that an application
    makes for itself has to be started (`async with room:`) and is saved only into `ystore`, if there is one.
    """

    def __init__(
        self,
        ready: bool = True,
        ystore: BaseYStore | None = None,
        exception_handler: Callable[[Exception, Logger], bool] | None = None,
        log: Logger | None = None,
        ydoc: Doc[Any] | None = None,
        provider_factory: ProviderFactory | None = None,
        *,
        core: RoomCore | None = None,
    ) -> None:
        # Not upstream's __init__: it would make an Awareness with a state of its own, a phantom user for every client.
        self.core = RoomCore("", ydoc) if core is None else core
        self.ready_event = anyio.Event()
        self.ydoc_observed = anyio.Event()
        self.ready = ready
        self.ystore = ystore
        self.provider_factory = provider_factory
        self.log = log or getLogger(__name__)
        self.clients = set()
        self.exception_handler = exception_handler
        self._on_message = None
        self._on_message_error = None
        self._stopped = anyio.Event()
        self._provider_stop_event = anyio.Event()
        self._awareness: _Awareness | None = None
        self._metrics = Metrics()
        self._work = anyio.Event()
        if core is None:
            self.core.wake = self._wake

    @classmethod
    def around(cls, core: RoomCore, metrics: Metrics) -> Self:
        """The room around a `core` that somebody else drives."""
        room = cls(core=core)
        room._metrics = metrics
        room.started.set()
        return room

    # ------------------------------------------------------------------ upstream's face

    @property
    def name(self) -> str:
        """The room's exact name; empty for a room that no hub opened."""
        return self.core.name

    @property
    def ydoc(self) -> Doc[Any]:
        """The shared document. Edit it as you like: everybody is told, and the journal too."""
        return self.core.doc

    @ydoc.setter
    def ydoc(self, doc: Doc[Any]) -> None:
        self.core.replace(doc)

    @property  # upstream has an attribute here; assigning to it was never of use
    def awareness(self) -> Awareness:  # type: ignore[override]
        """Who is here. The server is nobody until it sets a local state."""
        if self._awareness is None:
            self._awareness = _Awareness(self.core)
        return self._awareness

    async def serve(self, channel: Channel) -> None:
        """Give `channel` a seat until it ends."""
        outlet = _ChannelOutlet(channel)
        seat = Seat(
            self.core,
            yjs,
            outlet,
            outbox_bytes=OUTBOX_BYTES,
            metrics=self._metrics,
            trouble=outlet.end,
            now=anyio.current_time(),
        )
        try:
            async with anyio.create_task_group() as tasks:
                self.clients.add(channel)
                tasks.start_soon(outlet.write, seat)
                seat.enter()
                async for message in channel:
                    if not await self._skipped(message):
                        await self._heard(seat, message, channel)
                tasks.cancel_scope.cancel()
        except Exception as exception:
            self._handle_exception(exception)
        finally:
            self.clients.discard(channel)
            seat.leave(anyio.current_time())

    async def _skipped(self, message: bytes) -> bool:
        if self.on_message is None:
            return False
        return bool(await _result(self.on_message(message)))

    async def _heard(self, seat: Seat, message: bytes, channel: Channel) -> None:
        try:
            seat.hear(yjs.decode(message), anyio.current_time())
        except Exception as error:
            if self.on_message_error is None or not await _result(self.on_message_error(error, message, channel)):
                raise

    # ------------------------------------------------------------------ what upstream's start() starts

    async def _start(self, task_status: TaskStatus[None]) -> None:
        if not self.started.is_set():
            task_status.started()
            self.started.set()
        tasks = self._task_group
        assert tasks is not None
        tasks.start_soon(self._stopped.wait)
        tasks.start_soon(self._tick)
        if self.ystore is not None:
            tasks.start_soon(self._keep, self.ystore)
        tasks.start_soon(self._run_provider)

    async def stop(self) -> None:
        """Stop the room: what was received is applied first."""
        if self._task_group is None:
            raise RuntimeError("YRoom not running")
        if self.ready:
            self.core.tick(anyio.current_time(), time.time())
        self._stopped.set()
        self._task_group.cancel_scope.cancel()
        self._task_group = None

    def _wake(self) -> None:
        self._work.set()

    async def _tick(self) -> None:
        """Apply what was received, once per turn of the event loop."""
        await self.ready_event.wait()
        self.ydoc_observed.set()
        while True:
            await self._work.wait()
            self._work = anyio.Event()
            if not self.core.tick(anyio.current_time(), time.time()):
                await anyio.sleep(BUSY_SECONDS)
                self._work.set()

    async def _keep(self, ystore: BaseYStore) -> None:
        """Write every change into `ystore`, one after the other."""
        async with ystore.start_lock:
            if not ystore.started.is_set():
                assert self._task_group is not None
                await self._task_group.start(ystore.start)
        feed = _Feed()
        self.core.join(feed)
        try:
            while True:
                await feed.work.wait()
                feed.work = anyio.Event()
                while feed.updates:
                    await ystore.write(feed.updates[0])
                    feed.updates.popleft()
        finally:
            self.core.leave(feed, anyio.current_time())


async def _result(value: Awaitable[bool] | bool) -> bool:
    return await value if isawaitable(value) else value


class _ChannelOutlet:
    """An outlet onto a channel, whose `send` waits: one task writes what the seat says, in order."""

    def __init__(self, channel: Channel) -> None:
        self.buffered = 0
        self._channel = channel
        self._frames: deque[bytes] = deque()
        self._work = anyio.Event()
        self._error: CollabError | None = None

    def send(self, frame: bytes) -> None:
        self._frames.append(frame)
        self.buffered += len(frame)
        self._work.set()

    def end(self, error: CollabError) -> None:
        """The client has to go."""
        self._error = error
        self._work.set()

    async def write(self, seat: Seat) -> None:
        while self._error is None:
            await self._work.wait()
            self._work = anyio.Event()
            while self._frames:
                frame = self._frames.popleft()
                await self._channel.send(frame)
                self.buffered -= len(frame)
            seat.drained()
        raise self._error


class _Backstage:
    """A peer behind the scenes that only listens."""

    backstage = True
    author: str | None = None
    may_write = False

    def ask(self, state_vector: bytes) -> None:
        """It has nothing that the room lacks."""

    def refuse(self, error: CollabError) -> None:
        """It sends no updates."""


class _Feed(_Backstage):
    """Hands the changes on to a store of pycrdt-store's kind."""

    def __init__(self) -> None:
        self.updates: deque[bytes] = deque()
        self.work = anyio.Event()

    def take(self, tick: Tick) -> None:
        self.updates.extend(tick.merged)
        self.work.set()


class _Awareness(Awareness, _Backstage):
    """pycrdt's view of who is here, kept in step with the room's: made only when an application looks at it."""

    def __init__(self, core: RoomCore) -> None:
        super().__init__(core.doc)
        self.set_local_state(None)
        self._core = core
        known = core.presence.ids()
        if known:
            self.apply_awareness_update(core.presence.encode(known), core)
        self.observe(self._changed)
        core.join(self)

    def take(self, tick: Tick) -> None:
        if tick.presence is not None:
            self.apply_awareness_update(tick.presence, self._core)

    def _changed(self, topic: str, change: tuple[dict[str, Any], Any]) -> None:
        what, origin = change
        if topic == "update" and origin != self._core:
            ids = [client for clients in what.values() for client in clients]
            entries = [
                var_uint(client)
                + var_uint(self.meta[client]["clock"])
                + var_string(json.dumps(self.states.get(client)))
                for client in ids
            ]
            update = var_uint(len(entries)) + b"".join(entries)
            self._core.move(self._core.presence.apply(update, None, time.monotonic()))

    async def start(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Nothing to do: the room's core expires and renews."""
        task_status.started()

    async def stop(self) -> None:
        """Nothing to do."""
