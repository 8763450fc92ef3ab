"""The fields of the section `limits`: what clients may ask of the server."""

from __future__ import annotations

from pydantic import Field

from .sections import Count, Seconds, Section, Size
from .values import KiB, MiB


class LimitSettings(Section):
    """What clients may ask of the server."""

    connections: Count = Field(default=10_000, description="Number of clients that may be connected.")
    connections_per_address: Count = Field(
        default=1_000,
        description="Number of clients from one address (IPv6: one /64) that may be connected. This machine's own "
        "clients are not counted, unless a proxy that is trusted runs here.",
    )
    connections_per_user: Count = Field(
        default=500, description="Number of clients of one user that may be connected; nameless users are not counted."
    )
    connections_per_room: Count = Field(default=1_000, description="Number of clients that may be in one room.")
    documents_per_connection: Count = Field(
        default=200,
        description="Number of documents that one client may have open on its connection (Hocuspocus); further ones "
        "are denied, each by itself.",
    )
    sessions_per_document: Count = Field(
        default=10, description="Number of sessions that one connection may have in one of these documents."
    )
    documents_per_user: Count = Field(
        default=500,
        description="Number of documents that one user may have open on all connections together; each session counts, "
        "and users without a name are not counted.",
    )
    documents_per_address: Count = Field(
        default=5_000,
        description="Number of documents that may be open on all connections from one address together, counted as "
        "connections_per_address is.",
    )
    new_connections_per_second: Count = Field(
        default=1_000, description="Number of new clients per second; five times as many may come at once."
    )
    new_connections_per_second_per_address: Count = Field(
        default=100,
        description="Number of new clients per second from one address, counted as connections_per_address is; five "
        "times as many may come at once.",
    )
    messages_per_second: Count = Field(
        default=500, description="Number of messages per second that one client may send; more are read more slowly."
    )
    messages_burst: Count = Field(
        default=5_000, description="Number of messages that one client may send at once before it is slowed down."
    )
    bytes_per_second: Size = Field(
        default=8 * MiB, description="Bytes per second that one client may send; more are read more slowly."
    )
    bytes_burst: Size = Field(
        default=64 * MiB,
        description="Bytes that one client may send at once before it is slowed down (at least one whole message).",
    )
    debt_seconds: Seconds = Field(
        default=10.0,
        description="How far beyond its rates a client may get, counted in time to wait; past it the client is closed.",
    )
    message_bytes: Size = Field(
        default=16 * MiB, description="Largest message taken from a client, in bytes; more closes it."
    )
    outbox_bytes: Size = Field(
        default=1 * MiB,
        description="Bytes that may wait for a slow client; past it the client is owed one merged update instead.",
    )
    stalled_seconds: Seconds = Field(
        default=30.0, description="Time after which a client that takes no bytes is cut off."
    )
    waiting_bytes: Size = Field(default=1 * MiB, description="Bytes kept from a client while its room is opening.")
    waiting_messages: Count = Field(
        default=1_000, description="Number of messages kept from a client while its room is opening."
    )
    hold_seconds: Seconds = Field(
        default=12.0, description="Time for which a refused client that came back at once is held before it is closed."
    )
    awareness_bytes: Size = Field(default=64 * KiB, description="Largest presence state of one client id, in bytes.")
    awareness_ids_per_connection: Count = Field(
        default=64, description="Number of client ids that one client may show; further ones are not shown to others."
    )
    document_bytes: Size = Field(
        default=128 * MiB, description="Largest document that takes further edits, in bytes; larger ones are read-only."
    )
    rooms_created_per_user: Count = Field(
        default=1_000,
        description="Number of rooms per hour that one user, or one address of users without a name, may make by "
        "entering them; one that nobody writes in counts once, however often it is entered.",
    )
    unauthenticated_bytes: Size = Field(
        default=5 * MiB, description="Bytes kept from a client while its access is being decided."
    )
    unauthenticated_messages: Count = Field(
        default=1_000, description="Number of messages kept from a client while its access is being decided."
    )
    unauthenticated_documents: Count = Field(
        default=100, description="Number of documents that a client may ask for while its access is being decided."
    )
    unauthenticated_total_bytes: Size = Field(
        default=256 * MiB, description="Bytes kept from all clients together while their access is being decided."
    )
    auth_seconds: Seconds = Field(
        default=10.0,
        description="Time from the handshake within which a client must have access; nothing it sends makes it longer.",
    )
    auth_concurrency: Count = Field(
        default=100,
        description="Number of decisions about access that are waited for at once; a quarter of them for one address.",
    )
