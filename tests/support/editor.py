"""One real y-websocket provider with its document, seen from Python."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .node import Node


@dataclass(frozen=True)
class SavedState:
    """A Y document, as its editor would send it."""

    client_id: int
    vector: bytes
    update: bytes
    pending: bool


class Editor:
    """One real provider with its document. Made by `Node.client()`."""

    def __init__(self, node: Node, name: str, client_id: int) -> None:
        self.node = node
        self.name = name
        self.client_id = client_id

    def __repr__(self) -> str:
        return f"<Editor {self.name}>"

    async def call(self, cmd: str, **arguments: Any) -> Any:
        return await self.node.call(cmd, client=self.name, **arguments)

    # -- the document

    async def edit(self, *edits: Sequence[Any], together: bool = False) -> int:
        """Make edits, each `[name, *arguments]`; returns the document's own clock afterwards.

        The names: text.insert text.delete text.format map.set map.delete array.push array.insert array.delete
        xml.insert xml.delete. The arguments begin with the name of the root type; an index of -1 is the end.
        """
        return int(await self.call("edit", edits=list(edits), together=together))

    async def insert(self, field: str, index: int, text: str) -> int:
        return await self.edit(["text.insert", field, index, text])

    async def insert_long(self, field: str, index: int, piece: str, times: int) -> int:
        """Insert `piece` repeated `times` times, made in Node: megabytes without the pipe."""
        return await self.edit(["text.insert", field, index, {"repeat": piece, "times": times}])

    async def delete(self, field: str, index: int, length: int) -> int:
        return await self.edit(["text.delete", field, index, length])

    async def read(self, type_: str, field: str) -> Any:
        """`text`, `delta`, `map`, `array` or `xml` as JSON."""
        return await self.call("read", type=type_, name=field)

    async def text(self, field: str = "text") -> str:
        return str(await self.read("text", field))

    async def state(self) -> SavedState:
        found = await self.call("state")
        return SavedState(
            found["clientID"], base64.b64decode(found["vector"]), base64.b64decode(found["update"]), found["pending"]
        )

    # -- presence

    async def set_presence(self, state: dict[str, Any] | None) -> None:
        await self.call("setPresence", state=state)

    async def presence(self) -> dict[int, Any]:
        """What this editor shows: client id -> state."""
        return {id_: state for id_, _clock, state in await self.call("presence")}

    async def presence_clocks(self) -> dict[int, int]:
        return {id_: clock for id_, clock, _state in await self.call("presence")}

    # -- waiting: all raise AssertionError when the time is over

    async def until(self, what: str, within: float = 5.0, **wanted: Any) -> None:
        if not await self.call("until", what=what, timeout=within, **wanted):
            seen = {key: value for key, value in (await self.counters()).items() if key in self._TOLD}
            raise AssertionError(f"{self.name}: not {what} {wanted or ''} within {within:g} s; {seen}")

    _TOLD = ("connected", "synced", "opens", "closes", "refusals", "ended", "sent", "received")

    async def synced(self, within: float = 5.0) -> None:
        await self.until("synced", within)

    async def connected(self, within: float = 5.0) -> None:
        await self.until("connected", within)

    async def disconnected(self, within: float = 5.0) -> None:
        await self.until("disconnected", within)

    async def opened(self, count: int, within: float = 5.0) -> None:
        """At least `count` WebSockets have been opened in this editor's life."""
        await self.until("opens", within, count=count)

    async def ended(self, within: float = 5.0) -> None:
        """3.1 only: told by a 44xx close never to come back."""
        await self.until("closed", within)

    async def text_is(self, wanted: str, field: str = "text", within: float = 5.0) -> None:
        if not await self.call("until", what="text", name=field, equals=wanted, timeout=within):
            found = await self.text(field)
            raise AssertionError(f"{self.name}: after {within:g} s the text is {found!r:.300}, not {wanted!r:.300}")

    async def value_is(self, type_: str, field: str, wanted: Any, within: float = 5.0) -> None:
        await self.until("value", within, type=type_, name=field, equals=wanted)

    async def sees(self, *others: Editor | int, within: float = 5.0) -> None:
        """The others are present in this editor's awareness."""
        await self.until("present", within, ids=_ids(others))

    async def misses(self, *others: Editor | int, within: float = 5.0) -> None:
        """The others are absent from this editor's awareness."""
        await self.until("gone", within, ids=_ids(others))

    # -- the connection

    async def connect(self) -> None:
        await self.call("connect")

    async def disconnect(self) -> None:
        await self.call("disconnect")

    async def cut(self, how: str = "fin", *, back: bool = True) -> bool:
        """Drop the TCP connection without a closing handshake: "fin" or "rst". With `back` the provider reconnects."""
        return bool(await self.call("cut", how=how, back=back))

    async def destroy(self) -> None:
        """As a page does when it is left: provider.destroy()."""
        await self.call("destroy")

    async def inject(self, frame: bytes) -> None:
        """Send a frame of your own on this editor's socket."""
        await self.call("inject", frame=base64.b64encode(frame).decode())

    async def counters(self) -> dict[str, Any]:
        """All that was counted: see `counters()` in clients.mjs.

        `sent` and `received` count frames by kind: sync1 sync2 update awareness awarenessEmpty auth query other text,
        besides `frames`, `bytes` and `awarenessEntries`. `opens`: times; `closes`: code, reason, t, after (seconds
        since the open); `ended`: the 'closed' events of 3.1; `openToSync2`: seconds for each connection.
        """
        return dict(await self.call("counters"))

    async def frames(self) -> list[tuple[float, str, str, int]]:
        """With `trace=True`: every frame as (t, "in" or "out", kind, bytes)."""
        return [tuple(frame) for frame in await self.call("frames")]


def _ids(editors: Iterable[Editor | int]) -> list[int]:
    return [editor.client_id if isinstance(editor, Editor) else editor for editor in editors]
