"""D21, F05, F09, O04: the server dies for real, and is there again; what killed it twice is set aside."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import time
from functools import partial
from pathlib import Path

import psutil
import pytest

from collab.store import Entry
from collab.store.sqlite import SQLiteStore
from collab.supervisor import pause
from tests.faults.writers import spread
from tests.support.raw import Peer, Raw, sync1, sync2, update, var, var_bytes
from tests.support.server import Server
from tests.support.waiting import until

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

ENV = {"COLLAB_SERVER__SUPERVISOR": "yes", "COLLAB_LOG__FORMAT": "json", "COLLAB_SERVER__DRAIN_SECONDS": "0.5"}
CARELESS = Path(__file__).with_name("careless_server.py")

NESTED = b"\x75\x01" * 30_000 + b"\x7f"
"""An array in an array and so on: the second vector of those that end the process."""


def poison(*letters: bytes) -> bytes:
    """An update of client 7 that ends the process; the client wrote some `letters` after it."""
    structs = [b"\x08\x01\x01t\x01" + NESTED, *(typed(one) for one in letters)]
    return b"\x01" + var(len(structs)) + b"\x07\x00" + b"".join(structs) + b"\x00"


def typed(letters: bytes) -> bytes:
    """A struct: letters at the beginning of a text."""
    return b"\x04\x01\x06letter" + var_bytes(letters)


INNOCENT = b"\x01\x01\x09\x00" + typed(b"innocent") + b"\x00"
"""What client 9 typed in the same moment."""


def careless() -> Server:
    """A server that lets it in."""
    server = Server(env=ENV)
    server._command = [sys.executable, str(CARELESS), "serve", "--port", "{port}", "--store", server.store]
    return server


def child_of(server: Server) -> int:
    """The server's process; the supervisor has no other child."""
    [child] = psutil.Process(server.pid).children()
    return child.pid


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def back(server: Server, pid: int) -> float:
    """Wait until the server of process `pid` has been replaced and answers; seconds since the call."""
    began = time.monotonic()
    await until(lambda: gone(pid), "its end", 20)
    await until(server._answers, "the next one", 20)
    return time.monotonic() - began


async def first_edit(server: Server, room: str) -> tuple[Peer, Peer]:
    """Two editors, one of which has seen an edit of the other; tries until it works."""
    while True:
        try:
            one, other = await Peer.open(server.url, room), await Peer.open(server.url, room)
            await one.synced.wait()
            await one.write("x")
            await until(partial(_shows, other, "x"), "the edit")
            return one, other
        except OSError:
            await asyncio.sleep(0.01)


def _shows(peer: Peer, end: str) -> bool:
    return peer.text().endswith(end)


async def offer(server: Server, room: str, frame: bytes, *, stay: bool = True) -> int | None:
    """Come as a client that has `frame` to say, and is answered; the code with which it was closed."""
    async with await Raw.open(server.url, room=room) as raw:
        await raw.send(sync1())
        await raw.expect("sync2")
        await raw.send(frame)
        if not stay:
            await raw.send(sync1())
            await raw.expect("sync2")
            return None
        return (await raw.closed(20)).code


def quarantine(server: Server, *arguments: str) -> list[dict]:
    """`collab quarantine ... --json`, beside the running server."""
    found: list[dict] = json.loads(server.call("quarantine", *arguments, "--json"))
    return found


@pytest.mark.case("O04")
async def test_o04_a_dead_server_is_replaced(figure, full):
    """SIGSEGV, SIGKILL, SIGABRT: there again within 2 s, nothing that was committed is lost, and /metrics says so.

    Who dies again and again is started after a pause that grows.
    """
    rounds = 12 if full else 3
    seconds: list[float] = []
    with Server(env=ENV) as server:
        editor = await Peer.open(server.url, "room")
        await editor.synced.wait()
        written = ""
        for number in range(rounds):
            await editor.write("a")
            written += "a"
            async with await Peer.open(server.url, "room") as witness:
                await witness.text_is(editor.text())
            await until(lambda: server.metrics().get("collab_journal_lag_updates") == 0, "the commit")
            killer = (signal.SIGSEGV, signal.SIGKILL, signal.SIGABRT)[number % 3]
            pid = child_of(server)
            await editor.leave()
            os.kill(pid, killer)
            began = time.monotonic()
            await until(partial(gone, pid), "its end")
            one, other = await first_edit(server, "other room")
            seconds.append(time.monotonic() - began)
            await one.leave()
            await other.leave()
            async with await Peer.open(server.url, "room") as reader:
                await reader.text_is(written)
            assert server.metrics().get("collab_restarts") == number + 1
            assert server.metrics().get("collab_last_death_info", cause=killer.name) == 1
            await editor.reconnect()
            await editor.synced.wait()
        await editor.leave()
        server.terminate()
        ended = await server.exited()
    figure(f"O04: {rounds} deaths: first edit served again after {spread(seconds)}; 0 committed edits lost")
    assert ended.code == 0
    assert all(took < 4 + pause(deaths) for deaths, took in enumerate(seconds, 1))


async def test_no_orphan(figure):
    """The supervisor is killed with -9: the server drains and goes, and its port is free."""
    with Server(env=ENV) as server:
        pid = child_of(server)
        client = await Raw.open(server.url, room="room")
        server.kill()
        began = time.monotonic()
        assert (await client.closed(5)).code == 1012
        await until(lambda: gone(pid), "the end of the server")
        seconds = time.monotonic() - began
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as every server does
            probe.bind((server.host, server.port))
        client.fin()
        server.start()
        assert server.health()[0] == 200
    figure(f"supervisor killed: no orphan and the port free after {seconds:.2f} s")
    assert seconds < 2


async def test_what_would_happen_again_is_passed_on():
    """A port in use is 2, a store in use is 3: the supervisor ends with that, and starts nothing again."""
    with Server(env=ENV) as server:
        taken = Server(env=ENV, port=server.port)
        locked = Server(env=ENV, store=server.store)
        for other, code in ((taken, 2), (locked, 3)):
            other.start(wait=False)
            assert (await other.exited()).code == code
            assert "server died" not in other.logs()
            other.close()
        for _ in range(3):
            server.terminate()  # more than once is harmless
        assert (await server.exited()).code == 0


async def test_a_signal_to_the_whole_group_is_one_stop():
    """As Ctrl+C on a terminal sends it."""
    with Server(env=ENV) as server:
        pids = [server.pid, child_of(server)]
        for pid in pids:
            os.kill(pid, signal.SIGINT)
        assert (await server.exited()).code == 0
        assert "Traceback" not in server.logs()


@pytest.mark.case("F05", "F09")
async def test_f05_f09_an_update_that_kills_is_refused_the_third_time(figure):
    """Its room lives, what others wrote in the same moment is there, and who offers it again is answered."""
    with careless() as server:
        innocent = await Peer.open(server.url, "room")
        await innocent.synced.wait()
        await innocent.write("sound")
        bystander = await Peer.open(server.url, "elsewhere")
        await bystander.synced.wait()
        await bystander.write("here")
        await until(lambda: server.metrics().get("collab_journal_lag_updates") == 0, "the commit")
        deaths = 0
        # First as it is typed, together with somebody else's edit; then in the state of a client that has typed more.
        for frames in ([update(INNOCENT), update(poison())], [sync2(INNOCENT), sync2(poison(b"abc"))]):
            pid = child_of(server)
            async with await Raw.open(server.url, room="room") as raw:
                await raw.send_many(frames)
                await raw.gone(20)
            seconds = await back(server, pid)
            deaths += 1
            await innocent.reconnect()
            await innocent.synced.wait()
        pid = child_of(server)
        code = await offer(server, "room", sync2(poison(b"abc", b"def")))
        await offer(server, "room", sync2(INNOCENT), stay=False)
        await innocent.write(" and alive")
        async with await Peer.open(server.url, "room") as reader, await Peer.open(server.url, "elsewhere") as other:
            await reader.text_is("sound and alive")
            await reader.text_is("innocent", "letter")
            await other.text_is("here")
        assert child_of(server) == pid
        [entry] = quarantine(server, "list")
        assert entry["kind"] == "update" and entry["ranges"] == [[7, 0, 1]]
        assert bytes.fromhex(entry["update"]) == poison(b"abc")
        assert server.metrics().get("collab_quarantined", kind="update") == 1
        await innocent.leave()
        await bystander.leave()
    assert code == 4400
    figure(
        f"F05, F09: an update that kills: {deaths} deaths, then refused ({code}); back after {seconds:.2f} s; 0 lost"
    )


@pytest.mark.case("D21")
async def test_d21_a_row_that_kills_who_reads_it(figure):
    """Stored by an older version: after two deaths its room is refused, all others are served; it can be released."""
    with careless() as server:
        server.terminate()
        await server.exited()
        async with SQLiteStore(server.store.removeprefix("sqlite:///")) as store:
            await store.append([Entry("bad room", poison(), 0.0)])
        server.start()
        deaths, began = 0, time.monotonic()
        while True:
            pid = child_of(server)
            async with await Raw.open(server.url, room="bad room") as raw:
                ended = await raw.closed(20)
            if ended.code == 4423:
                break
            await back(server, pid)
            deaths += 1
            assert deaths <= 2, server.tail()
        seconds = time.monotonic() - began
        one, other = await first_edit(server, "good room")
        await one.leave()
        await other.leave()
        assert server.metrics().get("collab_quarantined", kind="room") == 1
        [entry] = quarantine(server, "show", "bad room")
        assert entry["kind"] == "room" and "read it from the store" in entry["why"] and "set aside" in ended.reason
        pid = child_of(server)
        assert quarantine(server, "release", "bad room") and not quarantine(server, "list")
        await asyncio.sleep(1.1)  # it looks once a second
        with pytest.raises(OSError):
            async with await Raw.open(server.url, room="bad room") as raw:
                await raw.gone(10)
                raise OSError
        assert await back(server, pid) < 5, "released: it is read again, and kills again"
    figure(f"D21: a row that kills its reader: {deaths} deaths, set aside after {seconds:.1f} s, others served")
    assert deaths == 2
