"""docs/reference/protocol.md says what the server does: its sessions are played, its numbers compared."""

from __future__ import annotations

import asyncio
import re

import pytest
import websockets

from collab.errors import BadMessage, CollabError
from collab.limits import Refusals
from collab.settings import every_setting
from collab.wire import lib0, vet, yjs
from docs import generate
from tests.docs.blocks import DOCS, blocks, table
from tests.support.server import Server

PAGE = DOCS / "reference" / "protocol.md"
TEXT = PAGE.read_text("utf-8")

LINE = re.compile(r"(?:(?P<who>\d)  )?(?P<way>C>S|S>C)  (?P<frame>[0-9a-f]+(?: [0-9a-f]+)*)(?:  +(?P<says>.*))?")


def session(first_line: str) -> list[re.Match[str] | str]:
    """The lines of the session that begins so: frames, or what else happens."""
    (found,) = [body for body in blocks(PAGE, "") if body.startswith(first_line)]
    return [LINE.fullmatch(line) or line for line in found.splitlines()]


def frame_of(line: re.Match[str]) -> bytes:
    return bytes.fromhex(line["frame"])


def test_primitives():
    for row in table(PAGE, "bytes"):
        kind, _, value = row.get("value", "").partition(" ")
        written = row["bytes"].strip("`")
        if kind == "varUint":
            assert lib0.var_uint(int(value)).hex() == written
        elif kind == "varString":
            assert lib0.var_string(value.strip('`"')).hex() == written
    assert "varUint 16384" in TEXT


@pytest.mark.parametrize("written", ["8000", "80", "ffffffffffffffffffff01", "8080808080808010"])
def test_strict_reading(written):
    with pytest.raises(BadMessage):
        lib0.read_var_uint(bytes.fromhex(written), 0)


def test_frames_of_the_session_are_what_the_page_calls_them():
    for line in session("1  S>C"):
        if isinstance(line, str):
            continue
        message = yjs.decode(frame_of(line))
        assert yjs.encode(message) == frame_of(line)
        words = re.split(r"[:;]|, | that| behind", line["says"])[0].strip()
        named = type(message).__name__.lower()
        assert named == words.replace(" ", ""), line[0]


@pytest.mark.anyio
async def test_the_session_as_it_is_played():
    with Server(store="memory:") as server:
        sockets: dict[str, websockets.ClientConnection] = {}
        for line in session("1  S>C"):
            if isinstance(line, str):
                who = line.split()[0]
                assert line == f"{who}  closes its socket"
                await sockets[who].close()
                continue
            if line["who"] not in sockets:
                sockets[line["who"]] = await websockets.connect(f"{server.url}/session")
            socket = sockets[line["who"]]
            if line["way"] == "C>S":
                await socket.send(frame_of(line))
            else:
                async with asyncio.timeout(5):
                    frame = await socket.recv()
                assert isinstance(frame, bytes) and frame.hex() == frame_of(line).hex(), line[0]
        await sockets["2"].close()


def test_the_session_of_hocuspocus_keeps_to_its_grammar():
    """There is no code for it yet; at least the page agrees with itself."""
    for line in session("C>S  0164"):
        assert isinstance(line, re.Match)
        frame = frame_of(line)
        address, at = lib0.read_var_string(frame, 0)
        assert address == "d"
        kind, at = lib0.read_var_uint(frame, at)
        match kind:
            case 0:
                step, at = lib0.read_var_uint(frame, at)
                body, at = lib0.read_var_bytes(frame, at)
                if step == 0:
                    vet.parse_state_vector(body)
                else:
                    vet.parse(body)
            case 1:
                _, at = lib0.read_var_bytes(frame, at)
            case 2:
                sub, at = lib0.read_var_uint(frame, at)
                _, at = lib0.read_var_string(frame, at)
                if sub == 0:
                    _, at = lib0.read_var_string(frame, at)
            case 5:
                _, at = lib0.read_var_string(frame, at)
            case 7:
                if line["way"] == "S>C":
                    _, at = lib0.read_var_string(frame, at)
            case 8:
                _, at = lib0.read_var_uint(frame, at)
            case _:
                pytest.fail(line[0])
        lib0.expect_end(frame, at)


def plain(text: str) -> str:
    return re.sub(r"[ ,]", "", text)


def test_limits_and_times_are_those_of_the_settings():
    known = {f"`{setting.variable}`": setting for setting in every_setting()}
    rows = table(PAGE, "setting")
    assert len(rows) > 10
    for row in rows:
        names = re.findall(r"`COLLAB_\w+`", row["setting"])
        if "default" in row:
            shown = [known[name].show(known[name].info.default) for name in names]
            assert plain(row["default"]) == ",".join(shown).replace(",", ""), row
        elif names:
            assert row["after"].startswith(f"{known[names[0]].info.default:g} s "), row


@pytest.mark.parametrize("name", ["`COLLAB_LIMITS__HOLD_SECONDS`", "`COLLAB_ROOMS__PRESENCE_SECONDS`"])
def test_defaults_in_sentences(name):
    (setting,) = [one for one in every_setting() if f"`{one.variable}`" == name]
    assert re.search(rf"{name}\s\({setting.info.default:g}\b", TEXT)


def test_every_close_code_is_on_the_page():
    for code in {error.close_code for _, error in generate.tree(CollabError)}:
        assert str(code) in TEXT


def test_who_comes_back_is_told_from_who_is_new():
    refusals = Refusals(60.0)
    assert not refusals.again(("here", b"/room"), 0.0)
    assert refusals.again(("here", b"/room"), 1.0)
    assert not refusals.again(("here", b"/other"), 1.0)
    assert not refusals.again(("there", b"/room"), 1.0)
    assert not refusals.again(("here", b"/room"), 62.0)
