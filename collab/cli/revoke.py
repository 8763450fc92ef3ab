"""`collab revoke`: tokens that count no more before their time. Works beside a running server, and without one."""

from __future__ import annotations

import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from ..errors import SettingsError
from ..revoked import LASTS_SECONDS, Entry, entries, folder_of, note
from ..settings import load_settings
from .app import AsJson, StoreURL, app, console, existing_store, print_json, shown
from .token import span_seconds

revoke = typer.Typer(help="Tokens that count no more before their time.", invoke_without_command=True)
app.add_typer(revoke, name="revoke")


@revoke.callback()
def everything(
    context: typer.Context,
    sub: Annotated[
        str | None,
        typer.Option("--sub", metavar="NAME", help="Whose tokens; what is issued from the next second on counts."),
    ] = None,
    jti: Annotated[str | None, typer.Option("--jti", metavar="ID", help="The id of one token.")] = None,
    lasts: Annotated[
        str | None,
        typer.Option(
            "--for",
            metavar="SPAN",
            help="How long the tokens could still count (15m, 1h, 7d): so long it is remembered; 10 years if not said.",
        ),
    ] = None,
    store: StoreURL = None,
    as_json: AsJson = False,
) -> None:
    """Revoke all tokens of a subject, or one token: a running server cuts off who came with it within two seconds."""
    if context.invoked_subcommand is not None:
        return
    if (sub or None) is None and (jti or None) is None:
        raise typer.BadParameter("say whose tokens, or which one", param_hint="--sub or --jti")
    now = time.time()
    leeway = load_settings().auth.leeway_seconds
    until = now + leeway + (LASTS_SECONDS if lasts is None else span_seconds(lasts, "--for"))
    folder = _folder(store)
    made = [Entry(kind, name, now, until) for kind, name in (("subject", sub), ("token", jti)) if name]
    for entry in made:
        note(folder, entry)
    if as_json:
        print_json([asdict(entry) for entry in made])
    else:
        for entry in made:
            console().print(f"{entry.kind} {shown(entry.name)} revoked", markup=False, soft_wrap=True)


@revoke.command("list")
def list_(store: StoreURL = None, as_json: AsJson = False) -> None:
    """List what is revoked, oldest first."""
    found = [entry for entry in entries(_folder(store)) if entry.until >= time.time()]
    if as_json:
        print_json([asdict(entry) for entry in found])
        return
    table = Table("what", "name", "since (UTC)", "remembered until (UTC)", title=f"{len(found)} revoked")
    for entry in found:
        table.add_row(entry.kind, Text(shown(entry.name)), _time(entry.at), _time(entry.until))
    console().print(table)


def _folder(url: str | None) -> Path:
    folder = folder_of(existing_store(url))
    if folder is None:
        raise SettingsError("this store has no place for revocations: name one in a file with --store")
    return folder


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")
