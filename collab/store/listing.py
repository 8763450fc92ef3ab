"""Which rooms the SQLite store has: the statements for `Store.rooms` and `Store.room`.

Part of `tables.py` by its nature, as `past.py` is: it runs on the store's own thread, and reads many lines as one
value.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from sqlite_utils import Database

from . import RoomInfo
from .seal import to_seconds

ROWS = 500
"""Rooms of one page."""

_NUMBERS = ("epoch", "head", "covers", "state_bytes", "log_bytes", "changed", "forgotten")


class Listing:
    """One open database, as far as it concerns the list of rooms."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def page(self, after: str | None) -> list[RoomInfo]:
        """The next rooms by name."""
        where, params = ("name >= ''", ()) if after is None else ("name > ?", (after,))
        infos = self._infos(f"INDEXED BY rooms_name WHERE {where} ORDER BY name LIMIT {ROWS}", params)
        return sorted(infos, key=lambda info: info.name)  # an aggregate need not keep the order of its rows

    def info(self, room: str) -> RoomInfo | None:
        """One room's line of the listing."""
        for index in ("rooms_name", "rooms_name_again"):
            if found := self._infos(f"INDEXED BY {index} WHERE name = ?", (room,)):
                return found[0]
        return None

    def unlisted(self) -> list[RoomInfo]:
        """The rooms that `page` misses because a page of its index is damaged: none, but for that."""
        listed = "rooms INDEXED BY rooms_name WHERE name >= ''"
        counts = self._db.execute(f"SELECT (SELECT count(*) FROM rooms NOT INDEXED), (SELECT count(*) FROM {listed})")
        rooms, names = counts.fetchone()
        return [] if rooms == names else self._infos(f"NOT INDEXED WHERE id NOT IN (SELECT id FROM {listed})")

    def _infos(self, where: str, params: Sequence[str] = ()) -> list[RoomInfo]:
        numbers = ", ".join(f"coalesce(CAST(room.{column} AS INTEGER), 0)" for column in _NUMBERS)
        answer = self._db.execute(
            f"SELECT json_group_array(json_array(hex(named.name), {numbers})) "
            f"FROM (SELECT id, name FROM rooms {where}) AS named LEFT JOIN rooms AS room ON room.id = named.id",
            params,
        ).fetchone()[0]
        return [
            RoomInfo(
                name=bytes.fromhex(name).decode(errors="backslashreplace"),
                epoch=epoch,
                seq=head,
                covers=covers,
                checkpoint_bytes=state_bytes,
                log_rows=head - covers,
                log_bytes=log_bytes,
                changed=to_seconds(changed),
                forgotten=forgotten,
            )
            for name, epoch, head, covers, state_bytes, log_bytes, changed, forgotten in json.loads(answer)
        ]
