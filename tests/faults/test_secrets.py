"""Tokens, cookies, secrets and what people type, with every line that the log can have: none of it is in any.

A server at level `debug` in each mode of access is shown them at every place where one may stand, by editors of both
protocols, by admins and by commands. Then everything that it and the commands wrote is looked through.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from urllib.parse import quote

import httpx
import jwt
import pytest
from pycrdt import Text

from tests.auth.conftest import http, served
from tests.faults.tokens import enter
from tests.support.raw import TEXT, Peer, Raw, awareness, sync1, update, var_bytes, var_string
from tests.support.raw import hocuspocus as frames
from tests.support.raw.hocuspocus import Attached
from tests.support.server import FOREIGN, REPO, Server

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

Spell = Callable[[str], Iterable[str]]


def in_base64(text: str) -> Iterator[str]:
    """As it looks within longer text that was encoded, at each of three places, without what hangs on neighbours."""
    for shift in range(3):
        coded = base64.b64encode(b"\0" * shift + text.encode()).decode()
        whole = coded[4 if shift else 0 : len(coded) // 4 * 4 - 4]
        yield from (whole, whole.replace("+", "-").replace("/", "_"))


SPELLINGS: dict[str, Spell] = {
    "plain": lambda text: [text],
    "percent": lambda text: [quote(text, safe="")],
    "JSON": lambda text: [json.dumps(text)[1:-1]],
    "hex": lambda text: [text.encode().hex()],
    "bytes": lambda text: [repr(text.encode())[2:-1]],
    "backwards": lambda text: [text[::-1]],
    "base64": in_base64,
}
"""The ways in which something may get into a line."""


@dataclass
class Eye:
    """Looks for what must not be seen.

    Attributes:
        hidden: What that is: how it is called, and what it is.
        texts: Which of these are no secrets but what people type: a command may show it to whoever may see it.
        lines: How many lines were looked at.
        found: Each line that held something: what, how it was spelled, and the line.
    """

    hidden: dict[str, str] = field(default_factory=dict)
    texts: set[str] = field(default_factory=set)
    lines: int = 0
    found: list[tuple[str, str, str]] = field(default_factory=list)

    def secret(self, name: str, value: str | None = None) -> str:
        """A new one, or `value`, to be looked for from now on."""
        assert name not in self.hidden, f"{name} would not be looked for any more"
        self.hidden[name] = value or f"{name.replace(' ', '-')}-{secrets.token_urlsafe(27)}"
        return self.hidden[name]

    def text(self, name: str) -> str:
        """What somebody types, or calls something."""
        self.texts.add(name)
        return self.secret(name)

    def token(self, name: str, made: str) -> str:
        """A signed token: none of its parts that are its own may be seen, either."""
        for number, part in enumerate(made.split(".")[1:], 1):
            if len(part) > 8:
                self.hidden[f"part {number} of {name}"] = part
        return self.secret(name, made)

    def look(self, text: str, *, shown: bool = False) -> list[tuple[str, str, str]]:
        """What `text` holds, line by line; `shown`: to somebody who may see texts."""
        sought = {name: value for name, value in self.hidden.items() if not (shown and name in self.texts)}
        forms = ((form, (name, how)) for name in sought for how in SPELLINGS for form in SPELLINGS[how](sought[name]))
        spelled = dict(reversed(list(forms)))  # the first one that fits gives its name
        assert all(len(form) > 7 for form in spelled), "what is so short is found by chance"
        found = []
        for line in text.splitlines():
            self.lines += 1
            found += [(*what, line) for form, what in spelled.items() if form in line]
        self.found += found
        return found


# ---------------------------------------------------------------------- what is looked with


def test_the_eye_finds_each_secret_in_each_spelling():
    """Else nothing below could fail."""
    eye = Eye()
    eye.secret("a", "sécret/with+all=kinds of letters")
    eye.token("b", jwt.encode({"sub": "ana"}, "x" * 32, "HS256"))
    assert eye.look("nothing\nof the kind\n") == [] and eye.lines == 2
    for name, value in list(eye.hidden.items()):
        for how, spell in SPELLINGS.items():
            for form in spell(value):
                line = f"a room called x{form}y"
                assert name in {hit[0] for hit in eye.look(line)} and eye.found[-1][2] == line, (name, how)
    assert ("a", "JSON") in {hit[:2] for hit in eye.look(json.dumps({"room": eye.hidden["a"]}))}
    for shift in range(5):  # wherever it stands in what was encoded
        coded = base64.b64encode(b"p" * shift + eye.hidden["a"].encode() + b"more").decode()
        assert ("a", "base64", coded) in eye.look(coded)


async def test_the_eye_finds_what_a_real_server_does_log():
    """Names of rooms are in the log: one that were a secret is seen there."""
    eye = Eye()
    with Server(env={"COLLAB_LOG__LEVEL": "debug"}) as server:
        assert (await enter(server, f"/{eye.secret('name')}")).inside
        lines = eye.look(server.logs())
    assert lines and {name for name, _, _ in lines} == {"name"} and "client joined" in lines[0][2]


# ---------------------------------------------------------------------- a server in each mode


@dataclass
class Scene:
    """One server, who may come in, and all that was shown.

    Attributes:
        mode: The mode of access.
        env: Its settings.
        good: What lets an editor in; None where nobody needs anything.
    """

    mode: str
    eye: Eye
    env: dict[str, str | None]
    good: str | None
    admin: str
    beside: list[str] = field(default_factory=list)
    """What commands wrote."""

    @cached_property
    def shown(self) -> dict[str, str]:
        """What is shown as a token: the right one, and others."""
        secret = str(self.env.get("JWT_SECRET") or "y" * 32)
        now = int(time.time())
        claims = {"sub": "ana", "iat": now, "exp": now + 600, "rooms": {"**": "admin"}}
        made = {
            "expired": jwt.encode(claims | {"exp": now - 600, "jti": "expired"}, secret, "HS256"),
            "of another secret": jwt.encode(claims, "z" * 40, "HS256"),
            "for nothing": jwt.encode(claims | {"rooms": {}, "jti": "nothing"}, secret, "HS256"),
            "no token": self.eye.secret("no token"),
        }
        tokens = {name: self.eye.token(f"token {name}", text) for name, text in made.items()}
        tokens["cut"] = self.eye.secret("token cut", made["expired"][:-9])
        return tokens | ({"good": self.good} if self.good else {})


@asynccontextmanager
async def scene(mode: str, form: str, folder: Path) -> AsyncIterator[Scene]:
    """The settings of a mode, and who answers the questions that a server asks in it."""
    eye = Eye()
    admin = eye.secret("admin token")
    env: dict[str, str | None] = {
        "COLLAB_LOG__LEVEL": "debug",
        "COLLAB_LOG__FORMAT": form,
        "COLLAB_ADMIN__TOKEN": admin,
        "COLLAB_SERVER__METRICS_TOKEN": eye.secret("metrics token"),
        "COLLAB_AUTH__COOKIE": "session",
        "COLLAB_LIMITS__HOLD_SECONDS": "0.1",
        "COLLAB_LIMITS__MESSAGE_BYTES": "64KiB",
        "COLLAB_STORE__CHECKPOINT_ROWS": "3",
    }
    good: str | None = None

    async def answer(headers: dict[str, str], body: bytes) -> bytes:
        """An application: it knows one token, and answers about others in ways that it should not."""
        token = json.loads(body or b"{}").get("token")
        if token == good:
            return http(200, {"level": "admin", "subject": "ana"})
        wrong = [
            http(401, {"no": token}),
            http(200, {"level": token}),
            http(200, f"no JSON but {token}".encode()),
            http(500, {"error": token}),
            f"HTTP/1.1 {token}\r\n\r\n".encode(),
            http(302, b"", location=f"https://other.example/?token={token}"),
        ]
        return wrong[len(endpoint.asked) % len(wrong)]

    async with served(answer) as endpoint:
        if mode == "jwt":
            env["JWT_SECRET"] = eye.secret("key for tokens")
            claims = {"sub": "ana", "iat": int(time.time()), "exp": time.time() + 600, "rooms": {"**": "admin"}}
            good = eye.token("the good token", jwt.encode(claims, str(env["JWT_SECRET"]), "HS256"))
        elif mode == "webhook":
            good = eye.secret("the good token")
            env |= {
                "COLLAB_AUTH__MODE": "webhook",
                "COLLAB_AUTH__WEBHOOK_URL": endpoint.url,
                "COLLAB_AUTH__WEBHOOK_SECRET": eye.secret("key for questions"),
                "COLLAB_AUTH__WEBHOOK_FAILURES": "1000",
            }
        elif mode == "jwks":
            env |= {"COLLAB_AUTH__MODE": "jwt", "COLLAB_AUTH__JWKS_URL": endpoint.url}
        yield Scene(mode, eye, env, good, admin)


async def editors(server: Server, at: Scene) -> None:
    """Both protocols, each token at each place."""
    for token in at.shown.values():
        wrapped = base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")
        for target, headers in (
            (f"/notes?token={token}", []),
            (f"/notes?a=b&token={token}&token={token}", []),
            (f"/notes%ff?token={token}", []),
            (f"/?token={token}", []),
            ("/notes", [("Authorization", f"Bearer {token}")]),
            ("/notes", [("Authorization", f"Basic {token}")]),
            ("/notes", [("Sec-WebSocket-Protocol", f"collab, collab.token.{wrapped}")]),
            ("/notes", [("Cookie", f"session={token}; other={token}"), ("Origin", server.http_url)]),
            ("/notes", [("Cookie", f"session={token}"), ("Origin", "https://evil.example")]),
        ):
            await enter(server, target, headers)
        async with await Attached.open(server.url, "notes", shown=token) as client:
            await client.quiet(0.05)
        async with await Raw.open(server.url, "/") as raw:
            await raw.send(frames.token("notes", token) + b"tail")
            await raw.silence(0.05)
    cookie = at.eye.secret("cookie of another")
    server.get("/health")
    await asyncio.to_thread(httpx.get, f"{server.http_url}/demo", cookies={"session": cookie, "other": cookie})


async def typing(server: Server, at: Scene) -> None:
    """What people type and show, and what is no frame at all."""
    eye, suffix = at.eye, f"?token={at.good}" if at.good else ""
    text, key, value = eye.text("text"), eye.text("key of a map"), eye.text("value of a map")
    state, said = eye.text("state of presence"), eye.text("stateless message")
    async with await Peer.open(server.url, "", target=f"/notes{suffix}") as peer:
        await asyncio.wait_for(peer.synced.wait(), 10)
        await peer.write(text)
        await peer.put(key, value)
        for number in range(12):  # so that the room is compacted meanwhile
            await peer.write(f"{number} {text}")
            await asyncio.sleep(0.02)
        await peer.show(7, 1, {"user": {"name": state, "color": state}, state: 1})
        async with await Attached.open(server.url, "notes", shown=at.good or "") as client:
            await client.saved()
            await client.write(key, value)
            await client.raw.send(frames.presence("notes", [(9, 1, {"user": {"name": state}})]))
            await client.raw.send(frames.stateless("notes", said))
            await client.saved()
            assert text in str(client.doc.get("text", type=Text)) and client.map[key] == value
    marked = eye.text("what is no frame").encode()
    bad = (
        update(marked),
        update(b"\x01\x01" + marked),
        b"\x00\x09" + var_bytes(marked),
        b"\x63" + marked,
        b"\x01" + var_bytes(b"\x01\x07\x01" + var_string(marked.decode() + "{")),
        awareness([(7, 1, {"x": marked.decode()})]) + marked,
        b"\x00\x02\xff\xff\xff\xff\xff\xff\xff\xff\xff" + marked,
        marked * 3_000,
    )
    for frame in bad:
        async with await Raw.open(server.url, f"/notes{suffix}") as raw:
            with suppress(OSError):
                await raw.send_many([sync1(), frame])
                await raw.silence(0.05)
        async with await Raw.open(server.url, "/") as raw:
            with suppress(OSError):
                await raw.send_many(
                    [frames.token("notes", at.good or ""), frames.step1("notes"), var_string("notes") + frame]
                )
                await raw.silence(0.05)
    async with await Raw.open(server.url, f"/notes{suffix}") as raw:
        await raw.send(marked, opcode=TEXT)
        await raw.silence(0.05)
    async with await Raw.open(server.url, f"/notes{suffix}") as raw:
        await raw.close(4000, marked.decode())
        await raw.silence(0.05)


async def admins(server: Server, at: Scene) -> None:
    """The API with the right token and wrong ones at each place, and with bodies that are good and bad."""
    eye = at.eye
    wrong = eye.secret("wrong admin token")
    text, label, note = eye.text("text by an admin"), eye.text("label"), eye.text("note of a snapshot")
    plain = {"content-type": "text/plain"}
    async with httpx.AsyncClient(base_url=f"{server.http_url}/api/v1", timeout=30) as client:
        for token in (at.admin, wrong, *at.shown.values()):
            for headers, query in (
                ({"authorization": f"Bearer {token}"}, ""),
                ({"authorization": f"Basic {token}"}, ""),
                ({"authorization": token}, ""),
                ({"cookie": f"session={token}"}, ""),
                ({}, f"?token={token}"),
                ({}, f"?access_token={token}&token={token}"),
            ):
                for path in ("/rooms", "/rooms/notes", "/rooms/notes/document", "/server", f"/nothing/{'x' * 9}"):
                    await client.get(path + query, headers=headers)
        client.headers["authorization"] = f"Bearer {at.admin}"
        room = "/rooms/by-an-admin"
        assert (await client.put(f"{room}/document", content=text, headers=plain)).status_code == 200
        assert text in (await client.get(f"{room}/document", params={"format": "text"})).text
        for method, path, body in (
            ("PUT", f"{room}/document", f'{{"{text}": '),
            ("PUT", f"{room}/document", json.dumps({text: {text: [text]}})),
            ("PATCH", f"{room}/document", json.dumps([{"op": "replace", "path": f"/{text}/0", "value": text}])),
            ("PATCH", f"{room}/document", json.dumps({"op": text})),
            ("POST", f"{room}/updates", text),
            ("POST", f"{room}/restore", json.dumps({"to": {"snapshot": text}})),
            ("POST", f"{room}/undo", json.dumps({"author": "ana", "since": text})),
            ("POST", "/import", text),
            ("POST", "/revocations", json.dumps({"subject": "nobody", "seconds": text})),
            ("PUT", "/server/log-level", json.dumps({"level": text})),
        ):
            for kind in ("application/json", "application/json-patch+json", "application/octet-stream", "text/html"):
                await client.request(method, path, content=body, headers={"content-type": kind})
        made = await client.post(f"{room}/snapshots", json={"label": label, "note": note})
        assert made.status_code == 201, made.text
        snapshot = f"{room}/snapshots/{made.json()['id']}"
        assert (await client.patch(snapshot, json={"label": label + label, "note": note})).status_code == 200
        for format in ("json", "text", "html", "markdown", "yjs", text):
            for path in (f"{room}/document", f"{snapshot}/content", "/rooms/notes/document"):
                await client.get(path, params={"format": format, "field": eye.hidden.get("key of a map", "text")})
                await client.get(path, params={"format": format})
        restored = await client.post(f"{room}/restore", json={"to": {"snapshot": made.json()["id"]}})
        assert restored.status_code == 200, restored.text
        await client.get("/audit", params={"room": "by-an-admin"})
        assert (await client.delete(snapshot)).status_code == 204
        assert (await client.delete("/rooms/by-an-admin")).status_code in (200, 204)
        metrics = {"authorization": f"Bearer {eye.hidden['metrics token']}"}
        assert (await client.get(f"{server.http_url}/metrics", headers=metrics)).status_code == 200
        assert (await client.get(f"{server.http_url}/metrics?token={wrong}", headers=metrics)).status_code == 200
        assert (await client.get(f"{server.http_url}/metrics")).status_code == 401


def run(*arguments: str, folder: Path, env: Mapping[str, str | None]) -> subprocess.CompletedProcess[str]:
    """A command of collab, with these settings and none from outside."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    given = {name: value for name, value in env.items() if value is not None}
    return subprocess.run(
        [sys.executable, "-m", "collab", *arguments],
        env=kept | {"PYTHONPATH": str(REPO), "COLLAB_SERVER__SUPERVISOR": "no"} | given,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )


async def commands(server: Server, at: Scene) -> None:
    """Through the server, with the right token and a wrong one, in options and settings."""
    url, wrong = server.http_url, at.eye.secret("wrong token of a command")
    settings: dict[str, str | None] = {
        name: value for name, value in at.env.items() if not name.startswith("COLLAB_LOG")
    }
    settings["COLLAB_SERVER__PORT"] = str(server.port)
    label = at.eye.text("label by a command")
    calls: list[tuple[list[str], dict[str, str | None]]] = []
    for token in (at.admin, wrong):
        to = ["--server", url, "--token", token]
        calls += [(["rooms", *to], {}), (["attribution", "notes", *to], {})]
        calls += [(["snapshot", "create", "notes", "--label", label, *to], {})]
        calls += [(["rooms", "--server", url], {"COLLAB_ADMIN__TOKEN": token})]
    calls += [(["rooms", "--server", f"{url}/?token={wrong}"], {}), (["rooms", "--server", f"ftp://x:{wrong}@y"], {})]
    calls += [(["smoke", server.url, "--token", token], {}) for token in (at.good or wrong, wrong)]
    calls += [(["smoke", f"ws://x:{wrong}@127.0.0.1:1/a b?token={wrong}"], {}), (["smoke", f"http://x:{wrong}@y"], {})]
    calls += [(["export", "notes", "--server", f"ws://x:{wrong}@[y/"], {}), (["doctor", "--production"], settings)]
    endings = []
    for first in range(0, len(calls), 3):
        some = (asyncio.to_thread(run, *call, folder=server.folder, env=env) for call, env in calls[first : first + 3])
        for done in await asyncio.gather(*some):
            at.beside += [done.stdout, done.stderr]
            endings.append(done.returncode)
            assert "Traceback" not in done.stderr, done.stderr
    assert 0 in endings and any(endings), "some are let in, and some are not"


SAID = {
    "open": {"client joined", "client left", "admin refused", "audit", "room compacted", "connection refused"},
    "jwt": {"client joined", "document refused", "admin refused", "audit", "room compacted", "connection refused"},
    "webhook": {"client joined", "nobody decided about access", "admin refused", "audit", "room compacted"},
    "jwks": {"key set not fetched", "connection refused", "admin refused", "audit"},
}
"""What has to be among the lines of each mode: else nothing was tried."""


@pytest.mark.parametrize(
    ("mode", "form"), [("open", "console"), ("open", "json"), ("jwt", "json"), ("webhook", "json"), ("jwks", "json")]
)
async def test_no_line_holds_a_secret_or_a_text(mode, form, tmp_path, figure):
    async with scene(mode, form, tmp_path) as at:
        with Server(env=at.env) as server:
            await editors(server, at)
            if mode != "jwks":
                await typing(server, at)
            await admins(server, at)
            if mode in ("open", "jwt") and form == "json":
                await commands(server, at)
            await asyncio.sleep(1.5)  # the beat, and a compaction that was on its way
            server.kill()
            server.start()
            server.terminate()
            server.wait()
            logs = server.logs()
        at.eye.look(logs)
        of_server = at.eye.lines
        at.eye.look("\n".join(at.beside), shown=True)
    missing = {event for event in SAID[mode] if event not in logs}
    figure(
        f"{mode}, {form}, debug: {of_server:,} lines of the server and {at.eye.lines - of_server:,} of commands, "
        f"{len(at.eye.hidden)} secrets and texts in {len(SPELLINGS)} spellings: {len(at.eye.found)} lines hold one"
    )
    assert at.eye.found == [], at.eye.found[:3]
    assert not missing and of_server > 25, missing


# ---------------------------------------------------------------------- what does not start


def refused(eye: Eye, folder: Path) -> Iterator[dict[str, str | None]]:
    """Settings with which no server starts, and secrets in them."""
    made = eye.secret("key for tokens")
    (folder / "key").write_text(eye.secret("key in a file"))
    (folder / "key").chmod(0o644)
    production: dict[str, str | None] = {"COLLAB_SERVER__PRODUCTION": "yes", "COLLAB_SERVER__PORT": "1"}
    yield production | {"COLLAB_ADMIN__TOKEN": eye.secret("admin token"), "DEBUG": "yes", "COLLAB_AUTH__MODE": "open"}
    yield production | {"JWT_SECRET": eye.secret("placeholder", "change-me-change-me-change-me-change-me")}
    yield production | {"JWT_SECRET": eye.secret("easy", "abcabcabc" * 5), "COLLAB_SERVER__METRICS_TOKEN": "zyxwvuts"}
    yield production | {"JWT_SECRET_FILE": str(folder / "key"), "COLLAB_STORE__URL": "memory:"}
    yield {"JWT_SECRET": eye.secret("short", "shortsecret")}
    yield {"JWT_SECRET": made, "JWT_SECRET_FILE": str(folder / "key")}
    yield {"COLLAB_ADMIN__TOKEN": eye.secret("short token", "shorttoken")}
    hook = "COLLAB_AUTH__WEBHOOK_URL"
    yield {hook: f"ftp://user:{eye.secret('password of a URL')}@host/"}
    yield {hook: f"https://user:ab/{eye.secret('password with a slash')}@host/"}
    yield {hook: f"https://host/?key={eye.secret('key in a URL')}"}
    yield {"COLLAB_AUTH__JWKS_URL": f"http://user:{eye.secret('password of no URL')}@[host/", "JWT_SECRET": made}
    yield {"COLLAB_STORE__URL": f"nothing://user:{eye.secret('password of a store')}@host/db"}
    yield {"COLLAB_AUTH__JWT_SECRETS": eye.secret("by a wrong name")}


async def test_a_start_that_is_refused_says_no_secret(tmp_path, figure):
    eye, starts = Eye(), 0
    for env in refused(eye, tmp_path):
        report = ["doctor", "--production"] if "COLLAB_SERVER__PRODUCTION" in env else ["doctor"]
        done, told = await asyncio.gather(
            *(asyncio.to_thread(run, *command, folder=tmp_path, env=env) for command in (["serve"], report))
        )
        starts += 1
        eye.look("\n".join([done.stdout, done.stderr, told.stdout, told.stderr]))
        assert done.returncode == 2 and done.stderr, (env, done.stdout, done.stderr)
    figure(
        f"{starts} starts that are refused, and what `collab doctor` says of them: {eye.lines} lines, "
        f"{len(eye.hidden)} secrets, {len(eye.found)} lines hold one"
    )
    assert eye.found == [], eye.found[:3]
