"""What admins did is kept: in order, bounded, over restarts; and when it cannot be kept, that is told."""

from __future__ import annotations

import anyio
import httpx
import pytest

from collab.errors import Unavailable
from collab.store.memory import MemoryStore
from collab.store.sqlite import SQLiteStore
from collab.web.api import audit
from collab.web.api.access import Admin
from collab.web.api.audit import Audit
from tests.support.server import Server
from tests.web.api.conftest import BEARER, TOKEN


async def everywhere(room: str) -> None:
    """This admin may do everything."""


ANA = Admin("ana", "203.0.113.7", everywhere)


def test_every_change_is_noted(server, http, room):
    http.put_text(room, "a")
    http.post(http.document(room), content="b", headers={"content-type": "text/plain"})
    http.put("/server/log-level", json={"level": "info"})
    http.get(http.document(room))
    items = http.get("/audit", params={"limit": 3}).json()["items"]
    assert [one["what"] for one in items] == ["server.log_level", "document.append", "document.put"]
    assert {(one["who"], one["address"]) for one in items} == {("admin", "127.0.0.1")}
    assert [one["room"] for one in items] == [None, room, room]
    assert [one["what"] for one in http.get("/audit", params={"room": room}).json()["items"]] == [
        "document.append",
        "document.put",
    ]
    logged = [line for line in server.json_logs() if line["event"] == "audit" and line["room"] == room]
    assert [line["what"] for line in logged] == ["document.put", "document.append"]
    changed = [line for line in server.json_logs() if line.get("what") == "server.log_level"][-1]
    assert (changed["level"], changed["to"], changed["before"]) == ("info", "info", "info")
    assert items[0]["details"] == {"to": "info", "before": "info"}


def test_what_was_refused_is_no_change(http, room):
    http.put_text(room, "a")
    before = http.get("/audit").json()["items"][0]["id"]
    assert http.put_text(room, "b", **{"if-match": '"AA"'}).status_code == 412
    assert http.post(f"/rooms/{room.replace('/', '%2F')}/updates", content=b"garbage").status_code == 400
    assert http.get("/audit").json()["items"][0]["id"] == before


def test_over_a_restart():
    with Server(env={"COLLAB_ADMIN__TOKEN": TOKEN}) as server:
        url = f"{server.http_url}/api/v1"
        for number in range(3):
            httpx.put(f"{url}/rooms/{number}/document", content="a", headers=BEARER | {"content-type": "text/plain"})
        server.kill()
        server.start()
        page = httpx.get(f"{url}/audit", params={"limit": 2}, headers=BEARER).json()
        assert [one["room"] for one in page["items"]] == ["2", "1"] and page["next"] == 2
        rest = httpx.get(f"{url}/audit", params={"before": 2}, headers=BEARER).json()
        assert [one["room"] for one in rest["items"]] == ["0"] and rest["next"] is None


@pytest.mark.anyio
async def test_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(audit, "KEPT", 10)
    store = SQLiteStore(tmp_path / "rooms.db")
    kept = Audit(store)
    kept.open()
    for number in range(25):
        await kept.note(ANA, "document.put", str(number))
    file = tmp_path / "rooms.db.audit" / "audit.jsonl"
    assert 10 <= len(file.read_text().splitlines()) <= 20
    again = Audit(store)
    again.open()
    assert [one.room for one in (await again.list(limit=3)).items] == ["24", "23", "22"]
    await again.note(ANA, "document.put", "next")
    assert (await again.list(limit=1)).items[0].id == 26


@pytest.mark.anyio
async def test_a_line_that_was_cut_off(tmp_path):
    store = SQLiteStore(tmp_path / "rooms.db")
    for number in range(3):
        kept = Audit(store)
        kept.open()
        await kept.note(ANA, "document.put", str(number))
        with (tmp_path / "rooms.db.audit" / "audit.jsonl").open("a") as stream:
            stream.write('{"id": 9, "ti')
    kept = Audit(store)
    kept.open()
    assert [one.room for one in (await kept.list(limit=9)).items] == ["2", "1", "0"]


@pytest.mark.anyio
async def test_where_it_cannot_be_kept(tmp_path, caplog):
    (tmp_path / "rooms.db.audit").write_text("a file where the folder should be")
    kept = Audit(SQLiteStore(tmp_path / "rooms.db"))
    kept.open()
    assert "audit not kept" in caplog.text
    await kept.note(ANA, "document.put", "a")
    assert len((await kept.list(limit=9)).items) == 1
    (tmp_path / "rooms.db.audit").unlink()
    kept.open()
    (tmp_path / "rooms.db.audit" / "audit.jsonl").mkdir()
    with pytest.raises(Unavailable, match="the change itself was made"):
        await kept.note(ANA, "document.put", "b")


def test_in_memory():
    async def main() -> None:
        kept = Audit(MemoryStore())
        kept.open()
        await kept.note(ANA, "room.duplicate", "a", to="b")
        [record] = (await kept.list(limit=9)).items
        assert (record.who, record.what, record.room, record.details) == ("ana", "room.duplicate", "a", {"to": "b"})

    anyio.run(main)
