"""The admin API of a running server, for commands that cannot have the store because that server has it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, urlsplit

import httpx
import typer

from .. import errors
from ..errors import CollabError, Forbidden, Refused, SettingsError, StoreLocked, Unavailable
from ..settings import Settings, load_settings
from ..settings.access import is_loopback
from ..settings.values import mask_url
from .app import existing_store, store_file
from .live import minted, own_certificate, own_url

AdminURL = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="URL",
        help="Go through this server (http:// or https://) instead of the store; without, it is found by the settings.",
    ),
]
AdminToken = Annotated[
    str | None,
    typer.Option(
        "--token",
        metavar="TOKEN",
        help="What opens its admin API; without, COLLAB_ADMIN__TOKEN, or one is made if there is a secret.",
    ),
]

ANSWER_SECONDS = 120.0
"""How long a server may take for one answer, or between two pieces of one."""
CONNECT_SECONDS = 10.0
PAGE = 1_000
"""Items that a page of a list has at most."""


class Admin:
    """The API of one server. Made by `admin_of`."""

    def __init__(self, http: httpx.Client, url: str, locked: StoreLocked | None) -> None:
        self._http = http
        self._url = mask_url(url)  # for sentences alone
        self._locked = locked

    def ask(self, method: str, path: str, *, body: Any = None, **query: str | int | None) -> Any:
        """What the server answers, out of JSON.

        Args:
            method: Of HTTP.
            path: Below `/api/v1`.
            body: Sent as JSON.
            query: What is None is left out.

        Raises:
            Refused, Forbidden: It does not do it.
            Unavailable: It does not answer.
        """
        asked = {name.rstrip("_"): value for name, value in query.items() if value is not None}
        with self._answered():
            answer = self._http.request(method, path, json=body, params=asked)
            self._checked(answer)
            return answer.json() if answer.content else None

    def read(self, path: str, **query: str | None) -> bytes:
        """What the server answers, as it comes. Raises as `ask` does."""
        with self._answered():
            answer = self._http.get(path, params={name: value for name, value in query.items() if value is not None})
            self._checked(answer)
            return answer.content

    def pages(self, path: str, **query: str | int | None) -> Iterator[Any]:
        """All items of a list, which comes in pages. Raises as `ask` does."""
        cursor: str | None = None
        while True:
            page = self.ask("GET", path, limit=PAGE, cursor=cursor, **query)
            yield from page["items"]
            cursor = page["next"]
            if cursor is None:
                return

    def fetch(self, method: str, path: str, file: Path, told: Callable[[int, int], None]) -> None:
        """Write what the server answers into a file, and compare it with its checksum. Raises as `ask` does."""
        with self._answered(), self._http.stream(method, path) as answer:
            if answer.is_error:
                answer.read()
            self._checked(answer)
            found, done, size = hashlib.sha256(), 0, int(answer.headers.get("content-length", 0))
            with file.open("xb") as stream:
                for piece in answer.iter_bytes():
                    stream.write(piece)
                    found.update(piece)
                    done += len(piece)
                    told(done, size)
        expected = f"sha-256=:{base64.b64encode(found.digest()).decode()}:"
        if answer.headers.get("repr-digest") != expected:
            raise Unavailable(f"{self._url} (what it sent is not what it meant to send)")

    def save(self, path: str, file: Path, told: Callable[[bytes], None]) -> None:
        """Write what the server answers into a file, which is of any size. Raises as `ask` does."""
        with self._answered(), self._http.stream("GET", path) as answer:
            if answer.is_error:
                answer.read()
            self._checked(answer)
            with file.open("xb") as stream:
                for piece in answer.iter_bytes():
                    stream.write(piece)
                    told(piece)

    def send(self, path: str, pieces: Iterator[bytes], **query: str) -> Any:
        """Send what is of any size, and return what the server answers, out of JSON. Raises as `ask` does."""
        with self._answered():
            answer = self._http.post(path, content=pieces, params=query)
            self._checked(answer)
            return answer.json()

    @contextmanager
    def _answered(self) -> Iterator[None]:
        try:
            yield
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            where = f"{self._url} ({error or type(error).__name__})"
            if self._locked is not None:
                where += f", where the server that has {self._locked.path} should be (--server names another),"
            raise Unavailable(where) from None

    def _checked(self, answer: httpx.Response) -> None:
        if not answer.is_error:
            return
        kind = ""
        try:
            problem = answer.json()
            said = str(problem["detail"])
            kind = str(problem.get("type"))
        except (ValueError, KeyError, TypeError):
            said = f"HTTP {answer.status_code}, which is not from the admin API of a collab server"
        if answer.status_code in (401, 403):
            raise Forbidden(f"{self._url} does not let us in: {said}")
        if answer.status_code == 503:
            raise Unavailable(f"{self._url} ({said})")
        raise Refused(f"{self._url}: {said}", _exit_code(kind))


@contextmanager
def admin_of(
    *, server: str | None, token: str | None, locked: StoreLocked | None = None, settings: Settings | None = None
) -> Iterator[Admin]:
    """The admin API of a running server.

    Args:
        server: Its URL; without, it is where the settings say.
        token: Opens it; without, it is made of the settings.
        locked: Why it is asked, for the sentence when nobody answers.
        settings: Those of the environment without.
    """
    from ..web.api.access import admin_token  # with it comes the web server: not for those who ask for help

    found = load_settings() if settings is None else settings
    url = server or _own(found)
    if not url.startswith(("http://", "https://")):
        raise SettingsError(f"--server is {mask_url(url)!r}: it should begin with http:// or https://")
    shown = token or admin_token(found.admin) or minted(found, {"**": "admin"})
    own = server is None and url.startswith("https")
    try:
        with httpx.Client(
            base_url=f"{url.rstrip('/')}/api/v1",
            headers={"authorization": f"Bearer {shown}"} if shown else {},
            timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
            verify=own_certificate(found) if own else True,
            trust_env=bool(server) and not is_loopback(urlsplit(url).hostname),
        ) as http:
            yield Admin(http, url, locked)
    except httpx.InvalidURL as error:
        raise SettingsError(f"--server is {mask_url(url)!r}: {error}") from None


@contextmanager
def admin_anywhere(store: str | None, *, server: str | None, token: str | None) -> Iterator[Admin]:
    """The admin API: of a store that no server has, in this process; else of the server that has it.

    Args:
        store: The store's URL; without, that of the settings.
        server: See `admin_of`. With it, the store is not looked at.
        token: See `admin_of`.
    """
    locked: StoreLocked | None = None
    with ExitStack() as stack:
        admin: Admin | None = None
        found = None if server else existing_store(store)
        if found is not None and store_file(found) is not None:
            from .inside import inside

            try:
                http = stack.enter_context(inside(load_settings({"store": {"url": store}}), found))
                admin = Admin(http, str(store_file(found)), None)
            except StoreLocked as error:
                locked = error
        yield admin or stack.enter_context(admin_of(server=server, token=token, locked=locked))


def _exit_code(kind: str) -> int:
    """What a command ends with for this `type` of a problem: the same as if the error came up here."""
    error = getattr(errors, kind.removeprefix("urn:collab:error:"), CollabError)
    return error.exit_code if isinstance(error, type) and issubclass(error, CollabError) else CollabError.exit_code


def of_room(room: str) -> str:
    """The path of a room's things: its name is one segment."""
    return f"/rooms/{quote(room, safe='')}"


def _own(settings: Settings) -> str:
    """Where the admin API of these settings is: at the internal port, if there is one."""
    inside = settings.server.internal_port
    if inside is not None:
        there = {"host": settings.server.internal_host, "port": inside, "certfile": None}
        settings = settings.model_copy(update={"server": settings.server.model_copy(update=there)})
    return own_url(settings).replace("ws", "http", 1)
