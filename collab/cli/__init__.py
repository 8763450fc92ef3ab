"""The command line. Each module here holds commands; importing it puts them on the app."""

from __future__ import annotations

from . import doctor, export, import_, maintain, quarantine, revoke, rooms, serve, token
from .app import app, main

__all__ = ["app", "doctor", "export", "import_", "main", "maintain", "quarantine", "revoke", "rooms", "serve", "token"]
