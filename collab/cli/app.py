"""What every command shares: the app that they join, their common options, how they print and how they fail."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress, ProgressColumn
from typer.core import TyperGroup

from .. import __version__
from ..errors import CollabError, SettingsError
from ..settings import Settings, load_settings
from ..store import Store, open_store

Host = Annotated[str | None, typer.Option("--host", metavar="ADDRESS", help="Address to listen on.")]
Port = Annotated[int | None, typer.Option("--port", metavar="NUMBER", help="TCP port to listen on.")]
StoreURL = Annotated[str | None, typer.Option("--store", metavar="URL", help="Where documents are kept.")]
Certfile = Annotated[Path | None, typer.Option("--certfile", metavar="FILE", help="TLS certificate chain (PEM).")]
Keyfile = Annotated[Path | None, typer.Option("--keyfile", metavar="FILE", help="TLS private key (PEM).")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]

RoomName = Annotated[str, typer.Argument(help="The room's exact name.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


class _Commands(TyperGroup):
    """The one place where an error becomes a sentence and an exit code."""

    def invoke(self, ctx: Any) -> Any:  # typer brings a click of its own, or not, depending on its version
        try:
            return super().invoke(ctx)
        except CollabError as error:
            errors = Console(stderr=True)
            errors.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
            raise typer.Exit(error.exit_code) from None


app = typer.Typer(
    name="collab",
    cls=_Commands,
    help="A collaboration server for Yjs editors.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # they can show local variables: tokens and documents
)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"collab {__version__}")
        raise typer.Exit


@app.callback()
def everything(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """A collaboration server for Yjs editors."""


def existing_store(url: str | None) -> Store:
    """The store that a command is to look at, not yet opened. Opening one that is not there would make it."""
    settings = load_settings({"store": {"url": url}})
    store = open_store(settings.store.url)
    path = store_file(store)
    if path is not None and not path.exists():
        raise SettingsError(f"{path} does not exist: name the store with --store or COLLAB_STORE__URL")
    return store


def spelled(settings: Settings, name: str) -> str:
    """How to call a setting in a sentence: as it was given, else by its variable."""
    source = settings.source(name)
    return source if source != "default" else f"COLLAB_{name.replace('.', '__').upper()}"


def store_file(store: Store) -> Path | None:
    """The file that a store keeps everything in, if it is that kind of store."""
    path = getattr(store, "path", None)
    return path if isinstance(path, Path) else None


def console() -> Console:
    """Standard output for tables; wide when it is not a terminal, so that nothing is cut short in a pipe."""
    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(width=None if known else 200, highlight=False)


def progress(*columns: ProgressColumn) -> Progress:
    """A progress bar on standard error, so that what a command prints can go into a pipe; none that nobody sees."""
    return Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())


def agreed(question: str, yes: bool) -> None:
    """Go on only when somebody says yes, or has said so.

    Raises:
        SettingsError: Nobody can be asked.
        typer.Abort: They say no.
    """
    if not yes:
        if not sys.stdin.isatty():
            raise SettingsError(f"{question} Nobody can be asked here: say --yes")
        typer.confirm(question, abort=True, err=True)


def shown(name: str) -> str:
    """A name, or what else somebody chose, so that it cannot steer a terminal."""
    return name if name.isprintable() else ascii(name)


def print_json(value: object) -> None:
    """One JSON document on standard output."""
    print(json.dumps(value, indent=2))


def main() -> None:
    """Run the command that the arguments of this process name."""
    app()
