"""The command line. Each module here holds commands; importing it puts them on the app."""

from __future__ import annotations

from . import (
    backup,
    doctor,
    export,
    history,
    hooks,
    import_,
    import_from,
    maintain,
    quarantine,
    revoke,
    rooms,
    serve,
    smoke,
    snapshot,
    token,
    transfer,
)
from .app import app, main

__all__ = [
    "app",
    "backup",
    "doctor",
    "export",
    "history",
    "hooks",
    "import_",
    "import_from",
    "main",
    "maintain",
    "quarantine",
    "revoke",
    "rooms",
    "serve",
    "smoke",
    "snapshot",
    "token",
    "transfer",
]
