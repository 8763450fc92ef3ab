"""`collab serve`: the server."""

from __future__ import annotations

import typer

from .. import log
from ..errors import SettingsError
from ..settings import load_settings
from ..web.server import run
from .app import Certfile, Host, Keyfile, Port, StoreURL, app


@app.command()
def serve(
    host: Host = None,
    port: Port = None,
    store: StoreURL = None,
    certfile: Certfile = None,
    keyfile: Keyfile = None,
) -> None:
    """Serve rooms to editors until told to stop (SIGTERM or Ctrl+C)."""
    settings = load_settings(
        {
            "server": {"host": host, "port": port, "certfile": certfile, "keyfile": keyfile},
            "store": {"url": store},
        }
    )
    if settings.auth.jwt_secret is not None:
        raise SettingsError(
            f"{settings.source('auth.jwt_secret')} is set, but this version cannot check tokens and would let "
            "everybody in; unset it, and let only those reach the server who may edit"
        )
    log.configure(settings.log.level, settings.log.format)
    raise typer.Exit(run(settings))
