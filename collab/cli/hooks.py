"""`collab hooks`: what webhooks have still to tell, what was given up, and another try."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from .admin import AdminToken, AdminURL, admin_anywhere
from .app import AsJson, StoreURL, app, console, print_json, shown

hooks = typer.Typer(help="Webhooks: what waits, what was given up, and another try.", no_args_is_help=True)
app.add_typer(hooks, name="hooks")


@hooks.command("list")
def list_(
    dead: Annotated[bool, typer.Option("--dead", help="Those that were given up instead.")] = False,
    store: StoreURL = None,
    server: AdminURL = None,
    token: AdminToken = None,
    as_json: AsJson = False,
) -> None:
    """List the events that wait to be told, newest first."""
    state = "dead" if dead else "waiting"
    with admin_anywhere(store, server=server, token=token) as admin:
        found = list(admin.pages("/hooks", state=state))
    if as_json:
        print_json(found)
        return
    table = Table("id", "time (UTC)", "event", "room", "url", "attempts", "why", title=f"{len(found)} {state}")
    for one in found:
        texts = [Text(shown(one[name] or "")) for name in ("event", "room", "url", "error")]
        table.add_row(str(one["id"]), one["time"][:19].replace("T", " "), *texts[:3], str(one["attempts"]), texts[3])
    console().print(table)


@hooks.command()
def replay(
    ids: Annotated[list[int] | None, typer.Argument(help="Numbers of events that were given up.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    store: StoreURL = None,
    server: AdminURL = None,
    token: AdminToken = None,
    as_json: AsJson = False,
) -> None:
    """Try again what was given up; without a server it is tried when one starts."""
    if bool(ids) == everything:
        raise typer.BadParameter("say which, or --all", param_hint="IDS")
    body = {"all": True} if everything else {"ids": ids}
    with admin_anywhere(store, server=server, token=token) as admin:
        done = admin.ask("POST", "/hooks/replay", body=body)
    if as_json:
        print_json(done)
    else:
        console().print(f"{done['replayed']} events wait again", markup=False)


@hooks.command()
def test(store: StoreURL = None, server: AdminURL = None, token: AdminToken = None, as_json: AsJson = False) -> None:
    """Send a test event to every URL; without a server it is sent when one starts."""
    with admin_anywhere(store, server=server, token=token) as admin:
        done = admin.ask("POST", "/hooks/test")
    if as_json:
        print_json(done)
    else:
        console().print(f"test event {done['event_id']} is on its way", markup=False)
