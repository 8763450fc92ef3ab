"""The vocabulary. Frozen values that cross every layer; a dialect decides at the last moment how they look on the wire.

A dialect that has no word for a message encodes it as None, and it is not sent.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SyncStep1:
    """What the sender has, as a state vector; asks for the rest."""

    state_vector: bytes


@dataclass(frozen=True, slots=True)
class SyncStep2:
    """The answer to `SyncStep1`: one update with all that the asker lacked, and all deletions."""

    update: bytes


@dataclass(frozen=True, slots=True)
class Update:
    """One change, as a Yjs update (v1)."""

    update: bytes


@dataclass(frozen=True, slots=True)
class Awareness:
    """Presence: an awareness update (y-protocols/awareness.js): count, then (client id, clock, JSON state) each."""

    update: bytes


@dataclass(frozen=True, slots=True)
class QueryAwareness:
    """Asks for all awareness states that the other side knows."""


@dataclass(frozen=True, slots=True)
class Denied:
    """Server to client: no access, and why, in words that leak nothing."""

    reason: str


Message = SyncStep1 | SyncStep2 | Update | Awareness | QueryAwareness | Denied
