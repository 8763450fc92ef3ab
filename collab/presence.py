"""Who is here, and where their cursor stands: the awareness states of one room. Synchronous; time is an argument.

A state is applied first and told to others only when its clock really moved: every y-websocket client sends back each
change it hears, and blind relaying turns one cursor move among 16 clients into 256 frames. A connection that leaves
takes the ids it introduced with it. Nothing here is ever stored.

Source: y-protocols/awareness.js; docs/reference/protocol.md, 2.5.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from typing import NoReturn

from .errors import BadMessage, TooLarge
from .wire.lib0 import expect_end, read_var_string, read_var_uint, var_string, var_uint
from .wire.vet import MAX_DEPTH

TOMBSTONE_SECONDS = 60.0
"""How long the clock of someone who left is remembered, so that a late echo does not bring them back."""

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')


@dataclass(slots=True)
class _State:
    """One client's state: `json` is None once it is gone, `owner` is the connection that introduced it.

    `gone` counts the connections that had come before it went: their echoes of it may still be on their way.
    """

    clock: int
    json: str | None
    owner: object
    seen: float
    gone: int = 0


class Presence:
    """The awareness states of one room.

    Args:
        forget_seconds: A state that was not renewed for so long is gone (clients renew every 15 s).
        max_bytes: The largest state of one client, in bytes.
        max_ids: How many ids are known at once; further ones are not taken in.
    """

    def __init__(self, *, forget_seconds: float = 30.0, max_bytes: int = 65_536, max_ids: int = 10_000) -> None:
        self.forget_seconds = forget_seconds
        self.max_bytes = max_bytes
        self.max_ids = max_ids
        self._states: dict[int, _State] = {}
        self._came: dict[object, int] = {}
        self._count = 0

    def enter(self, owner: object) -> None:
        """`owner` has come. What it says of somebody who went before that is no echo."""
        self._count += 1
        self._came[owner] = self._count

    def apply(self, update: bytes, owner: object, now: float) -> list[int]:
        """Take in an awareness update from `owner` (None is the server itself); returns the ids that really changed.

        Raises:
            BadMessage: It is malformed, or a state is not JSON. Nothing was changed.
            TooLarge: A state is over `max_bytes`. Nothing was changed.
        """
        changed = []
        for client, clock, state in self._read(update):
            known = self._states.get(client)
            if known is None:
                # An unknown client counts as clock 0, as in y-protocols: the first state `{}` of a client that has
                # nothing to say yet is not news, and other clients would not take it either.
                if clock == 0 or state is None or len(self._states) >= self.max_ids:
                    continue
                self._states[client] = _State(clock, state, owner, now)
            elif state is None:
                # Only the connection that introduced an id may remove it: a tab that fell asleep lets its peers time
                # out and says so with their own clock, which would blank them for everybody.
                if known.owner is not owner or known.json is None or clock < known.clock:
                    continue
                known.clock = clock
                self._gone(known, now)
            elif clock > known.clock or (clock == known.clock and self._is_back(known, owner)):
                known.clock, known.json, known.owner, known.seen = clock, state, owner, now
            else:
                continue
            changed.append(client)
        return changed

    def leave(self, owner: object, now: float) -> list[int]:
        """Remove all states that `owner` introduced; returns their ids."""
        self._came.pop(owner, None)
        return self._remove((client for client, state in self._states.items() if state.owner is owner), now)

    def expire(self, now: float) -> list[int]:
        """Remove the states that were not renewed in time, renew the server's own; returns the ids that changed."""
        late, own = [], []
        for client, state in tuple(self._states.items()):
            age = now - state.seen
            if state.json is None:
                if age > TOMBSTONE_SECONDS:
                    del self._states[client]
            elif state.owner is not None:
                if age > self.forget_seconds:
                    late.append(client)
            elif age > self.forget_seconds / 2:
                state.clock, state.seen = state.clock + 1, now
                own.append(client)
        return self._remove(late, now) + own

    def _remove(self, clients: Iterable[int], now: float) -> list[int]:
        removed = [client for client in clients if self._states[client].json is not None]
        for client in removed:
            self._gone(self._states[client], now)
        return removed

    def _gone(self, state: _State, now: float) -> None:
        state.json, state.owner, state.seen, state.gone = None, None, now, self._count

    def _is_back(self, state: _State, owner: object) -> bool:
        """Whether a clock that is known already says that a client has come back, on a connection that is new.

        An editor that reconnects announces itself with the clock it had. So does each echo of its last move, which
        arrives after it has gone.
        """
        return state.json is None and self._came.get(owner, 0) > state.gone

    def ids(self) -> list[int]:
        """The ids of all who are here."""
        return [client for client, state in self._states.items() if state.json is not None]

    def states(self) -> dict[int, object]:
        """The states of all who are here, decoded."""
        return {client: json.loads(state.json) for client, state in self._states.items() if state.json is not None}

    def encode(self, ids: Iterable[int]) -> bytes:
        """The awareness update that tells the newest state of each of `ids` ("null" for who is gone)."""
        entries = [
            var_uint(client) + var_uint(state.clock) + var_string("null" if state.json is None else state.json)
            for client, state in ((client, self._states.get(client)) for client in ids)
            if state is not None
        ]
        return var_uint(len(entries)) + b"".join(entries)

    def _read(self, update: bytes) -> list[tuple[int, int, str | None]]:
        entries: list[tuple[int, int, str | None]] = []
        count, at = read_var_uint(update, 0)
        for _ in range(count):
            client, at = read_var_uint(update, at)
            clock, at = read_var_uint(update, at)
            state, end = read_var_string(update, at)
            if end - at > self.max_bytes:
                raise TooLarge("an awareness state", end - at, self.max_bytes)
            at = end
            known = self._states.get(client)
            if known is None or clock >= known.clock:  # old echoes are not worth a look
                entries.append((client, clock, None if _is_null(state) else state))
        expect_end(update, at)
        return entries


def _is_null(text: str) -> bool:
    """Whether `text` means "gone"; raises `BadMessage` unless it is JSON that every browser reads and writes."""
    if text == "null":
        return True
    try:
        value = json.loads(text, parse_constant=_not_json)
    except (ValueError, RecursionError):
        raise BadMessage("an awareness state is not JSON") from None
    if text.count("[") + text.count("{") > MAX_DEPTH and _depth(text) > MAX_DEPTH:
        raise BadMessage(f"an awareness state is nested more than {MAX_DEPTH} deep")
    return value is None


def _depth(text: str) -> int:
    """How deep a JSON text nests. Browsers write what they hear, and their writer overflows its stack."""
    steps = (1 if mark in "[{" else -1 for mark in re.findall(r"[][{}]", _STRING.sub("", text)))
    return max(accumulate(steps), default=0)


def _not_json(constant: str) -> NoReturn:
    raise ValueError(constant)
