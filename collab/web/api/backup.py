"""A backup of the whole store, made while the server runs and sent to whoever asks."""

from __future__ import annotations

import base64
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import anyio
import anyio.to_thread
from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.responses import StreamingResponse

from ... import telemetry
from ...backup import digest
from ...errors import Conflict
from ...log import get_logger
from ...notes import folder_beside
from ...store.copies import discard
from ...store.sqlite import SQLiteStore
from .access import Served
from .asked import Asks
from .audit import Audit

log = get_logger(__name__)

PIECE = 256 << 10
MEDIA_TYPE = "application/vnd.sqlite3"


class Backup:
    """The operation on the store as a whole."""

    def __init__(self, served: Served, audit: Audit) -> None:
        self._served = served
        self._audit = audit
        self._busy = False
        self.router = APIRouter(tags=["server"])
        self.router.add_api_route(
            "/server/backup",
            self.backup,
            methods=["POST"],
            summary="A backup of all rooms",
            response_class=StreamingResponse,
            responses={200: {"content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}}}},
        )

    async def backup(self, admin: Asks) -> StreamingResponse:
        """An SQLite file that holds every edit that was saved when it began, as of one moment; people go on typing.

        It is made beside the store first, so there must be room for it. `Repr-Digest` (RFC 9530) has its SHA-256. One
        at a time: 409 while another is made. `collab backup` asks for it and verifies it.
        """
        store = self._served.hub.store
        if not isinstance(store, SQLiteStore):
            raise HTTPException(
                501, "this store is no file: back it up with its own tools, or by `collab migrate-store`"
            )
        if self._busy:
            raise Conflict("another backup is being made")
        draft = folder_beside(store, "backup")
        assert draft is not None  # there is one beside every file
        self._busy = True
        try:
            discard(draft)  # of a server that died
            with telemetry.span("store.backup") as span:
                await store.copy_to(draft)
                stream, size, sha256 = await anyio.to_thread.run_sync(_taken, draft)
                span.set(bytes=size)
        finally:
            self._busy = False
        try:
            await self._audit.note(admin, "server.backup", bytes=size)
        except BaseException:
            stream.close()
            raise
        self._served.hub.metrics.last_backup.set_to_current_time()
        log.info("backup made", bytes=size)
        name = f"collab-{datetime.now(UTC):%Y%m%d-%H%M%S}.db"
        headers = {
            "content-length": str(size),
            "content-disposition": f'attachment; filename="{name}"',
            "repr-digest": f"sha-256=:{base64.b64encode(bytes.fromhex(sha256)).decode()}:",
            "cache-control": "no-store",
        }
        return StreamingResponse(_pieces(stream), media_type=MEDIA_TYPE, headers=headers)


def _taken(file: Path) -> tuple[BinaryIO, int, str]:
    """An open file without a name, so that it is gone when it is closed, however that comes; its size and checksum."""
    sha256 = digest(file)
    stream = file.open("rb")
    file.unlink()
    return stream, os.fstat(stream.fileno()).st_size, sha256


async def _pieces(stream: BinaryIO) -> AsyncIterator[bytes]:
    with stream:
        while piece := await anyio.to_thread.run_sync(stream.read, PIECE):
            yield piece
