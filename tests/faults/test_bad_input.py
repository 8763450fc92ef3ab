"""F01 to F04, F11, F19, and what the server answers to frames and names that it does not understand."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
import time
import unicodedata
from collections import Counter
from typing import Any

import pytest
from pycrdt import Doc, Map, Text

from collab.errors import BadMessage
from collab.wire import yjs
from tests.faults.bystander import Bystander
from tests.faults.writers import percentile, spread
from tests.support.raw import (
    BINARY,
    EMPTY_VECTOR,
    TEXT,
    Peer,
    Raw,
    awareness,
    encode_frame,
    parse,
    query,
    sync1,
    sync2,
    update,
    var,
    var_bytes,
)
from tests.support.server import REPO, Metrics, Server

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]

ENV = {"COLLAB_LOG__FORMAT": "json", "COLLAB_LIMITS__MESSAGE_BYTES": "2MiB", "COLLAB_LIMITS__HOLD_SECONDS": "3"}


@pytest.fixture(scope="module")
def server():
    with Server(env=ENV) as running:
        yield running


def edit() -> bytes:
    """A sound update."""
    doc: Doc = Doc()
    text = doc.get("text", type=Text)
    text += "hello"
    return doc.get_update()


GOOD = edit()

F01: dict[str, bytes | str] = {
    "empty": b"",
    **{f"one byte {byte}": bytes([byte]) for byte in (0, 1, 2, 4, 0x7F, 0x80, 0xFF)},
    **{f"unknown type {kind}": var(kind) + var_bytes(GOOD) for kind in (4, 5, 8, 9, 66, 100, 101, 103, 127, 128, 255)},
    **{f"unknown sync {sub}": b"\x00" + var(sub) + var_bytes(GOOD) for sub in (3, 4, 127, 128, 1000)},
    "unknown auth": b"\x02\x05\x00",
    "sync without payload": b"\x00\x02",
    "awareness without payload": b"\x01",
    "text": "hello",
    "empty text": "",
    "text that looks like a frame": query().decode(),
    "not an update": update(b"\xff\xff\xff"),
    "half an update": update(GOOD[: len(GOOD) // 2]),
    "update with a tail": update(GOOD + b"\x00"),
    "not a state vector": sync1(b"\x05\x01"),
    "not awareness": b"\x01" + var_bytes(b"\x02\x01"),
    "awareness that is not JSON": b"\x01" + var_bytes(b"\x01\x07\x01" + var_bytes(b"{nope")),
    "V2 update": update(bytes.fromhex("000002a50100000104060374657874050500")),
}
F02: dict[str, bytes | str] = {
    "length beyond the frame": b"\x00\x02" + var(len(GOOD) + 1) + GOOD,
    "length far beyond the frame": b"\x00\x02" + var(1 << 40) + GOOD,
    "length short of the frame": b"\x00\x02" + var(len(GOOD) - 1) + GOOD,
    "a byte behind an update": update(GOOD) + b"\x00",
    "a byte behind a query": query() + b"\x00",
    "two messages": update(GOOD) + update(GOOD),
    "a query and an update": query() + update(GOOD),
    "awareness and an update": awareness([(7, 1, {})]) + update(GOOD),
    "sync step 1 and an update": sync1(EMPTY_VECTOR) + update(GOOD),
}
F03: dict[str, bytes | str] = {
    "type 80 00": b"\x80\x00\x02" + var_bytes(GOOD),
    "type 81 00": b"\x81\x00" + var_bytes(b"\x00"),
    "subtype 81 00": b"\x00\x81\x00" + var_bytes(GOOD),
    "subtype 82 80 00": b"\x00\x82\x80\x00" + var_bytes(GOOD),
    "length": b"\x00\x02" + bytes([0x80 | len(GOOD), 0]) + GOOD,
    "length of eleven bytes": b"\x00\x02" + bytes([0x80 | len(GOOD)]) + b"\x80" * 9 + b"\x00" + GOOD,
    "number over 2**53": b"\x00\x00" + var_bytes(b"\x01" + var(1 << 60) + b"\x01"),
}


async def refused(server: Server, room: str, frame: bytes | str) -> tuple[int | None, str, str, float]:
    """Send one frame: close code, reason, the reason of the auth message before it, and seconds until that."""
    async with await Raw.open(server.url, room=room) as raw:
        content = frame.encode() if isinstance(frame, str) else frame
        sent = encode_frame(content, opcode=TEXT) if isinstance(frame, str) else encode_frame(content)
        await raw.send_bytes(sent)
        began = time.monotonic()
        told, seconds = "", float("nan")
        while (answer := await raw.recv()) is not None:
            message = parse(answer)
            if message.kind == "auth":
                told, seconds = message.reason, time.monotonic() - began
        assert raw.ended is not None
        return raw.ended.code, raw.ended.reason, told, seconds


def grown(before: Metrics, after: Metrics, name: str, **labels: str) -> float:
    """By how much a counter grew."""
    return after.get(name, **labels) - before.get(name, **labels)


@pytest.mark.case("F01", "F02", "F03")
@pytest.mark.parametrize("group", ["F01", "F02", "F03"])
async def test_malformed_frames(figure, group):
    """Each is answered with a reason and 4400, and counted; the log has one line for each reason, with how often it
    came. The room and everybody else go on."""
    cases = {"F01": F01, "F02": F02, "F03": F03}[group]
    reasons: Counter[str] = Counter()
    with Server(env=ENV) as server:
        async with Bystander(server.url) as bystander:
            for name, frame in cases.items():
                room = f"{group} {name}"
                async with await Peer.open(server.url, room) as resident:
                    await resident.write("resident")
                    before = server.metrics()
                    code, reason, told, _ = await refused(server, room, frame)
                    assert code == 4400, f"{name}: {code} {reason}"
                    assert reason and told == reason, f"{name}: no reason"
                    after = server.metrics()
                    kinds = [{"kind": "BadMessage"}, {"kind": "BadUpdate"}]
                    counted = sum(grown(before, after, "collab_errors_total", **kind) for kind in kinds)
                    assert counted == 1, f"{name}: counted {counted} times"
                    assert grown(before, after, "collab_refused_total", code="4400") == 1
                    await resident.write("!")
                    async with await Peer.open(server.url, room) as late:
                        await late.text_is("resident!")  # and nothing of what was sent with the bad frame
                    assert resident.ended is None
                reasons[reason] += 1
        server.terminate()
        assert (await server.exited()).code == 0
        lines = [line for line in server.json_logs() if line["event"] == "connection refused"]
    what = f"{len(cases)} kinds of frame, each 4400; {len(lines)} log lines for {len(reasons)} reasons"
    figure(f"{group}: {what}; {bystander}")
    assert bystander.errors == 0
    assert {line["reason"] for line in lines} == set(reasons)
    assert all(line["code"] == 4400 and line["level"] == "warning" and line["room"] for line in lines)
    for reason, times in reasons.items():
        said = [line.get("suppressed", 0) for line in lines if line["reason"] == reason]
        # A line says how many were left out since the one before; the last one of a flood only that.
        assert sum(said) <= times <= sum(said) + len(said), f"{reason}: came {times} times, the log says {said}"


@pytest.mark.alone
@pytest.mark.case("F04")
@pytest.mark.parametrize("size", [10_000, 100_000, 1_000_000])
@pytest.mark.parametrize("where", ["sync", "awareness"])
async def test_f04_a_number_that_does_not_end(server, figure, where, size):
    """Read byte by byte into a big integer it would take seconds; it is refused after ten bytes."""
    frame = (b"\x00\x02" if where == "sync" else b"\x01") + b"\x80" * size + b"\x01"
    spent = []
    for _ in range(20):
        began = time.perf_counter()
        with pytest.raises(BadMessage):
            yjs.decode(frame)
        spent.append(time.perf_counter() - began)
    async with Bystander(server.url, room=f"beside F04 {where} {size}", pause=0.002) as bystander:
        await asyncio.sleep(0.2)
        outcomes = [await refused(server, f"F04 {where} {size} {number}", frame) for number in range(20)]
    assert {outcome[0] for outcome in outcomes} == {4400}
    answered = [outcome[3] for outcome in outcomes]
    figure(
        f"F04 {where}, {size:,} bytes: refused in {spread(spent)}; sent to answered: {spread(answered)}; {bystander}"
    )
    assert percentile(spent, 0.5) < 0.001
    assert bystander.errors == 0


async def test_too_large_once(figure):
    """4413, said once; the rest of the message is swallowed, and the room does not notice."""
    with Server(env=ENV | {"COLLAB_LIMITS__MESSAGE_BYTES": "64KiB"}) as server:
        async with Bystander(server.url) as bystander, await Peer.open(server.url, "room") as resident:
            await resident.write("resident")
            outcomes = []
            for name, frame in {
                "just too large": update(b"x" * (64 << 10)),
                "a megabyte": update(b"x" * (1 << 20)),
                "text": b"x" * (65 << 10),
            }.items():
                async with await Raw.open(server.url, target=f"/room?{name.replace(' ', '-')}") as raw:
                    await raw.send(frame, opcode=TEXT if name == "text" else BINARY)
                    told = [m for m in await raw.silence(2) if m.kind == "auth"]
                    await raw.closed()
                    outcomes.append((name, raw.ended and raw.ended.code, len(told)))
            async with await Raw.open(server.url, room="fragments") as raw:
                for number in range(20):
                    await raw.send(b"\x00" * 8192, opcode=2 if not number else 0, fin=False)
                await raw.closed()
                outcomes.append(("endless fragments", raw.ended and raw.ended.code, 1))
            async with await Raw.open(server.url, room="just fits") as raw:
                await raw.send(b"\x01" + var_bytes(b"\x01\x07\x01" + var_bytes(b'"' + b"x" * (63 << 10) + b'"')))
                assert not [m for m in await raw.silence(0.3) if m.kind == "auth"] and raw.ended is None
            metrics = server.metrics()
            await resident.write("!")
            assert resident.ended is None
        lines = [line for line in server.json_logs() if line.get("error") == "TooLarge"]
    figure(f"too large: {outcomes}; {metrics.get('collab_errors_total', kind='TooLarge'):g} counted; {bystander}")
    assert [outcome[1:] for outcome in outcomes] == [(4413, 1)] * 4
    assert metrics.get("collab_errors_total", kind="TooLarge") == 4 and len(lines) <= 4
    assert bystander.errors == 0


async def test_editors_that_come_back_are_held(server, figure):
    """A client that knows no terminal code comes back at once: the second time it is told at once and closed later."""
    waits = []
    for _ in range(3):
        began = time.monotonic()
        async with await Raw.open(server.url, target="/%20") as raw:
            await raw.send(sync1(EMPTY_VECTOR))
            told = await raw.expect("auth")
            assert told.reason and time.monotonic() - began < 1
            ended = await raw.closed(20)
            waits.append(time.monotonic() - began)
            assert ended.code == 4400
    figure(f"refused again and again: closed after {', '.join(f'{one:.2f} s' for one in waits)}; told why at once")
    assert waits[0] < 1 and all(2.5 < one < 5 for one in waits[1:])


# -- F11


async def repair(peer: Peer, doc: Doc[Any]) -> None:
    """Wait until a peer has the same as `doc`."""
    await peer.until(lambda: peer.doc.get_state() == doc.get_state(), "the repair")


@pytest.mark.case("F11")
@pytest.mark.parametrize("kind", ["text", "map"])
async def test_f11_a_lost_update(told, full, figure, kind):
    """An update is lost on the way. What follows is not reported saved until the gap is filled, and it is asked for."""
    rounds = 100 if full else 15
    asked: list[float] = []
    repaired: list[float] = []
    async with told(env={"COLLAB_LOG__LEVEL": "error"}) as server, Bystander(server.url) as bystander:
        for turn in range(rounds):
            room = f"{kind} {turn}"
            names = [f"g{turn % 100:02d}-{1000 * (turn // 100) + number:06d}" for number in range(3)]
            doc: Doc = Doc()
            updates: list[bytes] = []
            keep = doc.observe(lambda event, updates=updates: updates.append(event.update))
            text, keys = doc.get("text", type=Text), doc.get("map", type=Map)
            for name in names:
                if kind == "text":
                    text += name
                else:
                    keys["key"] = name
            doc.unobserve(keep)
            async with await Peer.open(server.url, room) as other, await Raw.open(server.url, room=room) as raw:
                await other.until(other.synced.is_set, "sync step 2")
                await raw.expect("sync1")
                await raw.send(sync1(EMPTY_VECTOR))
                await raw.expect("sync2")
                await raw.send(update(updates[0]))
                await server.all_committed({names[0]})
                began = time.monotonic()
                await raw.send(update(updates[2]))
                question = await raw.expect("sync1")
                asked.append(time.monotonic() - began)
                await asyncio.sleep(0.05)
                assert names[2] not in server.reports.committed, "reported, with a gap before it"
                assert names[2] not in other.text() + json.dumps(other.doc.get("map", type=Map).to_py())
                began = time.monotonic()
                await raw.send(sync2(doc.get_update(question.content)))
                await repair(other, doc)
                repaired.append(time.monotonic() - began)
                await server.all_committed({names[2]})
    figure(
        f"F11 {kind}: {rounds} updates lost: 0 reported early; asked for: {spread(asked)}; answered to repaired: "
        f"{spread(repaired)}; {bystander}"
    )
    assert bystander.errors == 0


# -- F19


ACCEPTED = {
    "plain": b"/a",
    "upper case": b"/A",
    "slash": b"/a/b",
    "encoded slash": b"/x%2Fy",
    "two slashes": b"/a//b",
    "slash at the end": b"/a/",
    "dots": b"/%2e%2e%2fetc%2fpasswd",
    "dots and slashes": b"/..%2f..%2f..%2fdata",
    "encoded twice": b"/a%252Fb",
    "percent": b"/100%25",
    "plus": b"/a+b",
    "space": b"/a%20b",
    "space behind": b"/a%20",
    "glob": b"/:*%3F[]",
    "quote": b"/%27%3B%20DROP%20TABLE%20rooms%3B%20--",
    "NFC": b"/" + "".join(f"%{byte:02x}" for byte in unicodedata.normalize("NFC", "café").encode()).encode(),
    "NFD": b"/" + "".join(f"%{byte:02x}" for byte in unicodedata.normalize("NFD", "café").encode()).encode(),
    "U+FFFD": b"/%ef%bf%bd",
    "token behind": b"/with-query?token=secret-1234",
    "512 bytes": b"/" + b"n" * 512,
}
REFUSED = {
    "empty": b"/",
    "blank": b"/%20%20",
    "tab": b"/%09",
    "only a query": b"/?room=a",
    "NUL": b"/a%00",
    "NUL inside": b"/a%00b",
    "newline": b"/a%0a",
    "%ff": b"/%ff",
    "%fe": b"/%fe",
    "overlong slash": b"/%c0%af",
    "surrogate": b"/%ed%a0%80",
    "513 bytes": b"/" + b"n" * 513,
    "10 KB": b"/" + b"n" * 10_000,
    "513 bytes, encoded": b"/" + b"%6e" * 513,
}


@pytest.mark.case("F19")
async def test_f19_room_names(figure):
    """Distinct names are distinct rooms, what is no name is refused, and no name reaches a path or a log as a token."""
    with Server(env=ENV) as server:
        async with Bystander(server.url) as bystander:
            for name, target in ACCEPTED.items():
                async with await Peer.open(server.url, "", target=target.decode("latin-1")) as peer:
                    await peer.write(f"this is {name}")
            wrong = {}
            for name, target in ACCEPTED.items():
                async with await Peer.open(server.url, "", target=target.decode("latin-1")) as peer:
                    await peer.until(peer.synced.is_set, "sync step 2")
                    if peer.text() != f"this is {name}":
                        wrong[name] = peer.text()
            codes = {}
            for name, target in REFUSED.items():
                async with await Raw.open(server.url, target=target.decode("latin-1")) as raw:
                    await raw.send(sync1())  # where no path names a room, the first frame tells the protocol
                    told = await raw.expect("auth", "sync1")
                    ended = await raw.closed(10)
                    codes[name] = ended.code if told.kind == "auth" and ended.reason else None
        server.terminate()
        await server.exited()
        logs = server.logs()
        listed = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "collab", "rooms", "--json", "--store", server.store,
            cwd=REPO, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        listing, _ = await listed.communicate()
        files = sorted(path.name for path in server.folder.iterdir())
        with sqlite3.connect(server.folder / "rooms.sqlite3") as connection:
            names = [row[0] for row in connection.execute("SELECT name FROM rooms")]
        connection.close()
    collisions = len(ACCEPTED) + 1 - len(set(names))
    figure(
        f"F19: {len(ACCEPTED)} names accepted, collisions {collisions}; {len(REFUSED)} refused with "
        f"{set(codes.values())}; {bystander}"
    )
    assert not wrong and collisions == 0
    assert set(codes.values()) == {4400}, codes
    assert "../etc/passwd" in names and "a%2Fb" in names and "with-query" in names
    assert len(json.loads(listing)) == len(names)
    assert "secret-1234" not in logs
    known = {
        "rooms.sqlite3",
        "rooms.sqlite3-wal",
        "rooms.sqlite3.audit",
        "rooms.sqlite3.crashes",
        "stdout.log",
        "stderr.log",
    }
    assert set(files) <= known
    assert bystander.errors == 0
