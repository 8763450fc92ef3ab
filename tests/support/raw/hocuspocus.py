"""Frames of the Hocuspocus protocol, built and read without `collab.wire`, and a client that counts as providers do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from pycrdt import Doc, Map

from .frames import EMPTY_VECTOR, awareness, read_var, read_var_bytes, sync1, sync2, update, var_string
from .websocket import Closed, Raw

VERSION = "4.8.0"


def token(address: str, shown: str = "", version: str | None = VERSION) -> bytes:
    return var_string(address) + b"\x02\x00" + var_string(shown) + (b"" if version is None else var_string(version))


def step1(address: str, vector: bytes = EMPTY_VECTOR) -> bytes:
    return var_string(address) + sync1(vector)


def step2(address: str, content: bytes = b"\x00\x00") -> bytes:
    return var_string(address) + sync2(content)


def change(address: str, content: bytes) -> bytes:
    return var_string(address) + update(content)


def presence(address: str, entries: Iterable[tuple[int, int, Any]]) -> bytes:
    return var_string(address) + awareness(entries)


def stateless(address: str, text: str) -> bytes:
    return var_string(address) + b"\x05" + var_string(text)


def bye(address: str) -> bytes:
    return var_string(address) + b"\x07"


@dataclass(frozen=True)
class Said:
    """A frame of the server: `kind` is ping step1 step2 update awareness denied granted wanted query stateless close
    saved refused; `content` is its body, and `text` the same in words, where it has some."""

    address: str
    kind: str
    content: bytes = b""

    @property
    def text(self) -> str:
        return self.content.decode()


WITH_BODY = {
    (0, 0): "step1",
    (0, 1): "step2",
    (0, 2): "update",
    (2, 1): "denied",
    (2, 2): "granted",
}


def heard(frame: bytes) -> Said:
    """Read a frame of the server, as providers do; trailing bytes are an error.

    Raises:
        AssertionError, IndexError: It is malformed.
    """
    if frame == b"\x09":
        return Said("", "ping")
    name, at = read_var_bytes(frame)
    address = name.decode()
    type_, at = read_var(frame, at)
    content = b""
    if type_ in (0, 2):
        sub, at = read_var(frame, at)
        if (type_, sub) == (2, 0):
            kind = "wanted"
        else:
            kind = WITH_BODY[type_, sub]
            content, at = read_var_bytes(frame, at)
    elif type_ in (1, 5, 7):
        kind = {1: "awareness", 5: "stateless", 7: "close"}[type_]
        content, at = read_var_bytes(frame, at)
    elif type_ == 3:
        kind = "query"
    else:
        assert type_ == 8, f"no server sends type {type_}: {frame[:40].hex()}"
        applied, at = read_var(frame, at)
        assert applied in (0, 1)
        kind = "saved" if applied else "refused"
    assert at == len(frame), f"{len(frame) - at} trailing bytes in {frame[:40].hex()}"
    return Said(address, kind, content)


class Attached:
    """One document on a socket, in Python. Counts what is not saved exactly as a version 4 provider does.

    Nothing runs in the background: `until`, `hears`, `saved` and `quiet` read on. Several may share a socket; whoever
    reads hands the others what is theirs.

    Args:
        raw: The socket.
        address: The address; the part behind a NUL is a session.
        others: All that share the socket, by address.

    Attributes:
        answers: Whether the server's sync step 1 is answered.
    """

    def __init__(self, raw: Raw, address: str, others: dict[str, Attached] | None = None) -> None:
        self.raw = raw
        self.address = address
        self.doc: Doc[Any] = Doc()
        self.map: Map[Any] = self.doc.get("map", type=Map)
        self.unsynced = 0
        self.said: list[Said] = []
        self.synced = False
        self.answers = True
        self.on_saved: Callable[[], None] | None = None
        self._others = {} if others is None else others
        self._others[address] = self

    @classmethod
    async def open(
        cls, url: str, address: str, *, shown: str = "", version: str | None = VERSION, target: str = "/"
    ) -> Attached:
        """A socket of its own, and what a provider sends on it."""
        one = cls(await Raw.open(url, target), address)
        await one.attach(shown, version)
        return one

    async def another(self, address: str, *, shown: str = "", version: str | None = VERSION) -> Attached:
        """One more document on the same socket."""
        one = Attached(self.raw, address, self._others)
        await one.attach(shown, version)
        return one

    async def attach(self, shown: str = "", version: str | None = VERSION) -> None:
        """Send token and sync step 1, as at the opening of the socket."""
        self.unsynced = 1
        await self.raw.send_many([token(self.address, shown, version), step1(self.address, self.doc.get_state())])

    async def write(self, key: str, value: Any = 1) -> bytes:
        """Set a key; sends and returns the update."""
        content = self.edit(key, value)
        await self.send(content)
        return content

    def edit(self, key: str, value: Any = 1) -> bytes:
        """Set a key here; returns the update, unsent."""
        made: list[bytes] = []
        subscription = self.doc.observe(lambda event: made.append(event.update))
        try:
            self.map[key] = value
        finally:
            self.doc.unobserve(subscription)
        return made[0]

    async def send(self, content: bytes) -> None:
        """Send an update; one more acknowledgement is waited for."""
        self.unsynced += 1
        await self.raw.send(change(self.address, content))

    def _take(self, said: Said) -> bytes | None:
        """Take in what the server said here; returns the frame that answers it."""
        self.said.append(said)
        if said.kind == "step1":
            return step2(self.address, self.doc.get_update(said.content))
        if said.kind in ("step2", "update"):
            if said.content != b"\x00\x00":
                self.doc.apply_update(said.content)
            self.synced = self.synced or said.kind == "step2"
        elif said.kind == "saved":
            self.unsynced -= 1
            if self.on_saved is not None:
                self.on_saved()
        return None

    async def read(self, within: float = 5.0) -> Said | None:
        """The next thing the server says on this socket, to whomever; None when the socket has ended.

        Raises:
            TimeoutError: It says nothing.
        """
        frame = await self.raw.recv(within)
        if frame is None:
            return None
        said = heard(frame)
        if said.kind == "ping":
            await self.raw.send(b"\x0a")
            return said
        one = self._others.get(said.address)
        assert one is not None, f"a provider would not hear what is said to {said.address!r}"
        answer = one._take(said)
        if answer is not None and one.answers:
            await self.raw.send(answer)
        return said

    async def until(self, holds: Callable[[], object], within: float = 5.0) -> None:
        """Read on until `holds()`.

        Raises:
            AssertionError: The socket ended, or it does not hold in time.
        """
        try:
            async with asyncio.timeout(within):
                while not holds():
                    assert await self.read(within) is not None, f"the socket ended: {self.raw.ended}; {self.story()}"
        except TimeoutError:
            raise AssertionError(f"waited {within:g} s in vain; {self.story()}") from None

    async def hears(self, kind: str, within: float = 5.0) -> Said:
        """Read on until the server says something of `kind` here, be it long ago; the first one."""
        await self.until(lambda: self.kinds(kind), within)
        return next(said for said in self.said if said.kind == kind)

    async def saved(self, within: float = 5.0) -> None:
        """Read on until all that was sent is acknowledged."""
        await self.until(lambda: self.unsynced == 0 and self.synced, within)

    async def quiet(self, seconds: float) -> list[Said]:
        """All that the server says on this socket within so many seconds."""
        found = []
        try:
            async with asyncio.timeout(seconds):
                while (said := await self.read(seconds + 1)) is not None:
                    found.append(said)
        except TimeoutError:
            pass
        return found

    def kinds(self, *kinds: str) -> int:
        """How often the server said something of these kinds here."""
        return sum(said.kind in kinds for said in self.said)

    def story(self) -> str:
        return f"{self.address!r} heard {[said.kind for said in self.said[-12:]]}, {self.unsynced} not saved"

    @property
    def ended(self) -> Closed | None:
        return self.raw.ended

    async def __aenter__(self) -> Attached:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.raw.fin()
