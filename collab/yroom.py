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
from .fence import Panic
from .letters import broadcast
from .log import get_logger
from .metrics import Metrics
from .peers import Tick
from .room import RoomCore
from .seat import Seat
from .wire import yjs
from .wire.lib0 import var_string, var_uint

log = get_logger(__name__)

BUSY_SECONDS = 0.01
"""How long a tick waits for an application that holds a transaction open."""
BEAT_SECONDS = 1.0
"""How often a room that no hub looks after expires presence and asks again for what it lacks."""
KEEP_SECONDS = 10.0
"""How long a room that stops waits for its `ystore`."""
OUTBOX_BYTES = 2**20
"""What may wait for a slow channel before it is owed a difference instead."""


class Room(YRoom):
    """One shared document, for clients over channels and for the application that owns it.

    The arguments are upstream's. A room that a `Hub` opened is running and saved by the hub; one that an application
    makes for itself has to be started (`async with room:`) and is saved only into `ystore`, if there is one. What was
    done to the document before the room is started and ready counts as loaded: clients are told, the store is not.
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
        metrics: Metrics | None = None,
    ) -> None:
        # Not upstream's __init__: it would make an Awareness with a state of its own, a phantom user for every client.
        self.core = RoomCore("", ydoc) if core is None else core
        self.ready_event = anyio.Event()
        self.ydoc_observed = anyio.Event()
        self._feed: _Feed | None = None
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
        self._metrics = Metrics() if metrics is None else metrics
        self._trouble: Callable[[Panic], None] | None = None
        self._work = anyio.Event()
        if core is None:
            self.core.wake = self._wake

    @classmethod
    def around(cls, core: RoomCore, metrics: Metrics, trouble: Callable[[Panic], None]) -> Self:
        """The room around a `core` that somebody else drives, who is told when the document failed."""
        room = cls(core=core, metrics=metrics)
        room._trouble = trouble
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
        self.core.replica.replace(doc)

    @property  # upstream has an attribute here; assigning to it was never of use
    def awareness(self) -> Awareness:  # type: ignore[override]
        """Who is here. The server is nobody until it sets a local state."""
        if self._awareness is None:
            self._awareness = _Awareness(self.core)
        return self._awareness

    @property
    def ready(self) -> bool:
        """Whether the document is loaded, so that clients can be told what happens to it."""
        return self.ready_event.is_set()

    @ready.setter
    def ready(self, value: bool) -> None:
        if value and not self.ready_event.is_set():
            self.ready_event.set()
            if self._feed is not None:
                self._loaded(self._feed)

    def say(self, text: str) -> None:
        """Say something to everybody who is here and speaks Hocuspocus (event `stateless`); it is not stored."""
        broadcast(self.core, text)

    async def serve(self, channel: Channel) -> None:
        """Give `channel` a seat until it ends."""
        outlet = _ChannelOutlet(channel, self._trouble)
        seat = Seat(
            self.core,
            yjs,
            outlet,
            outbox_bytes=OUTBOX_BYTES,
            metrics=self._metrics,
            trouble=outlet.end,
            now=time.monotonic(),
        )
        try:
            async with anyio.create_task_group() as tasks:
                self.clients.add(channel)
                tasks.start_soon(outlet.write, seat)
                tasks.start_soon(_look_after, seat)
                seat.enter()
                async for message in channel:
                    await self._heard(seat, message, channel)
                tasks.cancel_scope.cancel()
        except Exception as exception:
            self._handle_exception(exception)
        finally:
            self.clients.discard(channel)
            seat.leave(time.monotonic())

    async def _heard(self, seat: Seat, message: bytes, channel: Channel) -> None:
        try:
            if self.on_message is None or not await _result(self.on_message(message)):
                seat.hear(yjs.decode(message), time.monotonic())
        except Exception as error:
            if isinstance(error, Panic) and self._trouble is not None:
                self._trouble(error)
            elif self.on_message_error is None or not await _result(self.on_message_error(error, message, channel)):
                raise

    # ------------------------------------------------------------------ what upstream's start() starts

    async def _start(self, task_status: TaskStatus[None]) -> None:
        if not self.started.is_set():
            task_status.started()
            self.started.set()
        tasks = self._task_group
        assert tasks is not None
        tasks.start_soon(self._stopped.wait)
        if self.ystore is not None:
            if self._feed is None:
                self._feed = _Feed()
                self.core.join(self._feed)
                if self.ready:
                    self._loaded(self._feed)
            self._feed.begin()
            tasks.start_soon(self._keep, self.ystore, self._feed)
        tasks.start_soon(self._tick)
        tasks.start_soon(self._beat)
        tasks.start_soon(self._run_provider)

    async def stop(self) -> None:
        """Stop the room: what was received is applied and kept first."""
        tasks = self._task_group
        if tasks is None:
            raise RuntimeError("YRoom not running")
        try:
            if self.ready:
                self.core.tick(time.monotonic(), time.time())
            if self._feed is not None:
                with anyio.move_on_after(KEEP_SECONDS, shield=True):
                    await self._feed.written()
                if self._feed.updates:
                    self.log.error("%d updates were not written into the store", len(self._feed.updates))
        finally:
            self._stopped.set()
            tasks.cancel_scope.cancel()
            self._task_group = None

    def _loaded(self, feed: _Feed) -> None:
        """What the application did to the document until now, it has loaded, perhaps from the very store."""
        feed.loading = True
        try:
            self.core.tick(time.monotonic(), time.time())
        finally:
            feed.loading = False

    def _wake(self) -> None:
        self._work.set()

    async def _tick(self) -> None:
        """Apply what was received, once per turn of the event loop."""
        await self.ready_event.wait()
        self.ydoc_observed.set()
        while True:
            await self._work.wait()
            self._work = anyio.Event()
            if not self.core.tick(time.monotonic(), time.time()):
                await anyio.sleep(BUSY_SECONDS)
                self._work.set()

    async def _beat(self) -> None:
        while True:
            await anyio.sleep(BEAT_SECONDS)
            self.core.beat(time.monotonic())

    async def _keep(self, ystore: BaseYStore, feed: _Feed) -> None:
        """Write every change into `ystore`, one after the other. Where it fails it goes on when the room runs again."""
        try:
            async with ystore.start_lock:
                if not ystore.started.is_set():
                    assert self._task_group is not None
                    await self._task_group.start(ystore.start)
            await feed.write_into(ystore)
        finally:
            feed.end()


async def _look_after(seat: Seat) -> None:
    while True:
        await anyio.sleep(BEAT_SECONDS)
        seat.beat(time.monotonic())


async def _result(value: Awaitable[bool] | bool) -> bool:
    return await value if isawaitable(value) else value


class _ChannelOutlet:
    """An outlet onto a channel, whose `send` waits: one task writes what the seat says, in order."""

    def __init__(self, channel: Channel, panicked: Callable[[Panic], None] | None) -> None:
        self.buffered = 0
        self._channel = channel
        self._panicked = panicked
        self._frames: deque[bytes] = deque()
        self._work = anyio.Event()
        self._error: CollabError | None = None

    def send(self, frame: bytes) -> None:
        self._frames.append(frame)
        self.buffered += len(frame)
        self._work.set()

    def expect(self, size: int) -> None:
        """How fast its clients send is the application's affair."""

    def end(self, error: CollabError) -> None:
        """The client has to go, or the document failed."""
        if isinstance(error, Panic) and self._panicked is not None:
            self._panicked(error)
        else:
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
    """Hands the changes on to a store of pycrdt-store's kind.

    Attributes:
        updates: What is still to be written.
        loading: While the application's changes are what it loaded.
    """

    def __init__(self) -> None:
        self.updates: deque[bytes] = deque()
        self.loading = False
        self._kept = False
        self._work = anyio.Event()
        self._rest = anyio.Event()

    def take(self, tick: Tick) -> None:
        if not (self.loading and all(change.sender is None for change in tick.changes)):
            self.updates.extend(tick.merged)
            self._work.set()

    def begin(self) -> None:
        """From now on somebody writes."""
        self._kept = True
        self._work.set()

    async def write_into(self, ystore: BaseYStore) -> None:
        while True:
            await self._work.wait()
            self._work = anyio.Event()
            while self.updates:
                await ystore.write(self.updates[0])
                self.updates.popleft()
            self._rest.set()
            self._rest = anyio.Event()

    def end(self) -> None:
        """Nobody writes any more."""
        self._kept = False
        self._rest.set()

    async def written(self) -> None:
        """Returns when all is written, or nobody writes."""
        while self.updates and self._kept:
            await self._rest.wait()


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
            try:
                self.apply_awareness_update(tick.presence, self._core)
            except Exception:  # of an observer: the application's trouble is not the room's
                log.exception("awareness observer failed", room=self._core.name)

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
