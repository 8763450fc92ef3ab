"""All rooms over HTTP, there and back: equal, in bounded memory, while people type; and what is refused."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from pycrdt import Doc, Text

from collab import bundle
from collab.store import Entry, Reason
from collab.store.sqlite import SQLiteStore
from tests.support.raw.hocuspocus import Attached
from tests.support.rooms import content, fill
from tests.support.server import Server
from tests.web.api.conftest import BEARER, TOKEN, is_problem

ENV = {"COLLAB_ADMIN__TOKEN": TOKEN}
MB = 1_000_000


def file_of(server: Server) -> Path:
    return Path(server.store.removeprefix("sqlite:///"))


def asks(server: Server) -> httpx.Client:
    return httpx.Client(base_url=f"{server.http_url}/api/v1", headers=BEARER, timeout=300)


@pytest.fixture(scope="module")
def full_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    file = tmp_path_factory.mktemp("full") / "rooms.db"

    async def make() -> None:
        async with SQLiteStore(file) as store:
            for name in ("a", "b ü/x", "c"):
                await fill(store, name)

    asyncio.run(make())  # anyio's own refuses where a fixture of the session is async
    with Server(store=f"sqlite:///{file}", env=ENV) as running:
        yield running
        assert not running.complaints()


@pytest.fixture
def both(full_server: Server) -> Iterator[tuple[Server, Server]]:
    """A server with rooms, and one without."""
    with Server(env=ENV) as empty:
        yield full_server, empty
        assert not empty.complaints()


def test_there_and_back(both):
    full, empty = both
    with asks(full) as here, asks(empty) as there:
        assert is_problem(there.get("/import"), 404)
        answer = here.get("/export")
        assert answer.status_code == 200 and answer.headers["content-type"] == bundle.MEDIA_TYPE
        assert answer.headers["content-disposition"].startswith('attachment; filename="collab-')
        taken = there.post("/import", content=answer.content)
        assert taken.status_code == 200, taken.text
        told = taken.json()
        assert (told["rooms"], told["of"], told["rows"], told["snapshots"]) == (3, 3, 90, 6)
        assert told["bytes"] == len(answer.content) and not told["running"] and told["problem"] is None
        assert there.get("/import").json() == told
        assert there.get("/export").content == answer.content, "the same again, byte by byte"
        assert is_problem(there.post("/import", content=answer.content), 409)
        assert there.post("/import?existing=skip", content=answer.content).json()["skipped"] == 3
        assert there.post("/import?existing=merge", content=answer.content).json()["merged"] == 3
        assert is_problem(there.post("/import?existing=perhaps", content=answer.content), 422)
        assert here.get("/audit").json()["items"][0]["what"] == "export"
        record = there.get("/audit").json()["items"][0]
        assert (record["what"], record["details"]["merged"]) == ("import", 3)
        for client in (here, there):
            wrong = {"authorization": "Bearer " + "x" * 40}
            assert is_problem(client.get("/export", headers=wrong), 401)
            assert is_problem(client.post("/import", content=b"", headers=wrong), 401)
    assert not [name for name in os.listdir(empty.folder) if name.endswith((".import", ".export"))]


@pytest.mark.parametrize("kind", ["empty", "garbage", "foreign", "truncated", "newer", "huge"])
def test_bad_input(both, kind):
    """Refused with a reason; what was taken before it is told, and there; nothing else is changed."""
    full, empty = both
    with asks(full) as here, asks(empty) as there:
        stream = here.get("/export").content
        at = stream.index(b'"name":"c"')
        body: bytes | Iterator[bytes]
        status, taken = 400, 0
        match kind:
            case "empty":
                body = b""
            case "garbage":
                body, status = b"\x00garbage" * 100_000, 413
            case "foreign":
                body = here.post("/server/backup").content
            case "truncated":
                body, taken = stream[: at + 3_000], 2
            case "newer":
                body = stream.replace(b'"version":1', b'"version":2', 1)
            case _:
                row = bundle.line("row", time=1, author=None, kind=0, bytes=10**12)
                head = stream[: stream.index(b"\n", at) + 1]
                body, status, taken = iter([head, row, *[bytes(MB)] * 1_000]), 413, 2
        began = time.monotonic()
        refused = there.post("/import", content=body)
        assert is_problem(refused, status), kind
        assert time.monotonic() - began < 30
        assert f"{taken} rooms were taken" in refused.json()["detail"]
        told = there.get("/import").json()
        assert (told["rooms"], told["running"]) == (taken, False) and told["problem"]
        names = [room["name"] for room in there.get("/rooms").json()["items"]]
        assert names == ["a", "b ü/x", "c"][:taken]
        assert there.get("/audit").json()["items"][0]["details"]["rooms"] == taken
        again = there.post("/import?existing=skip", content=stream)
        assert again.json()["rooms"] == 3 - taken, "the rest is taken when all of it comes"


def test_who_goes_away_in_the_midst_of_it(both):
    full, empty = both
    with asks(full) as here, asks(empty) as there:
        stream = here.get("/export").content

        def breaking() -> Iterator[bytes]:
            yield stream[:5_000]
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            there.post("/import", content=breaking())
        deadline = time.monotonic() + 10
        while there.get("/import").status_code == 404 or there.get("/import").json()["running"]:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert "cut short" in there.get("/import").json()["problem"]
        with here.stream("GET", "/export") as half:
            next(half.iter_raw(100))
        assert there.post("/import?existing=skip", content=here.get("/export").content).is_success


def big(nth: int) -> bytes:
    doc: Doc = Doc()
    doc["t"] = Text(f"{nth} " + "x" * 4 * MB)
    return doc.get_update()


async def crowded(file: Path, rooms: int, large: int) -> None:
    """Rooms with twenty edits, a checkpoint and a snapshot each; and `large` ones of 4 MB."""
    async with SQLiteStore(file) as store:
        for nth in range(rooms):
            doc: Doc = Doc()
            text, entries, states = doc.get("t", type=Text), [], []
            for row in range(20):
                before = doc.get_state()
                text += f"{nth}/{row} "
                entries.append(Entry(f"room {nth:04}", doc.get_update(before), 7.5 + row, f"user {row % 3}"))
                states.append(doc.get_update())
            await store.append(entries)
            await store.add_snapshot(
                f"room {nth:04}", states[9], covers=10, time=9.25, reason=Reason.MANUAL, label="ten"
            )
            await store.compact(f"room {nth:04}", states[14], covers=15, basis=0)
        for nth in range(large):
            await store.append([Entry(f"large {nth}", big(nth), 1.0)])


@pytest.mark.anyio
@pytest.mark.alone
@pytest.mark.timeout(900)
async def test_many_rooms_while_people_type(tmp_path, full, figure):
    """There and back is equal; memory is bounded by a document, not by the store; who types notices little."""
    rooms, large = (1_000, 100) if full else (100, 15)
    await crowded(tmp_path / "full.db", rooms, large)
    delays: list[float] = []

    async def type_on(url: str) -> None:
        async with await Attached.open(url, "bystander") as one:
            while True:
                began = time.monotonic()
                await one.write(str(began))
                await one.saved(within=20)
                delays.append(time.monotonic() - began)
                await asyncio.sleep(0.02)

    async def typed(server: Server, call: AsyncIterator[float]) -> tuple[float, float, int]:
        """Seconds of what is done meanwhile, the slowest of the bystander's edits, and by how much memory grew."""
        task = asyncio.create_task(type_on(server.url))
        await asyncio.sleep(1)
        delays.clear()
        before, began = server.rss(), time.monotonic()
        server.peak(anew=True)
        async for _ in call:
            pass
        took, grown = time.monotonic() - began, server.peak() - before
        task.cancel()
        assert isinstance((await asyncio.gather(task, return_exceptions=True))[0], asyncio.CancelledError)
        return took, sorted(delays)[int(len(delays) * 0.99)], grown

    target = tmp_path / "all.export"

    async def export(http: httpx.AsyncClient) -> AsyncIterator[float]:
        with target.open("wb") as file:
            async with http.stream("GET", "/export") as answer:
                assert answer.status_code == 200
                async for piece in answer.aiter_bytes():
                    file.write(piece)
                    yield 0.0

    async def take(http: httpx.AsyncClient) -> AsyncIterator[float]:
        async def pieces() -> AsyncIterator[bytes]:
            with target.open("rb") as file:
                while piece := file.read(MB):
                    yield piece

        answer = await http.post("/import", content=pieces(), params={"existing": "skip"})
        assert answer.status_code == 200, answer.text
        assert answer.json()["rooms"] == rooms + large, json.dumps(answer.json())
        yield 0.0

    with Server(store=f"sqlite:///{tmp_path / 'full.db'}", env=ENV) as here, Server(env=ENV) as there:
        for what, server, call in (("export", here, export), ("import", there, take)):
            async with httpx.AsyncClient(base_url=f"{server.http_url}/api/v1", headers=BEARER, timeout=600) as http:
                took, slowest, grown = await typed(server, call(http))
            size = target.stat().st_size
            figure(
                f"{what} of {rooms} rooms and {large} of 4 MB, {size / MB:.0f} MB: {took:.1f} s, memory peak "
                f"+{grown / MB:.0f} MB; {len(delays)} edits of a bystander acknowledged meanwhile, "
                f"p99 {slowest * 1e3:.0f} ms"
            )
            assert grown < 120 * MB
            assert slowest < 2.0
        assert bundle.checked(target)["rooms"] >= rooms + large
        assert not here.complaints() + there.complaints()
        for server in (here, there):
            server.terminate()
            assert (await server.exited()).code == 0
        ours, theirs = [await _content(file) for file in (tmp_path / "full.db", file_of(there))]
    for one in (ours, theirs):
        del one["bystander"]
    assert ours == theirs and len(ours) == rooms + large
    figure(f"{len(ours)} of {rooms + large} rooms are equal in documents, history, checkpoints and snapshots")


async def _content(file: Path) -> dict[str, object]:
    async with SQLiteStore(file) as store:
        return {name: hash(str(value)) for name, value in (await content(store)).items()}


def test_who_sends_nothing_for_too_long():
    def slowly() -> Iterator[bytes]:
        yield bundle.line("export", version=bundle.VERSION, rooms=1)
        time.sleep(2.5)
        yield b"{}\n"

    with Server(env=ENV | {"COLLAB_ADMIN__WRITE_SECONDS": "1"}) as server, asks(server) as http:
        refused = http.post("/import", content=slowly())
        assert is_problem(refused, 408) and "0 rooms were taken" in refused.json()["detail"]
        assert is_problem(http.post("/import", content=b""), 400), "the next one may come"
        assert not server.complaints()
