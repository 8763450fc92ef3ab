"""What it costs that rows stay, with the recorded session of two people (docs/design/0008)."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from pycrdt import Doc, Text

from collab import recovery
from collab.store import Entry
from collab.store.sqlite import SQLiteStore
from tests.support.replay import trace_path

pytestmark = pytest.mark.anyio

COMMIT_ROWS = 50
COMPACT_ROWS = 500


def replayed(trace: dict[str, Any], count: int) -> list[bytes]:
    """The first `count` edits as updates, each made in a document that has just what its author had seen."""
    updates: list[bytes] = []
    documents: dict[int, Doc[Any]] = {}
    seen: dict[int, set[int]] = {}
    for number, edit in enumerate(trace["txns"][:count]):
        author = edit["agent"]
        doc = documents.setdefault(author, Doc(client_id=1000 + author))
        has = seen.setdefault(author, set())
        text, lacks, ahead = doc.get("t", type=Text), set[int](), list(edit["parents"])
        while ahead:
            if (parent := ahead.pop()) not in has | lacks:
                lacks.add(parent)
                ahead += trace["txns"][parent]["parents"]
        with doc.transaction():
            for parent in sorted(lacks):
                doc.apply_update(updates[parent])
        made: list[bytes] = []
        watch = doc.observe(lambda event, made=made: made.append(event.update))
        with doc.transaction():
            for place, deleted, inserted in edit["patches"]:
                if deleted:
                    del text[place : place + deleted]
                if inserted:
                    text.insert(place, inserted)
        doc.unobserve(watch)
        updates += made or [b"\0\0"]
        has |= lacks | {number}
    return updates


async def test_rows_that_stay_cost_little(tmp_path: Path, full, figure):
    trace = json.loads(gzip.decompress(trace_path().read_bytes()))
    updates = replayed(trace, len(trace["txns"]) if full else 5_000)
    size = {}
    for keep in (True, False):
        path = tmp_path / f"{keep}.db"
        async with SQLiteStore(path) as store:
            for start in range(0, len(updates), COMMIT_ROWS):
                rows = updates[start : start + COMMIT_ROWS]
                await store.append([Entry("room", one, 1.76e9 + start, f"author {start % 2}") for one in rows])
                if (start + COMMIT_ROWS) % COMPACT_ROWS == 0:
                    assert await recovery.compact(store, "room", keep=keep)
            stored = await store.load("room")
            assert len(await store.history("room")) == (len(updates) if keep else len(stored.rows))
        size[keep] = path.stat().st_size
    each = (size[True] - size[False]) / len(updates)
    figure(
        f"{len(updates):,} edits of {sum(map(len, updates)):,} bytes: file {size[True]:,} bytes, without history "
        f"{size[False]:,}: {each:.0f} bytes for each edit"
    )
    assert each < 150
