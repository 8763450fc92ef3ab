"""A collaboration backend for Yjs editors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .auth import Grant, Knock, Level
    from .errors import CollabError
    from .letters import Letter
    from .settings import Settings
    from .store import Store, open_store
    from .web.app import create_app
    from .yroom import Room

__all__ = ["CollabError", "Grant", "Knock", "Letter", "Level", "Room", "Settings", "Store", "create_app", "open_store"]

_HOME = {
    "CollabError": "errors",
    "Grant": "auth",
    "Knock": "auth",
    "Letter": "letters",
    "Level": "auth",
    "Room": "yroom",
    "Settings": "settings",
    "Store": "store",
    "create_app": "web.app",
    "open_store": "store",
}


def __getattr__(name: str) -> Any:
    """The public names, imported when they are used: `collab --help` does not wait for a web server."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
