"""Writes the reference pages that are made from the code: settings, commands, metrics, errors, log events.

python docs/generate.py            writes them
python docs/generate.py --check    exits with 1 when one is not what the code says
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable
from enum import Enum
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from typer.models import ArgumentInfo, ParameterInfo

from collab.cli import app
from collab.cli.app import everything
from collab.errors import CollabError
from collab.metrics import Metrics
from collab.settings import OLDER_NAMES, Settings, every_setting
from collab.web.api.audit import KEPT, Record
from docs.logs import tables

FOLDER = Path(__file__).parent / "reference"
NOTE = "<!-- Made by docs/generate.py from the code; `make docs` writes it anew. -->"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table in Markdown."""
    lines = [list(head)]
    lines += [["---"] * len(lines[0])]
    lines += [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def code(text: str) -> str:
    return f"`{text}`" if text else ""


def settings() -> str:
    parts = [
        NOTE,
        "# Settings",
        "Every setting is an environment variable. One that starts with `COLLAB_` and is not on this page is an "
        "error, and so is a bad value: the server says which and exits with 2 before it opens anything. An empty "
        "variable counts as not set, except an empty secret, which is an error. Options on the command line go before "
        "variables, and a variable goes before its older name. Sizes are bytes, or `64KiB`, `16MiB`, `1GB` and so on. "
        "`collab doctor` shows every value and where it came from.",
    ]
    for section, field in Settings.model_fields.items():
        parts += [f"## {section}", (field.annotation.__doc__ or "") if field.annotation else ""]
        rows = []
        for setting in every_setting():
            if setting.section == section:
                older = OLDER_NAMES.get(setting.name)
                names = code(setting.variable) + (f" or {code(older)}" if older else "")
                default = setting.show(setting.info.default)
                rows.append(
                    [names, default if default == "(not set)" else code(default), setting.unit, setting.description]
                )
        parts.append(table(["variable", "default", "unit", "what it does"], rows))
    return "\n\n".join(parts) + "\n"


def commands() -> str:
    parts = [
        NOTE,
        "# Commands",
        "Exit codes: 0 fine; 1 something went wrong; 2 a setting or an argument is wrong; 3 the store cannot be "
        "reached, or another process has it; 4 a room is damaged. Errors go to standard error, one sentence each.",
    ]
    for name, text, params in [("collab", "", _params(everything)), *every_command()]:
        arguments = [spelled for spelled, _ in params if not spelled.startswith("-")]
        parts.append(f"## {code(' '.join([name, *arguments]))}")
        parts += [text] if text else []
        parts += [table(["", "what it does"], [[code(spelled), meaning] for spelled, meaning in params])]
    return "\n\n".join(parts) + "\n"


def every_command() -> list[tuple[str, str, list[tuple[str, str]]]]:
    """Each command: how it is called, what it does, and its arguments and options with what they mean."""
    found = []
    groups = [(f"collab {group.name}", group.typer_instance) for group in app.registered_groups]
    for prefix, commands in [("collab", app), *groups]:
        itself = commands.registered_callback if commands is not None and commands is not app else None
        if itself is not None and itself.callback is not None:
            found.append((prefix, inspect.getdoc(itself.callback) or "", _params(itself.callback)))
        for info in commands.registered_commands if commands is not None else []:
            call = info.callback
            assert call is not None
            name = info.name or call.__name__.replace("_", "-")
            found.append((f"{prefix} {name}", inspect.getdoc(call) or "", _params(call)))
    return sorted(found)


def _params(call: Callable[..., object]) -> list[tuple[str, str]]:
    """Read from the signature: what typer makes of it looks different in each of its versions."""
    found = []
    optional = inspect.signature(call).parameters
    for name, hint in get_type_hints(call, include_extras=True).items():
        kind, mark = get_args(hint)[:2] if get_origin(hint) is Annotated else (hint, None)
        if not isinstance(mark, ParameterInfo):
            continue
        metavar = mark.metavar or _metavar(kind)
        if isinstance(mark, ArgumentInfo):
            argument = mark.metavar or name.upper()
            spelled = argument if optional[name].default is inspect.Parameter.empty else f"[{argument}]"
        else:
            written = [text for text in (mark.default, *(mark.param_decls or ())) if isinstance(text, str)]
            spelled = f"{', '.join(written) or '--' + name.replace('_', '-')} {metavar}".strip()
        found.append((spelled, mark.help or ""))
    return found


def _metavar(kind: Any) -> str:
    """What stands for a value of this type."""
    (kind, *_) = [one for one in get_args(kind) if one is not NoneType] or [kind]
    if isinstance(kind, type) and issubclass(kind, Enum):
        return "|".join(str(member.value) for member in kind)
    return {bool: "", int: "NUMBER", float: "NUMBER", Path: "FILE"}.get(kind, "TEXT")


def metrics() -> str:
    parts = [
        NOTE,
        "# Metrics",
        "`GET /metrics` answers in Prometheus' text format. No label ever holds a room, a client or a user. The "
        "process's CPU time, memory and files (`process_*`) and Python's (`python_*`) are there too.",
    ]
    rows = []
    for family in sorted(Metrics().registry.collect(), key=lambda family: family.name):
        if not family.name.startswith("collab_"):
            continue
        labels: dict[str, dict[str, None]] = {}
        for sample in family.samples:
            for label, value in sample.labels.items():
                labels.setdefault(label, {})[value] = None
        if family.type in ("histogram", "info"):
            labels = {label: {} for label in labels if label != "le"}
        name = family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")
        shown = "; ".join(label + (": " + ", ".join(values) if values else "") for label, values in labels.items())
        rows.append([code(name), family.type, shown, family.documentation])
    parts.append(table(["name", "type", "labels", "what it says"], rows))
    return "\n\n".join(parts) + "\n"


def errors() -> str:
    parts = [
        NOTE,
        "# Errors",
        "Every error has a WebSocket close code, an HTTP status and an exit code of the command line. A client whose "
        "connection was closed with 4400 to 4499 should not come back until its user or application does something; "
        "with any other code it may come back later.",
    ]
    rows = [
        [
            "&nbsp;" * 4 * depth + code(error.__name__),
            str(error.close_code),
            str(error.http_status),
            str(error.exit_code),
            "no" if 4400 <= error.close_code <= 4499 else "yes",
            (error.__doc__ or "").strip(),
        ]
        for depth, error in tree(CollabError)
    ]
    parts.append(table(["error", "close code", "HTTP", "exit", "come back?", "when"], rows))
    return "\n\n".join(parts) + "\n"


def logs() -> str:
    found = tables()
    record = [[code(name), field.description or ""] for name, field in Record.model_fields.items()]
    parts = [
        NOTE,
        "# Log events",
        "One line, one event. Every line begins with `time` (UTC, ISO 8601), `level` (`debug`, `info`, `warning`, "
        "`error`), `event` and `logger`; the rest are fields of the event. As JSON these are members of one object. "
        "`event` is a fixed text: search for it, count it, alert on it. A new version may add events and fields; what "
        "goes, or gets another name, stands in the changelog. How to read and ship them: [Logs](../howto/logs.md).",
        "Other loggers write to the same place: `hypercorn.error` says at level `info` where the server listens; "
        "`py.warnings` and other libraries are written from level `warning` on. Their `event` is whatever they say. "
        "What `hypercorn.error` and `asyncio` complain of is the event `trouble underneath`. Errors of commands "
        "are sentences on standard error, and no lines of the log.",
        "No line holds a token, a cookie, a secret, a query string, a piece of a document, presence, or the label of a "
        "snapshot: `tests/faults/test_secrets.py` looks for them. Names of rooms and of users, addresses and paths do "
        "appear, where the tables say so.",
        "## Events",
        table(["event", "level", "logger", "fields", "what it means"], found["events"]),
        "## Fields",
        table(["field", "what stands in it"], found["fields"]),
        "## Access log",
        "HTTP requests have none: the proxy in front has one, and `/health` and `/metrics` would fill it. These events "
        "say who came, who went, and who was turned away. One that has the field `suppressed` is written once in ten "
        "seconds for what its text says; the next line has the number of those that were left out.",
        table(["event", "fields", "what it means"], found["access"]),
        "## Audit log",
        "What admins changed over the admin API: in the log as the event `audit`, with the details beside the fields, "
        "and as one JSON object a line in `STORE.audit/audit.jsonl`, where at least the newest "
        f"{KEPT:,} stay. A record:",
        table(["member", "what stands in it"], record),
        "In the log the address is called `client`, as on other lines.",
        table(["`what`", "what was done", "details"], found["changes"]),
        table(["detail", "what stands in it"], found["details"]),
    ]
    return "\n\n".join(parts) + "\n"


def tree(error: type[CollabError], depth: int = 0) -> Iterable[tuple[int, type[CollabError]]]:
    """The errors of `collab.errors` below `error`, in the order they are written in."""
    yield depth, error
    for child in error.__subclasses__():
        if child.__module__ == error.__module__:
            yield from tree(child, depth + 1)


def pages() -> dict[Path, str]:
    """Every generated page: where it is, and what should stand there."""
    made = {"settings": settings(), "cli": commands(), "metrics": metrics(), "errors": errors(), "logs": logs()}
    return {FOLDER / f"{name}.md": text for name, text in made.items()}


def stale() -> list[Path]:
    """The pages that are not what the code says."""
    return [path for path, text in pages().items() if not path.exists() or path.read_text("utf-8") != text]


def main() -> int:
    if "--check" in sys.argv[1:]:
        found = stale()
        for path in found:
            print(f"{path} is not what the code says; run: make docs", file=sys.stderr)
        return 1 if found else 0
    for path, text in pages().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
