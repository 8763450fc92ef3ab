"""`collab doctor`: every setting, where it came from, and what is wrong with it or with the place it describes."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Column, Table
from rich.text import Text

from ..auth.modes import authorizer
from ..errors import CollabError, SettingsError
from ..settings import Effective, Problem, Settings, load_settings, survey
from ..store import Store, open_store
from . import production as in_production
from .app import AsJson, Certfile, Host, Keyfile, Port, StoreURL, app, console, print_json, spelled, store_file

SPARE_FILES = 64  # the store, the log, the listening socket and so on
SOON_DAYS = 14


@app.command()
def doctor(
    host: Host = None,
    port: Port = None,
    store: StoreURL = None,
    certfile: Certfile = None,
    keyfile: Keyfile = None,
    production: Annotated[
        bool | None,
        typer.Option("--production", help="Hold it to what a server in production must be.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show every setting, its source and what is wrong. Exits with 0: fine, 1: something is wrong, 2: a setting is."""
    overrides: dict[str, dict[str, object]] = {
        "server": {"host": host, "port": port, "certfile": certfile, "keyfile": keyfile, "production": production},
        "store": {"url": store},
    }
    settings, problems = survey(overrides)
    wrong_settings = bool(problems)
    doubts: list[Problem] = []
    if not wrong_settings:
        loaded = load_settings(overrides)
        problems = list(look_around(loaded))
        if loaded.server.production:
            problems += in_production.refused(loaded)
            doubts = list(in_production.doubtful(loaded))
    if as_json:
        told = {
            word: [{"name": one.name, "problem": one.sentence} for one in found]
            for word, found in (("problems", problems), ("warnings", doubts))
        }
        print_json({"ok": not problems, "settings": [row._asdict() for row in settings], **told})
    else:
        _print(settings, problems, doubts)
    raise typer.Exit(2 if wrong_settings else 1 if problems else 0)


def _print(settings: list[Effective], problems: list[Problem], doubts: list[Problem]) -> None:
    wrong = {problem.name for problem in problems}
    table = Table("", Column("setting", no_wrap=True), "value", "from")
    for row in settings:
        mark = Text("wrong", "red") if row.name in wrong or row.name.partition(".")[0] in wrong else Text("")
        table.add_row(mark, row.name, Text(row.value), Text(row.source, "dim" if row.source == "default" else ""))
    screen = console()
    screen.print(table)
    for problem in problems:
        screen.print(Text(problem.sentence, "red"), soft_wrap=True)
    for doubt in doubts:
        screen.print(Text(doubt.sentence, "yellow"), soft_wrap=True)
    if not problems:
        screen.print("Nothing is wrong.", style="green")


def look_around(settings: Settings) -> Iterator[Problem]:
    """What would go wrong with settings that are right in themselves.

    Looking makes no file; a store that is there is opened, which brings an older one up to date as serving would.
    """
    yield from _store(settings)
    yield from _port(settings)
    yield from _certificate(settings)
    yield from _files(settings)
    try:
        authorizer(settings.auth, host=settings.server.host)
    except SettingsError as error:
        yield Problem("auth", str(error))


def _store(settings: Settings) -> Iterator[Problem]:
    name = spelled(settings, "store.url")
    try:
        store = open_store(settings.store.url)
        path = store_file(store)
        if path is not None and not path.exists():
            # Opening would make it, and looking must not leave anything behind.
            folder = next(parent for parent in path.absolute().parents if parent.exists())
            if not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
                yield Problem("store.url", f"{name}: {path} cannot be made: this user may not write to {folder}")
            return
        asyncio.run(_open(store))
    except CollabError as error:
        sentence = str(error)
        yield Problem("store.url", sentence if sentence.startswith("COLLAB_") else f"{name}: {sentence}")


async def _open(store: Store) -> None:
    async with store:
        await store.check()


def _port(settings: Settings) -> Iterator[Problem]:
    host, port = settings.server.host, settings.server.port
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        sentence = f"{spelled(settings, 'server.host')} is {host!r}, which is no address here: {error.strerror}"
        yield Problem("server.host", sentence)
        return
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            name = "server.host" if error.errno == errno.EADDRNOTAVAIL else "server.port"
            reason = {
                errno.EADDRINUSE: "another process listens there; stop it or choose another port",
                errno.EACCES: "this user may not; choose a port from 1024 up",
                errno.EADDRNOTAVAIL: "this machine has no such address",
            }.get(error.errno or 0, str(error.strerror))
            yield Problem(name, f"{spelled(settings, name)}: cannot listen on {host} port {port}: {reason}")


def _files(settings: Settings) -> Iterator[Problem]:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]  # `serve` raises its own limit up to this one
    needed = settings.limits.connections + SPARE_FILES
    if limit != resource.RLIM_INFINITY and limit < needed:
        setting = spelled(settings, "limits.connections")
        yield Problem(
            "limits.connections",
            f"{setting} is {settings.limits.connections}, but this process may open only {limit} files: "
            f"raise that (ulimit -Hn {needed}), or lower the setting",
        )


def _certificate(settings: Settings) -> Iterator[Problem]:
    certfile, keyfile = settings.server.certfile, settings.server.keyfile
    if certfile is None or keyfile is None:
        return
    name = spelled(settings, "server.certfile")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        server.load_cert_chain(certfile, keyfile, password=_no_password)
        expires = _expiry(server, certfile)
    except ssl.SSLCertVerificationError as error:
        yield Problem("server.certfile", f"{name}: {certfile} is of no use: {error.verify_message}; renew it")
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        reason = getattr(error, "reason", None) or error
        yield Problem("server.certfile", f"{name}: {certfile} and {keyfile} cannot be used together: {reason}")
    else:
        days = (expires - time.time()) / 86_400
        if days < SOON_DAYS:
            yield Problem("server.certfile", f"{name}: {certfile} expires in {days:.0f} days; renew it")


def _no_password() -> str:
    raise ValueError("the key is encrypted, and the server cannot ask for its password")


def _expiry(server: ssl.SSLContext, certfile: Path) -> float:
    """When the certificate expires, in seconds since the epoch, found by a handshake in memory that trusts only it.

    Raises:
        ssl.SSLCertVerificationError: It has expired, or is not valid yet.
    """
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    client.load_verify_locations(certfile)
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking, answering = client.wrap_bio(down, up), server.wrap_bio(up, down, server_side=True)
    while True:
        try:
            asking.do_handshake()
            break
        except ssl.SSLWantReadError:
            try:
                answering.do_handshake()
            except ssl.SSLWantReadError:
                continue
    certificate = asking.getpeercert()
    assert certificate is not None
    return ssl.cert_time_to_seconds(str(certificate["notAfter"]))
