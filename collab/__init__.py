"""A collaboration backend for Yjs editors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .errors import CollabError
    from .settings import Settings
    from .store import Store, open_store
    from .web.app import create_app
    from .yroom import Room

__all__ = ["CollabError", "Room", "Settings", "Store", "create_app", "open_store"]

_HOME = {
    "CollabError": "errors",
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
