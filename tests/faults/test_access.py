"""Access, on a running server that checks tokens: who is let in, what readers may do, how access ends."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from typing import Any

import pytest
from pycrdt import Doc, Text

from collab.wire.hocuspocus import Hocuspocus
from collab.wire.lib0 import var_string
from collab.wire.messages import Denied, Granted, Message, Saved, SyncStep1, TokenWanted, Update
from collab.wire.messages import SyncStep2 as Step2
from tests.auth.conftest import key_pairs, sign
from tests.auth.test_tokens import forgeries
from tests.faults.tokens import SECRET, enter, token, typed
from tests.support.raw import Peer, Raw, awareness, parse, query, sync1, sync2, update, var, var_bytes
from tests.support.raw import hocuspocus as frames
from tests.support.raw.hocuspocus import Attached
from tests.support.server import Server

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]


def auth(name: str, shown: str) -> bytes:
    return var_string(name) + b"\x02\x00" + var_string(shown) + var_string("4.8.0")


@pytest.fixture(scope="module")
def server():
    env = {
        "JWT_SECRET": SECRET,
        "COLLAB_LIMITS__AUTH_SECONDS": "2",
        "COLLAB_AUTH__LEEWAY_SECONDS": "0",
        "COLLAB_LIMITS__HOLD_SECONDS": "1",
    }
    with Server(env=env) as running:
        yield running


async def test_without_a_token_nobody_is_let_in(server):
    for shown in (None, "rubbish", token({"other": "write"}), token({"notes": "write"}, seconds=-30)):
        target = "/notes" if shown is None else f"/notes?token={shown}"
        async with await Raw.open(server.url, target) as client:
            await client.send(sync1())
            await client.expect("auth")
            ended = await client.closed()
            assert ended.code in (4401, 4403), ended


@pytest.mark.parametrize("place", ["query", "header", "subprotocol"])
async def test_the_token_may_stand_in_several_places_and_is_never_logged(server, place):
    shown = token({"notes": "write"}, jti=place)
    target, headers = "/notes", []
    if place == "query":
        target = f"/notes?token={shown}"
    elif place == "header":
        headers = [("Authorization", f"Bearer {shown}")]
    else:
        wrapped = base64.urlsafe_b64encode(shown.encode()).decode().rstrip("=")
        headers = [("Sec-WebSocket-Protocol", f"collab, collab.token.{wrapped}")]
    async with await Raw.open(server.url, target, headers=headers) as client:
        await client.expect("sync1")
        assert client.headers.get("sec-websocket-protocol") == ("collab" if place == "subprotocol" else None)
    assert shown not in server.logs() and shown.split(".")[2] not in server.logs()


CHANGES = {
    "an update": update(typed()),
    "a step 2": sync2(typed()),
    "two updates in one frame": update(typed()) + update(typed("more", 8)),
    "an update behind a query": query() + update(typed()),
    "an update behind presence": awareness([(7, 1, {})]) + update(typed()),
    "an update behind step 1": sync1() + update(typed()),
    "a long type": b"\x80\x00\x02" + var_bytes(typed()),
    "a long subtype": b"\x00\x82\x80\x00" + var_bytes(typed()),
    "an unknown subtype": b"\x00\x03" + var_bytes(typed()),
    "an unknown type": b"\x04\x02" + var_bytes(typed()),
    "half an update": update(typed()[:-3]),
    "a deletion": update(b"\x00\x01\x05\x01\x00\x03"),
    "a length beyond": b"\x00\x02" + var(len(typed()) + 9) + typed(),
}


@pytest.mark.case("A05")
async def test_a_reader_changes_nothing(server, figure):
    """Over either protocol, whatever it makes of its frames; whoever only reads hears so."""
    reader, writer = token({"shared": "read"}), token({"shared": "write"})
    kept: Doc = Doc(client_id=5)
    kept["t"] = Text("kept")
    told = changed = tried = 0
    async with await Raw.open(server.url, f"/shared?token={writer}") as client:
        await client.send(update(kept.get_update()))
        await client.send(sync1())
        await client.expect("sync2")
    for frame in CHANGES.values():
        async with await Raw.open(server.url, f"/shared?token={reader}") as client:
            await client.send_many([sync1(), frame, sync1()])
            heard = [parse(one).kind async for one in said(client, 1.0)]
            told += "auth" in heard or client.ended is not None
            tried += 1
        if frame[0] in (0, 1, 3):
            async with await Attached.open(server.url, "shared", shown=reader) as other:
                await other.raw.send_many([var_string("shared") + frame, frames.step1("shared")])
                await other.quiet(0.2)
                told += bool(other.kinds("refused", "close")) or other.ended is not None
                tried += 1
        if await stored(server, "shared", writer) != kept.get_update():
            changed += 1
    figure(f"A05: {tried} ways for a reader to write, over both protocols: {changed} changes, {told} were told")
    assert changed == 0 and told == tried


async def said(client: Raw, seconds: float):
    """All frames until the client is closed, or nothing has come for so long."""
    while True:
        try:
            frame = await client.recv(seconds)
        except TimeoutError:
            return
        if frame is None:
            return
        yield frame


async def stored(server: Server, room: str, shown: str) -> bytes:
    """All that a newcomer gets of a room."""
    async with await Raw.open(server.url, f"/{room}?token={shown}") as client:
        await client.send(sync1())
        return (await client.expect("sync2")).content


async def test_hocuspocus_is_denied_in_band_and_may_try_again(server):
    speak = Hocuspocus("notes")
    async with await Raw.open(server.url, "/") as client:
        await client.send(auth("notes", "wrong"))
        assert await client.recv(5) == speak.encode(Denied("the token is not valid"))
        await client.send(auth("notes", token({"notes": "write"})))
        assert await client.recv(5) == speak.encode(Granted(True))


async def test_a_reader_over_hocuspocus_is_told_that_nothing_is_saved(server):
    speak = Hocuspocus("paper")
    doc: Doc = Doc()
    doc["t"] = Text("mine")
    frames: list[Message] = [SyncStep1(b"\x00"), Update(doc.get_update()), Step2(b"\x00\x00")]
    async with await Raw.open(server.url, "/hocuspocus") as client:
        await client.send(auth("paper", token({"paper": "read"})))
        assert await client.recv(5) == speak.encode(Granted(False))
        for message in frames:
            frame = speak.encode(message)
            assert frame is not None
            await client.send(frame)
        heard = [await client.recv(5) for _ in range(4)]
        assert heard[2:] == [speak.encode(Saved(False)), speak.encode(Saved(True))]


@pytest.mark.alone
@pytest.mark.case("A03")
async def test_access_ends_with_the_token(server, figure):
    """In that moment, whatever it is doing; Hocuspocus is asked for a new one first, and may stay with it."""
    ends = time.time() + 2.5
    doc: Doc = Doc()
    text = doc.get("t", type=Text)
    sent: list[float] = []
    async with await Raw.open(server.url, f"/brief?token={token({'brief': 'write'}, exp=ends)}") as client:
        await client.send(sync1())
        await client.expect("sync2")
        closed = asyncio.create_task(client.closed(8))
        while not closed.done():
            before = doc.get_state()
            text += "x"
            sent.append(time.time())
            try:
                await client.send(update(doc.get_update(before)))
            except OSError:
                break
            await asyncio.sleep(0.01)
        ended, late = await closed, time.time() - ends
    assert ended.code == 4401 and "expired" in ended.reason
    known: Doc = Doc()
    known.apply_update(await stored(server, "brief", token({"brief": "read"})))
    applied = sent[: len(str(known.get("t", type=Text)))]
    after = [at for at in applied if at > ends + 0.05]  # a moment for the way to the server
    figure(
        f"A03: closed {ended.code} {1000 * late:.0f} ms after the token's end; of {len(sent)} edits in a burst "
        f"across it {len(applied)} were applied, {len(after)} of them sent after it"
    )
    assert late < 0.5 and not after
    speak, began = Hocuspocus("brief"), time.monotonic()
    async with await Raw.open(server.url, "/") as client:
        await client.send(auth("brief", token({"brief": "write"}, seconds=4)))
        assert await client.recv(5) == speak.encode(Granted(True))
        asked = await client.recv(5)
        while asked != speak.encode(TokenWanted()):
            asked = await client.recv(5)
        await client.send(auth("brief", token({"brief": "write"}, seconds=60)))
        while await client.recv(5) != speak.encode(Granted(True)):
            pass
        assert time.monotonic() - began < 4
    figure("A03: a Hocuspocus client is asked for a new token ahead of time, and with it the session goes on")


@pytest.mark.case("S13")
async def test_nobody_stays_without_access(server, figure):
    """S13: the deadline counts from the handshake; what is sent meanwhile makes it no longer."""
    began = time.monotonic()
    async with await Raw.open(server.url, "/hocuspocus") as client:
        ended = await client.closed(8)
        figure(
            f"S13: a client that says nothing was closed {ended.code} after {time.monotonic() - began:.1f} s (limit 2)"
        )
        assert ended.code in (4408, 4401)


@pytest.mark.case("A01", "A02")
async def test_forged_and_ill_timed_tokens(tmp_path, figure):
    """A01: with a secret and a public key, and each forgery of either. A02: times, issuers, audiences."""
    pairs = key_pairs()
    (tmp_path / "key.pem").write_bytes(pairs["RSA"].pem)
    env = {
        "JWT_SECRET": SECRET,
        "COLLAB_AUTH__JWT_PUBLIC_KEY_FILE": str(tmp_path / "key.pem"),
        "JWT_ISSUER": "us",
        "COLLAB_AUTH__JWT_AUDIENCE": "here, there",
        "COLLAB_LIMITS__HOLD_SECONDS": "0.1",
    }
    rest: dict[str, Any] = {"rooms": {"r": "write"}, "iss": "us", "aud": "here"}
    with Server(env=env) as server:
        good = token(**rest)
        assert (await enter(server, f"/r?token={good}")).inside
        accepted = []
        forged = forgeries(pairs, {"sub": "ana", "exp": time.time() + 600, **rest}, SECRET)
        sendable = {
            name: one for name, one in forged.items() if one.isascii() and one.isprintable() and len(one) < 8_000
        }
        for name, one in sendable.items():
            async with await Attached.open(server.url, "r", shown=one) as client:
                await client.until(lambda: client.kinds("denied", "granted") or client.ended)
                if client.kinds("granted"):
                    accepted.append(name)
        figure(
            f"A01: {len(sendable)} forged tokens on a server with a secret and a public key: accepted {len(accepted)}"
        )
        assert accepted == [], accepted
        now = time.time()
        results = {}
        for name, claims, inside in TIMES:
            said_so = {"sub": "ana", "iat": int(now), "exp": now + 60, **rest}
            said_so |= {key: value(now) if callable(value) else value for key, value in claims.items()}
            kept = {key: value for key, value in said_so.items() if value is not None}
            shown = sign(kept, SECRET, "HS256")
            results[name] = (await enter(server, f"/r?token={shown}")).inside, inside
    wrong = [name for name, (got, wanted) in results.items() if got is not wanted]
    figure(f"A02: {len(results)} tokens with other times, issuers and audiences: {len(wrong)} not as documented")
    assert wrong == []


TIMES: list[tuple[str, dict[str, Any], bool]] = [
    ("as it should be", {}, True),
    ("expired within the leeway", {"exp": lambda now: now - 20}, True),
    ("expired", {"exp": lambda now: now - 60}, False),
    ("without an end", {"exp": None}, False),
    ("an end that is text", {"exp": lambda now: str(now + 60)}, False),
    ("not yet, within the leeway", {"nbf": lambda now: now + 20}, True),
    ("not yet", {"nbf": lambda now: now + 60}, False),
    ("made in the future", {"iat": lambda now: now + 3600}, False),
    ("made in the near future", {"iat": lambda now: now + 20}, True),
    ("another issuer", {"iss": "them"}, False),
    ("the issuer and more", {"iss": "us2"}, False),
    ("a part of the issuer", {"iss": "u"}, False),
    ("issuers as a list", {"iss": ["us"]}, False),
    ("no issuer", {"iss": None}, False),
    ("another audience", {"aud": "elsewhere"}, False),
    ("a part of the audience", {"aud": "her"}, False),
    ("both audiences in one text", {"aud": "here, there"}, False),
    ("one audience of a list", {"aud": ["elsewhere", "there"]}, True),
    ("no audience", {"aud": None}, False),
]


@pytest.mark.case("A04")
async def test_revoked_in_the_middle_of_a_session(figure):
    """By subject and by token, beside the running server; over a restart, too. Nothing typed after the cut counts."""
    with Server(env={"JWT_SECRET": SECRET, "COLLAB_LIMITS__HOLD_SECONDS": "0.1"}) as server:
        seconds, tried, after = [], 0, 0
        for option, shown in {
            "--sub=ana": token({"*": "write"}, jti="t1"),
            "--jti=t2": token({"*": "write"}, sub="ben", jti="t2"),
        }.items():
            other = token({"*": "write"}, sub="eve", jti="t3")
            room = f"room-{option[2:5]}"
            peer = await Peer.open(server.url, "", target=f"/{room}?token={shown}")
            witness = await Peer.open(server.url, "", target=f"/{room}?token={other}")
            await peer.synced.wait()
            typing = asyncio.create_task(type_on(peer))
            await asyncio.sleep(0.3)
            assert "revoked" in await asyncio.to_thread(server.call, "revoke", option)
            began = time.monotonic()
            ended = await peer.closed(5)
            seconds.append(time.monotonic() - began)
            assert ended.code == 4401 and "not valid any more" in ended.reason
            await asyncio.sleep(0.1)
            seen = witness.text()
            typed_since = await typing
            await asyncio.sleep(0.3)
            after += len(witness.text()) - len(seen)
            tried += typed_since
            assert seen and witness.ended is None
            assert (await enter(server, f"/{room}?token={shown}")).code == 4401
            assert (await enter(server, f"/{room}?token={other}")).inside
            await peer.leave()
            await witness.leave()
        server.restart(hard=True)
        again = [await enter(server, f"/r?token={token({'*': 'write'}, sub='ben', jti='t2')}")]
        again.append(await enter(server, f"/r?token={token({'*': 'write'}, iat=int(time.time()) - 30)}"))
        fresh = await enter(server, f"/r?token={token({'*': 'write'}, iat=int(time.time()) + 1)}")
    figure(
        f"A04: revoked by subject and by token: closed 4401 {' and '.join(f'{one:.2f} s' for one in seconds)} after "
        f"the command returned; {after} of {tried} edits after the cut applied; after kill -9 still "
        "refused, a new token is not"
    )
    assert max(seconds) < 3 and after == 0
    assert [one.code for one in again] == [4401, 4401] and fresh.inside


async def type_on(peer: Peer) -> int:
    """Type until the connection is gone, and some times more; how often after that."""
    since = 0
    while since < 10:
        try:
            await peer.write("x")
        except OSError:
            return since
        since += peer.ended is not None
        await asyncio.sleep(0.02)
    return since


@pytest.mark.case("A04")
async def test_less_than_before(server, figure):
    """A new token takes the right to write: Hocuspocus goes on reading, is told of each edit, and none is applied."""
    async with await Attached.open(server.url, "less", shown=token({"less": "write"})) as client:
        await client.saved()
        await client.write("before")
        await client.until(lambda: client.kinds("saved") == 2)
        began = time.monotonic()
        await client.attach(token({"less": "read"}))
        await client.until(lambda: client.kinds("granted") == 2)
        seconds = time.monotonic() - began
        for number in range(20):
            await client.write(f"after {number}")
        await client.until(lambda: client.kinds("refused") == 20)
        await client.attach(token({"less": "none"}))
        await client.until(lambda: client.kinds("close", "denied"))
    kept: Doc = Doc()
    kept.apply_update(await stored(server, "less", token({"less": "read"})))
    keys = next(iter(kept.keys()))
    figure(f"A04: write to read to none by new tokens: told after {1000 * seconds:.0f} ms, 20 edits refused, 0 applied")
    assert b"after" not in kept.get_update() and b"before" in kept.get_update() and keys


OTHERS = """a b a%252Fb a//b a/b/ /a/b a/./b A/b a:b a\\b a/b%00 team-a team-b/x team-a/x/y team-a:x team-a%2525/x
team-a/../a t:c/d t/c t/c%3Ad/e * team-a/%2a%2a/x team-a/%20/x team-a%00/x""".split()


@pytest.mark.case("A06")
async def test_a_token_for_one_room_opens_no_other(server, figure):
    """Crafted separators, other spellings, the other protocol, HTTP."""
    shown = token({"a/b": "write", "team-a/*": "write", "t/c:d": "write"})
    for name in ("a/b", "a%2Fb", "team-a/x", "t/c:d"):
        assert (await enter(server, f"/{name}?token={shown}")).inside, name
    outcomes = {name: await enter(server, f"/{name}?token={shown}") for name in OTHERS}
    leaks = [name for name, outcome in outcomes.items() if outcome.inside]
    names = [*(name for name in OTHERS if "%" not in name), "a/b\0x", "a%2Fb", "a/b ", "ａ/b"]
    for name in names:
        async with await Raw.open(server.url, "/") as raw:
            first = frames.token("a/b", shown), frames.step1("a/b")
            await raw.send_many([*first, frames.token(name, shown), frames.step1(name), frames.change(name, typed())])
            heard = [frames.heard(one) async for one in said(raw, 0.3)]
            assert [one for one in heard if (one.address, one.kind) == ("a/b", "step2")]
            opened = {one.address for one in heard if one.kind in ("granted", "step1", "step2", "saved")} - {"a/b"}
            leaks += [] if opened <= {"a/b\0x"} else [f"hocuspocus {name!r}"]  # a session of the room that is theirs
    pages = {path: server.get(f"/{path}?token={shown}")[0] for path in ("a/b", "rooms", "api/rooms", "a/b.json")}
    codes = {outcome.code for outcome in outcomes.values()}
    figure(
        f"A06: a token for three rooms on {len(OTHERS)} other names by y-websocket, closed {sorted(map(str, codes))}, "
        f"{len(names)} by Hocuspocus and {len(pages)} HTTP paths: leaks {len(leaks)}"
    )
    assert leaks == [] and codes <= {4400, 4403} and set(pages.values()) <= {401, 404}


@pytest.mark.case("A11")
async def test_tokens_are_never_told(figure, full):
    """Good, expired, forged and cut ones, wherever they may stand; with every line that the log can have."""
    env = {
        "JWT_SECRET": SECRET,
        "COLLAB_LOG__LEVEL": "debug",
        "COLLAB_AUTH__COOKIE": "session",
        "COLLAB_LIMITS__HOLD_SECONDS": "0.1",
    }
    marks, shown = [], 0
    with Server(env=env) as server:
        for number, (seconds, damage) in enumerate([(60, ""), (-600, ""), (60, "x"), (60, ".more")]):
            made = token({"notes": "write"}, seconds, jti=f"a-mark-in-token-{number}") + damage
            marks += [made, made.split(".")[1], made.split(".")[2]]
            wrapped = base64.urlsafe_b64encode(made.encode()).decode().rstrip("=")
            marks.append(wrapped)
            for target, headers in (
                (f"/notes?token={made}", []),
                (f"/notes?a=b&token={made}&token={made}", []),
                (f"/notes%ff?token={made}", []),
                (f"/?token={made}", []),
                ("/notes", [("Authorization", f"Bearer {made}")]),
                ("/notes", [("Authorization", f"Basic {made}")]),
                ("/notes", [("Sec-WebSocket-Protocol", f"collab, collab.token.{wrapped}")]),
                ("/notes", [("Cookie", f"session={made}"), ("Origin", server.http_url)]),
                ("/notes", [("Cookie", f"session={made}"), ("Origin", "https://evil.example")]),
            ):
                await enter(server, target, headers)
                shown += 1
            async with await Attached.open(server.url, "notes", shown=made) as client:
                await client.quiet(0.1)
            async with await Raw.open(server.url, "/") as raw:
                await raw.send(frames.token("notes", made) + b"tail")
                await raw.silence(0.2)
            for path in (f"/metrics?token={made}", f"/{made}", f"/health?token={made}", f"/demo?token={made}"):
                server.get(path)
            shown += 6
        text, logs = server.get("/metrics")[1], server.logs()
        shown_settings = json.dumps(server.health()[1])
        names = [path.name for path in server.folder.iterdir()]
    # what was asked for as a path by mistake is a path: not even that is kept
    hits = [mark for mark in marks for place in (text, logs, shown_settings, *names) if mark in place]
    figure(
        f"A11: {shown} tokens in 8 places, right, expired, forged and cut: {len(hits)} found in {len(logs):,} bytes of "
        "log and in /metrics"
    )
    assert hits == [] and len(logs) > 2_000
    assert SECRET not in logs
