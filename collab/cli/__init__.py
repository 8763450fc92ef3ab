"""The command line. Each module here holds commands; importing it puts them on the app."""

from __future__ import annotations

from . import doctor, export, maintain, rooms, serve
from .app import app, main

__all__ = ["app", "doctor", "export", "main", "maintain", "rooms", "serve"]
