"""What clients show at the door of a server that checks tokens, and what becomes of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import jwt
from pycrdt import Doc, Text

from tests.support.raw import Raw, Refused, parse, sync1
from tests.support.server import Server

SECRET = "a secret of at least thirty-two bytes, for tests"


def token(rooms: dict[str, str], seconds: float = 60, **claims: object) -> str:
    made = {"sub": "ana", "iat": int(time.time()), "exp": time.time() + seconds, "rooms": rooms} | claims
    return jwt.encode({name: value for name, value in made.items() if value is not None}, SECRET, "HS256")


def typed(text: str = "hello", client: int = 7) -> bytes:
    """An update that writes `text` into the text `t`."""
    doc: Doc = Doc(client_id=client)
    doc["t"] = Text(text)
    return doc.get_update()


@dataclass(frozen=True)
class Outcome:
    """What a client met: the status of its upgrade if that was refused, the close code, whether it saw a document."""

    status: int = 101
    code: int | None = None
    reason: str = ""
    inside: bool = False

    @property
    def short(self) -> int | None:
        return self.status if self.status != 101 else 101 if self.inside else self.code


async def enter(server: Server, target: str, headers: Sequence[tuple[str, str]] = ()) -> Outcome:
    """Knock as a y-websocket client, and wait until it is clear whether it is let in."""
    try:
        async with await Raw.open(server.url, target, headers=headers) as client:
            await client.send(sync1())
            while (frame := await client.recv(10)) is not None:
                if parse(frame).kind == "sync2":
                    return Outcome(inside=True)
            assert client.ended is not None
            return Outcome(101, client.ended.code, client.ended.reason)
    except Refused as refused:
        return Outcome(refused.status, reason=refused.body.decode())
