"""What admins did: who, what, when, from where. In the log as event `audit`, and in a file beside the store.

The file has one JSON object on each line and keeps the newest `KEPT`; a store without a file has them in memory.
"""

from __future__ import annotations

import json
import os
import time
from collections import deque
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import anyio
import anyio.to_thread
from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from ...errors import Unavailable
from ...log import get_logger
from ...notes import folder_beside
from ...store import Store
from .access import Admin

log = get_logger(__name__)

KEPT = 5_000
"""How many records stay; the file has at most twice as many lines."""
PAGE = 1_000


class Record(BaseModel):
    """One change."""

    id: int = Field(description="Grows with each record.")
    time: datetime = Field(description="When it was done (UTC).")
    who: str = Field(description="Subject of the token; `admin` for the server's own token, `local` without any.")
    what: str = Field(description="What was done, such as `document.put`.")
    room: str | None = Field(None, description="Which room; null when it was about none, or about several.")
    address: str = Field(description="Where it came from.")
    details: dict[str, Any] = Field({}, description="More about this kind of change.")


class Records(BaseModel):
    """A page of records, newest first."""

    items: list[Record]
    next: int | None = Field(None, description="Give it as `before` for the next page; null on the last one.")


class Audit:
    """The records of one server.

    Args:
        store: Whose rooms it is about.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._records: deque[Record] = deque(maxlen=KEPT)
        self._file: Path | None = None
        self._lines = 0
        self._lock = anyio.Lock()
        self.router = APIRouter(tags=["audit"])
        self.router.add_api_route("/audit", self.list, methods=["GET"], summary="What admins did, newest first")

    def open(self) -> None:
        """Read what was kept. The store is open."""
        folder = folder_beside(self._store, "audit")
        if folder is None:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = folder / "audit.jsonl"
            kept = self._file.read_bytes() if self._file.exists() else b""
            if kept and not kept.endswith(b"\n"):  # the machine died while the last one was written
                with self._file.open("ab") as stream:
                    stream.write(b"\n")
        except OSError as error:
            log.error("audit not kept", folder=str(folder), error=str(error))
            self._file = None
            return
        lines = kept.splitlines()
        self._lines = len(lines)
        for line in lines[-KEPT:]:
            try:
                self._records.append(Record.model_validate_json(line))
            except ValueError:
                log.warning("audit record not read", file=str(self._file))

    async def note(self, admin: Admin, what: str, room: str | None = None, **details: Any) -> None:
        """Keep a record of a change that was made just now; it is on the disk when this returns.

        Raises:
            Unavailable: It could not be written. The change is made all the same, and the log tells of it.
        """
        async with self._lock:
            record = Record(
                id=self._records[-1].id + 1 if self._records else 1,
                time=datetime.fromtimestamp(time.time(), UTC),
                who=admin.name,
                what=what,
                room=room,
                address=admin.address,
                details=details,
            )
            self._records.append(record)
            log.info("audit", who=admin.name, what=what, room=room, client=admin.address, **details)
            if self._file is not None:
                try:
                    await anyio.to_thread.run_sync(self._write, self._file, record)
                except OSError as error:
                    log.error("audit not kept", file=str(self._file), error=str(error))
                    raise Unavailable("the record of what admins did (the change itself was made)") from error

    def _write(self, file: Path, record: Record) -> None:
        if self._lines >= 2 * KEPT:
            draft = file.with_suffix(".new")
            draft.write_text("".join(_line(one) for one in self._records), "utf-8")
            with draft.open("ab") as stream:
                os.fsync(stream.fileno())
            draft.replace(file)
            self._lines = len(self._records)
            return
        with file.open("a", encoding="utf-8") as stream:
            stream.write(_line(record))
            stream.flush()
            os.fsync(stream.fileno())
        self._lines += 1

    async def list(
        self,
        room: Annotated[str | None, Query(description="Only what was done to this room.")] = None,
        before: Annotated[int | None, Query(description="Only records with a lower id.")] = None,
        limit: Annotated[int, Query(ge=1, le=PAGE)] = 100,
    ) -> Records:
        """The newest records are kept, over a restart too where the store is a file."""
        found = [
            record
            for record in reversed(self._records)
            if (before is None or record.id < before) and room in (None, record.room)
        ]
        return Records(items=found[:limit], next=found[limit - 1].id if len(found) > limit else None)


def _line(record: Record) -> str:
    return json.dumps(record.model_dump(mode="json"), ensure_ascii=True) + "\n"
