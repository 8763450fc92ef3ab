"""O09: snapshots made, listed, compared and restored by a real server equal a replay of all that was written."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from pycrdt import Doc

from collab.history.diff import apply, apply_text, text_of
from collab.history.items import Layer
from collab.history.outline import outline
from collab.store import Entry
from collab.store.sqlite import SQLiteStore
from tests.history.histories import Crowd, covered, crowds, seen
from tests.support.histories import applied, clocks
from tests.support.server import Server

pytestmark = pytest.mark.timeout(7200)

TOKEN = "a token that opens the admin interface"
BODY = {"content-type": "application/octet-stream"}


async def begun(file: Path, histories: list[tuple[Crowd, int]]) -> None:
    """A store in which each room has the first rows of its history."""
    async with SQLiteStore(file) as store:
        for number, (crowd, half) in enumerate(histories):
            rows = crowd.rows[:half]
            await store.append([Entry(f"room-{number}", row.update, row.time, row.author) for row in rows])


def of(answer: httpx.Response) -> Doc[Any]:
    assert answer.status_code == 200, answer.text
    return applied([answer.content])


def checked(http: httpx.Client, room: str, crowd: Crowd, half: int, dice: random.Random) -> list[str]:
    """What is not as in the replay."""
    wrong: list[str] = []

    def same(what: str, found: Doc[Any], expected: Doc[Any], *, history: bool = True) -> None:
        if seen(found) != seen(expected) or (history and clocks(found) != clocks(expected)):
            wrong.append(what)

    updates = [row.update for row in crowd.rows]
    snapshot, whole = applied(updates[:half]), applied(updates)
    made = http.post(f"/rooms/{room}/snapshots", json={"label": "half"}).json()
    for update in updates[half:]:
        answer = http.post(f"/rooms/{room}/updates", content=update, headers=BODY)
        assert answer.status_code == 200, answer.text
    (listed,) = http.get(f"/rooms/{room}/snapshots").json()["items"]
    if (listed["id"], listed["covers"], listed["label"]) != (made["id"], half, "half"):
        wrong.append("list")
    yjs = {"format": "yjs"}
    same("snapshot", of(http.get(f"/rooms/{room}/snapshots/{made['id']}/content", params=yjs)), snapshot)
    same("document", of(http.get(f"/rooms/{room}/document", params=yjs)), whole)
    early = dice.randint(1, half)
    same("moment", of(http.get(f"/rooms/{room}/at", params=yjs | {"at": f"seq:{early}"})), applied(updates[:early]))
    difference = http.get(f"/rooms/{room}/diff", params={"from": f"snapshot:{made['id']}"}).json()
    before, after = (outline(Layer.of(doc.get_update())) for doc in (snapshot, whole))
    if apply(before, difference) != after or any(
        apply_text(text_of(before.get(name, {})), difference["text"].get(name, [])) != text_of(after.get(name, {}))
        for name in {*before, *after}
    ):
        wrong.append("diff")
    done = http.post(f"/rooms/{room}/restore", json={"to": {"snapshot": made["id"]}})
    assert done.status_code == 200, done.text
    same("restore", of(http.get(f"/rooms/{room}/document", params=yjs)), snapshot, history=False)
    if done.json()["before"] is not None:
        http.post(f"/rooms/{room}/restore", json={"to": {"snapshot": done.json()["before"]["id"]}})
        same("restore taken back", of(http.get(f"/rooms/{room}/document", params=yjs)), whole, history=False)
    return wrong


def test_o09_equal_a_full_replay(tmp_path, full, figure):
    dice = random.Random(9)
    histories = [(crowd, dice.randint(1, len(crowd.rows))) for crowd in crowds(full) if crowd.rows]
    file = tmp_path / "rooms.db"
    anyio.run(begun, file, histories)
    mismatches: dict[str, list[str]] = {}
    with (
        Server(store=f"sqlite:///{file}", env={"COLLAB_ADMIN__TOKEN": TOKEN}) as server,
        httpx.Client(
            base_url=f"{server.http_url}/api/v1", headers={"authorization": f"Bearer {TOKEN}"}, timeout=60
        ) as http,
    ):
        for number, (crowd, half) in enumerate(histories):
            if wrong := checked(http, f"room-{number}", crowd, half, dice):
                mismatches[f"seed {number}"] = wrong
        assert not server.complaints()
    figure(
        f"O09: snapshot, list, moment, diff, restore and its taking back over HTTP, {len(histories)} histories: "
        f"{len(mismatches)} mismatches; {covered(crowd.did for crowd, _ in histories)}"
    )
    assert mismatches == {}
