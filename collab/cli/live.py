"""A room of a running server, for a command that cannot have the store because that server has it.

Speaks Hocuspocus, as its providers do (docs/reference/protocol.md, part 1), because there every update is answered:
saved, or refused. What is asked for is one answer more than what is sent: the provider's own greeting has one, too.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer
from pycrdt import Doc
from websockets.exceptions import ConnectionClosed, InvalidStatus, InvalidURI, WebSocketException
from websockets.sync.client import ClientConnection, connect

from ..auth.keys import HMAC
from ..auth.modes import local_keys
from ..auth.tokens import mint
from ..errors import BadMessage, BadUpdate, Forbidden, SettingsError, StoreLocked, Unavailable, Unconfirmed
from ..fence import fenced
from ..names import checked_name
from ..settings import Settings
from ..settings.access import is_loopback
from ..settings.values import mask_url, parse_list
from ..wire import vet, yjs
from ..wire.hocuspocus import PING
from ..wire.lib0 import read_var_bytes, read_var_string, read_var_uint, var_string
from ..wire.messages import SyncStep1, SyncStep2, Update

ServerURL = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="URL",
        help="Go through this server (ws:// or wss://) instead of the store; without, it is found by the settings.",
    ),
]
Token = Annotated[
    str | None,
    typer.Option(
        "--token", metavar="TOKEN", help="What to show that server; without, one is made if there is a secret."
    ),
]

CONFIRM_SECONDS = 30.0
"""How long a server may take until it says that an edit is saved."""
ANSWER_SECONDS = 15.0
"""How long it may take until it lets us in, and tells what the room has."""
REASON_SECONDS = 1.0
"""How long after a refusal its reason may come."""
CLOSE_SECONDS = 2.0
"""How long a goodbye may take."""
TOKEN_SECONDS = 300
"""How long a token counts that is made here."""

SYNC, AUTH, CLOSE, SAVED = 0, 2, 7, 8
DENIED, GRANTED = 1, 2


class LiveRoom:
    """One room as a running server has it. Made by `live_room`.

    Attributes:
        url: The server.
        doc: The room's document; it follows while an answer is waited for.
    """

    def __init__(self, socket: ClientConnection, url: str, room: str, token: str) -> None:
        self.url = url
        self.doc: Doc[Any] = Doc()
        self._socket = socket
        self._prefix = var_string(room)
        self._deadline = time.monotonic() + ANSWER_SECONDS
        self._may_write: bool | None = None
        self._synced = False
        self._answers = 0
        self._refused = 0
        self._greeted = False
        self._edited = False
        self._say(b"\x02\x00" + var_string(token))
        while self._may_write is None:
            self._hear()
        self._sync(SyncStep1(b"\x00"))
        while not (self._synced and self._answers):  # the first answer is to our half of the greeting
            self._hear()

    def edit(self, update: bytes) -> None:
        """Send `update`; returns once the server has it on its disk.

        Raises:
            Forbidden: It may only be read.
            BadUpdate: The server does not take it.
            Unconfirmed: It was not answered.
        """
        if not self._may_write:
            raise Forbidden(f"{self.url} lets this token read the room, not write")
        self._deadline = time.monotonic() + CONFIRM_SECONDS
        before, self._edited = self._answers, True
        fenced(self.doc.apply_update, update)
        self._sync(Update(update))
        while self._answers == before:
            self._hear()
        self._edited = False
        if self._refused:
            raise BadUpdate(f"{self.url} does not take this edit{self._why()}; nothing of it was saved")
        self._say(b"\x07")

    def _why(self) -> str:
        """The reason of a refusal, which follows it, if there is one."""
        self._deadline = time.monotonic() + REASON_SECONDS
        try:
            while True:
                self._hear()
        except Forbidden as closed:
            return f" ({closed})"
        except Unavailable:
            return ""

    # ------------------------------------------------------------------ frames

    def _say(self, body: bytes) -> None:
        try:
            self._socket.send(self._prefix + body)
        except ConnectionClosed as closed:
            raise self._ended(closed) from None

    def _sync(self, message: SyncStep1 | SyncStep2 | Update) -> None:
        self._say(yjs.encode(message))

    def _hear(self) -> None:
        """Take in one frame."""
        try:
            frame = self._socket.recv(max(0.0, self._deadline - time.monotonic()))
        except TimeoutError:
            if self._edited:
                raise Unconfirmed(self.url, CONFIRM_SECONDS) from None
            raise Unavailable(f"{self.url} (no answer in {ANSWER_SECONDS:g} s)") from None
        except ConnectionClosed as closed:
            raise self._ended(closed) from None
        if not isinstance(frame, bytes) or frame == PING:
            return
        try:
            self._understand(frame, read_var_string(frame, 0)[1])
        except BadMessage as error:
            raise BadMessage(f"{self.url} says what is no Hocuspocus: {error}") from None

    def _understand(self, frame: bytes, at: int) -> None:
        kind, at = read_var_uint(frame, at)
        if kind == SYNC:
            step, at = read_var_uint(frame, at)
            body = read_var_bytes(frame, at)[0]
            if step == yjs.STEP1:
                # The first is the greeting: we have nothing that the server lacks. Later it may ask for our edit again.
                self._sync(SyncStep2(fenced(self.doc.get_update, body) if self._greeted else vet.EMPTY))
                self._greeted = True
                return
            vet.parse(body)
            fenced(self.doc.apply_update, body)
            self._synced = True
        elif kind == AUTH:
            word, at = read_var_uint(frame, at)
            if word in (DENIED, GRANTED):
                text = read_var_string(frame, at)[0]
                if word == DENIED:
                    raise Forbidden(f"{self.url} does not let us in: {text}")
                self._may_write = text == "read-write"
        elif kind == SAVED:
            self._answers += 1
            self._refused += not read_var_uint(frame, at)[0]
        elif kind == CLOSE:
            raise Forbidden(f"{self.url} closed the room: {read_var_string(frame, at)[0]}")

    def _ended(self, closed: ConnectionClosed) -> Forbidden | Unavailable:
        code, reason = (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else (1006, "")
        if 4400 <= code <= 4499:
            return Forbidden(f"{self.url} refuses: {reason or 'it gives no reason'} (close code {code})")
        if self._edited:
            return Unconfirmed(f"{self.url} (it closed with {code} {reason}) ".strip(), CONFIRM_SECONDS)
        return Unavailable(f"{self.url} (it closed with {code} {reason}".rstrip() + ")")


@contextmanager
def live_room(
    settings: Settings, room: str, *, server: str | None, token: str | None, locked: StoreLocked | None = None
) -> Iterator[LiveRoom]:
    """`room` of a running server.

    Args:
        settings: Where the server is if `server` is None, and the secret that a token is made with if `token` is None.
        locked: Why it is asked, for the sentence when nobody answers.

    Raises:
        Forbidden: The server does not let us in.
        Unavailable: It does not answer.
        BadMessage: It speaks something else.
    """
    checked_name(room.encode(errors="surrogateescape"), max_bytes=settings.rooms.name_bytes)
    url = server or own_url(settings)
    if not url.startswith(("ws://", "wss://")):
        raise SettingsError(f"--server is {mask_url(url)!r}: it should begin with ws:// or wss://")
    trust = None if server or settings.server.certfile is None else own_certificate(settings)
    shown = token or own_token(settings, room) or ""
    try:
        socket = connect(
            url,
            ssl=trust,
            compression=None,
            max_size=None,
            close_timeout=CLOSE_SECONDS,
            proxy=True if server and not is_loopback(urlsplit(url).hostname) else None,
        )
    except (OSError, ValueError, WebSocketException) as error:
        raise _unreachable(mask_url(url), error, locked) from None
    with socket:
        yield LiveRoom(socket, mask_url(url), room, shown)


def own_url(settings: Settings) -> str:
    """Where the server of these settings is reached from this machine."""
    host, port = settings.server.host, settings.server.port
    if not port:
        raise SettingsError("a server is running, on a port that it chose itself: name it with --server ws://HOST:PORT")
    # What listens everywhere is reached here.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    scheme = "wss" if settings.server.certfile else "ws"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}/"


def own_token(settings: Settings, room: str) -> str | None:
    """A token for this room that the server of these settings takes; None when there is no secret to sign with."""
    pattern = "/".join("*" if "*" in segment else segment for segment in room.split("/"))
    return minted(settings, {pattern: "write"})


def minted(settings: Settings, rooms: dict[str, str]) -> str | None:
    """A token for these patterns of rooms with their levels; None when there is no secret to sign with."""
    key = next((key for key in local_keys(settings.auth) if key.algorithm in HMAC), None)
    if key is None:
        return None
    now = int(time.time())
    claims: dict[str, Any] = {"sub": "collab", "iat": now, "exp": now + TOKEN_SECONDS, "rooms": rooms}
    audiences = parse_list(settings.auth.jwt_audience)
    return mint(
        claims
        | ({"iss": settings.auth.jwt_issuer} if settings.auth.jwt_issuer else {})
        | ({"aud": audiences[0]} if audiences else {}),
        key,
    )


def own_certificate(settings: Settings) -> ssl.SSLContext:
    """Trusts the server's own certificate alone, under whatever name it is reached here."""
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trust.check_hostname = False
    trust.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    trust.load_verify_locations(settings.server.certfile)
    return trust


def _unreachable(url: str, error: Exception, locked: StoreLocked | None) -> Unavailable | Forbidden:
    if isinstance(error, InvalidStatus):
        status, said = error.response.status_code, (error.response.body or b"").decode(errors="replace")[:200]
        if status in (401, 403):
            return Forbidden(f"{url} does not let us in: {said or status}")
        return Unavailable(f"{url} (HTTP {status} {said}".rstrip() + ")")
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    if isinstance(error, InvalidURI):  # it quotes what it was given
        reason = f"it is no URI: {error.msg}"
    where = f"{url} ({reason})"
    if locked is None:
        return Unavailable(where)
    return Unavailable(f"{where}, where the server that has {locked.path} should be (--server names another),")
