"""`collab smoke`: whether a server that was just deployed does what editors need, seen from outside."""

from __future__ import annotations

import secrets
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Annotated, Any
from urllib.parse import quote, urlsplit

import httpx
import typer
from pycrdt import Doc, Map
from rich.table import Table
from rich.text import Text
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from ..errors import BadMessage, CollabError, Forbidden, SettingsError, Unavailable
from ..fence import fenced
from ..settings import Settings, load_settings
from ..settings.access import is_loopback
from ..settings.values import mask_url
from ..wire import vet, yjs
from ..wire.messages import Denied, Echo, SyncStep1, SyncStep2, Update
from .app import AsJson, app, console, print_json
from .live import live_room

ROOT = "smoke"
ANSWER_SECONDS = 15.0
SOON_DAYS = 14
"""A certificate that ends sooner is one that nobody renews."""


@dataclass(frozen=True, slots=True)
class Step:
    """What came of one step."""

    name: str
    passed: bool
    seconds: float
    said: str


@app.command()
def smoke(
    url: Annotated[str, typer.Argument(metavar="URL", help="The server, as editors reach it: wss://host.")],
    token: Annotated[
        str, typer.Option("--token", metavar="TOKEN", help="What an editor shows, if one is needed.")
    ] = "",
    room: Annotated[str, typer.Option(metavar="NAME", help="The room to write in; it is left empty.")] = "collab-smoke",
    as_json: AsJson = False,
) -> None:
    """Try out a server after it was deployed: certificate, readiness, an edit saved and seen, on both protocols.

    Ends with 1 when something does not work. Nothing is left in the room but its history.
    """
    if not url.startswith(("ws://", "wss://")):
        raise SettingsError(f"{mask_url(url)!r} should begin with wss:// (or ws://)")
    trial = _Trial(load_settings(), url.rstrip("/"), token, room)
    if as_json:
        print_json({"url": mask_url(url), "passed": trial.run(), "steps": [asdict(step) for step in trial.steps]})
    else:
        trial.run()
        table = Table("", "step", "seconds", "what was found", title=mask_url(url))
        for step in trial.steps:
            table.add_row("ok" if step.passed else "FAILED", step.name, f"{step.seconds:.2f}", Text(step.said))
        console().print(table)
    if not trial.passed:
        raise typer.Exit(1)


class _Trial:
    def __init__(self, settings: Settings, url: str, token: str, room: str) -> None:
        self.steps: list[Step] = []
        self._settings = settings
        self._url = url
        self._token = token
        self._room = room
        self._marks = [secrets.token_hex(8) for _ in range(2)]

    @property
    def passed(self) -> bool:
        return all(step.passed for step in self.steps)

    def run(self) -> bool:
        """All steps, up to the first that fails; returns whether none did."""
        steps: list[tuple[str, Callable[[], str]]] = [
            ("certificate", self._certificate),
            ("ready", self._ready),
            ("Hocuspocus: an edit is saved", self._saved),
            ("y-websocket: it is there, and another is saved", self._seen),
            ("Hocuspocus: that one is there; both are removed", self._removed),
        ]
        for name, call in steps:
            began = time.monotonic()
            try:
                said, passed = call(), True
            except (CollabError, OSError, httpx.HTTPError, WebSocketException) as error:
                said, passed = str(error) or type(error).__name__, False
            self.steps.append(Step(name, passed, round(time.monotonic() - began, 3), said))
            if not passed:
                break
        return self.passed

    def _certificate(self) -> str:
        parts = urlsplit(self._url)
        if parts.scheme != "wss":
            if is_loopback(parts.hostname):
                return "none: this machine"
            raise Forbidden("ws:// sends tokens and documents in the clear: put TLS before it, and try wss://")
        context = ssl.create_default_context()
        with socket.create_connection((parts.hostname or "", parts.port or 443), ANSWER_SECONDS) as plain:
            with context.wrap_socket(plain, server_hostname=parts.hostname) as secure:
                found, version = secure.getpeercert() or {}, secure.version()
        days = (ssl.cert_time_to_seconds(str(found["notAfter"])) - time.time()) / 86_400
        if days < SOON_DAYS:
            raise Forbidden(f"the certificate ends in {days:.1f} days: renew it")
        return f"{version}, {days:.0f} days left"

    def _ready(self) -> str:
        answer = httpx.get(f"{self._url.replace('ws', 'http', 1)}/ready", timeout=ANSWER_SECONDS)
        if answer.status_code in (403, 404):
            return f"not shown here ({answer.status_code})"
        if not answer.is_success:
            raise Unavailable(f"the server (HTTP {answer.status_code} at /ready)")
        return "yes"

    def _saved(self) -> str:
        return self._edit(lambda marks: marks.update({self._marks[0]: True}), having=[])

    def _removed(self) -> str:
        return self._edit(lambda marks: [marks.pop(name, None) for name in list(marks)], having=self._marks)

    def _edit(self, change: Callable[[Any], object], having: list[str]) -> str:
        with live_room(self._settings, self._room, server=f"{self._url}/", token=self._token or None) as live:
            scratch: Doc[Any] = Doc()
            fenced(scratch.apply_update, fenced(live.doc.get_update))
            marks = scratch.get(ROOT, type=Map)
            _demand(having, marks)
            before = fenced(scratch.get_state)
            change(marks)
            began = time.monotonic()
            live.edit(fenced(scratch.get_update, before))
            return f"after {1000 * (time.monotonic() - began):.0f} ms"

    def _seen(self) -> str:
        query = f"?token={quote(self._token)}" if self._token else ""
        doc: Doc[Any] = Doc()
        with connect(
            f"{self._url}/{quote(self._room, safe='')}{query}", compression=None, max_size=None, close_timeout=2.0,
            proxy=None if is_loopback(urlsplit(self._url).hostname) else True,
        ) as peer:  # fmt: skip
            deadline = time.monotonic() + ANSWER_SECONDS

            def hear(wanted: type[SyncStep2 | Echo]) -> None:
                while True:
                    frame = peer.recv(max(0.0, deadline - time.monotonic()))
                    message = yjs.decode(frame if isinstance(frame, bytes) else b"")
                    if isinstance(message, SyncStep2 | Update):
                        vet.parse(message.update)
                        fenced(doc.apply_update, message.update)
                    elif isinstance(message, SyncStep1):
                        peer.send(yjs.encode(SyncStep2(vet.EMPTY)))
                    elif isinstance(message, Denied):
                        raise Forbidden(f"the server does not let us in: {message.reason}")
                    if isinstance(message, wanted):
                        return

            peer.send(yjs.encode(SyncStep1(b"\x00")))
            hear(SyncStep2)
            marks = doc.get(ROOT, type=Map)
            _demand(self._marks[:1], marks)
            before = fenced(doc.get_state)
            marks[self._marks[1]] = True
            began = time.monotonic()
            peer.send(yjs.encode(Update(fenced(doc.get_update, before))))
            peer.send(yjs.encode(Echo(b"saved?")))
            hear(Echo)
            return f"after {1000 * (time.monotonic() - began):.0f} ms"


def _demand(names: list[str], marks: Any) -> None:
    if any(name not in marks for name in names):
        raise BadMessage("what was saved a moment ago is not there: do all addresses lead to one server and one store?")
