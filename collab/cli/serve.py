"""`collab serve`: the server."""

from __future__ import annotations

import sys
import tempfile
from typing import Annotated

import typer

from .. import __version__, log, supervisor, telemetry
from ..settings import InvalidSettings, Settings, load_settings
from ..store import open_store
from . import production as in_production
from .app import Certfile, Host, Keyfile, Port, StoreURL, app, store_file

logger = log.get_logger(__name__)

GRACE_SECONDS = 5.0
"""How much longer than the longest shutdown the supervisor waits for the server to be gone."""


@app.command()
def serve(
    host: Host = None,
    port: Port = None,
    store: StoreURL = None,
    certfile: Certfile = None,
    keyfile: Keyfile = None,
    production: Annotated[
        bool | None,
        typer.Option("--production", help="Do without /demo, and do not start unsafely.", show_default=False),
    ] = None,
    supervised: Annotated[
        bool | None,
        typer.Option("--supervisor/--no-supervisor", help="Start the server again when it dies.", show_default=False),
    ] = None,
) -> None:
    """Serve rooms to editors until told to stop (SIGTERM or Ctrl+C)."""
    settings = load_settings(
        {
            "server": {
                "host": host,
                "port": port,
                "certfile": certfile,
                "keyfile": keyfile,
                "production": production,
                "supervisor": supervised,
            },
            "store": {"url": store},
        }
    )
    if settings.server.production and (problems := list(in_production.refused(settings))):
        raise InvalidSettings(problems)
    if supervisor.is_supervised():
        supervisor.live_with(settings.server.shutdown_seconds)
    elif settings.server.supervisor:
        _supervise(settings)
    log.configure(settings.log.level, settings.log.format)
    with telemetry.sending(__version__):
        if settings.server.production:
            for doubt in in_production.doubtful(settings):
                logger.warning("not fit for production", setting=doubt.name, problem=doubt.sentence)
        from ..web.server import run  # the supervisor, and who asks for help, do without it

        code = run(settings)
    raise typer.Exit(code)


def _supervise(settings: Settings) -> None:
    """Become the supervisor of a server that is started just as this process was. Never returns."""
    kept = store_file(open_store(settings.store.url))
    people = settings.log.format == "console" or (settings.log.format == "auto" and sys.stdout.isatty())
    supervisor.become(
        supervisor.command_of_this_process(),
        give_up_seconds=settings.server.give_up_seconds,
        stop_seconds=settings.server.shutdown_seconds + GRACE_SECONDS,
        json_lines=not people,
        notes="" if kept else tempfile.mkdtemp(prefix="collab-"),
    )
