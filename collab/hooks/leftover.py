"""What the process before this one did and may not have written down: a restore, between its commit and its event.

A restore begins with a snapshot and ends with an edit by the same author. In rooms whose changes were not all told such
pairs are looked for. The event has the same id as it had, or would have had: it may be told twice, but never not.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from ..errors import CollabError
from ..log import get_logger
from ..store import Reason, Store
from ..store.outbox import Event, News, restored_as

log = get_logger(__name__)

NEWEST = 10
"""How many snapshots of a room are looked at."""


async def restores(store: Store, untold: Sequence[tuple[str, int]]) -> list[News]:
    """Those that may not have been told, in rooms with edits that were not told (each with the last one that was)."""
    found = []
    for room, told in untold:
        try:
            for before in reversed(await store.snapshots(room, limit=NEWEST)):
                if before.reason is not Reason.BEFORE_RESTORE or before.covers < told:
                    continue
                rows = await store.history(room, before.covers)
                row = next((row for row in rows if row.author == before.author), None)
                if row is not None:
                    details = {"user": before.author, "how": None, "before": before.id, "seq": row.seq}
                    found.append(News(Event.RESTORED, room, time.time(), details, restored_as(before)))
        except CollabError as error:  # a damaged room; the others have their say
            log.warning("restores not looked for", room=room, error=str(error))
    return found
