"""Who may import whom (docs/design/architecture.md, "Floors"), read from the imports themselves."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

COLLAB = Path(__file__).parents[1] / "collab"

# From the ground up. What shares a line on one floor stands in one group: there a module may import those to its left.
FLOORS: list[list[list[str]]] = [
    [["errors"]],
    [["wire"], ["limits"], ["fence"], ["settings"], ["metrics"], ["log", "telemetry"]],
    [
        ["peers", "gaps", "changes", "claims", "presence", "replica", "uptake", "room"],
        ["names"],
        ["auth"],
        ["store"],
        ["bus"],
        ["recorder"],
        ["apart"],
        ["vetting"],
    ],
    [
        *(
            ["draft", "recovery", "backup", "bundle", "unpacking"],
            ["migration"],
            ["notes", "deaths", "quarantine", "revoked", "tombs"],
            ["journal"],
        ),
        *(["receipts", "outlet", "seat", "letters"], ["link"]),
    ],
    [["beats", "compactor", "yroom", "opened", "gauges", "hub"]],
    [
        ["transport", "intake", "looks", "decisions", "place", "liveness", "addresses", "farewell", "connection"],
        ["desk", "history"],
        ["content"],
        ["hooks"],
    ],
    [["web", "console", "supervisor", "__init__", "cli", "__main__"]],
]
FLOOR = {name: floor for floor, groups in enumerate(FLOORS) for group in groups for name in group}
GROUP = {name: group for groups in FLOORS for group in groups for name in group}

# Synchronous, no I/O, no clock: values in, values out.
PURE = [
    "room.py",
    "uptake.py",
    "replica.py",
    "peers.py",
    "claims.py",
    "presence.py",
    "gaps.py",
    "changes.py",
    "fence.py",
]
PURE += ["limits.py", "wire/*"]
PURE += [f"auth/{name}.py" for name in ("__init__", "patterns", "keys", "tokens", "revocation", "where")]
PURE += [f"history/{name}.py" for name in ("ranges", "items", "contents", "outline", "alignment", "diff", "reuse")]
PURE += [f"hooks/{name}.py" for name in ("signing", "debounce")]
PURE += [f"history/{name}.py" for name in ("restore", "timeline", "credits", "attribution", "undo", "activity")]
IMPURE = {
    "anyio",
    "asyncio",
    "os",
    "random",
    "select",
    "selectors",
    "socket",
    "subprocess",
    "threading",
    "time",
    "trio",
}

# What knows a driver, so that a change of it is felt in one place.
DRIVERS = {
    "sqlite3": ["store/*"],
    "sqlite_utils": ["store/*"],
    "picows": ["transport/frames.py", "transport/takeover.py"],
    "hypercorn": ["transport/*", "web/*", "cli/serve.py"],
    "starlette": ["web/*"],
    "fastapi": ["web/api/*"],
    "uvloop": ["web/server.py", "cli/serve.py", "supervisor.py"],
    "pycrdt.websocket": ["yroom.py"],
    "pycrdt.store": ["yroom.py"],  # its type is in the signature that is overridden
    "prometheus_client": ["metrics.py"],
    "httpx": ["auth/*", "hooks/delivery.py", "cli/admin.py", "cli/inside.py", "cli/smoke.py"],
    "jwt": ["auth/*"],
    "cryptography": ["auth/keys.py"],
    "structlog": ["log.py"],
    "opentelemetry": ["telemetry/otlp.py"],
    "pydantic": ["settings/*", "web/api/*", "cli/inside.py"],
    "pydantic_settings": ["settings/*"],
    "rich": ["cli/*"],
    "typer": ["cli/*"],
    "click": ["cli/*"],
}

MODULES = sorted(str(path.relative_to(COLLAB)) for path in COLLAB.rglob("*.py"))


def home(module: str) -> str:
    """The name on the floor plan: `store/sqlite.py` is `store`."""
    return module.partition("/")[0].removesuffix(".py")


def imports(module: str) -> Iterator[tuple[str, int]]:
    """Everything that a module imports, wherever in it, as absolute dotted names, with the line."""
    package = ["collab", *module.split("/")[:-1]]
    for node in ast.walk(ast.parse((COLLAB / module).read_text("utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            for alias in node.names:
                yield ".".join([*above, *filter(None, [node.module]), alias.name]), node.lineno


def ours(name: str) -> str | None:
    """The name on the floor plan that an import leads to; None when it leads out of the package."""
    first, _, rest = name.partition(".")
    if first != "collab":
        return None
    part = rest.partition(".")[0]
    return part if part in FLOOR else "__init__"


@pytest.mark.parametrize("module", MODULES)
def test_imports_lead_down(module):
    here = home(module)
    assert here in FLOOR, f"put {here} on a floor (here and in docs/design/architecture.md)"
    for name, line in imports(module):
        there = ours(name)
        if there is None or there == here:
            continue
        if name == "collab.__version__" and FLOOR[here] == len(FLOORS) - 1:
            continue  # the first thing in __init__, there before anything else is imported
        group = GROUP[here]
        left = there in group and group.index(there) < group.index(here)
        assert FLOOR[there] < FLOOR[here] or left, f"{module}:{line} imports {name}, which is not below it"


@pytest.mark.parametrize("module", [module for module in MODULES if any(fnmatch(module, pure) for pure in PURE)])
def test_the_core_does_no_io_and_knows_no_time(module):
    found = {name.partition(".")[0] for name, _ in imports(module)}
    assert found & IMPURE == set()


@pytest.mark.parametrize("driver", DRIVERS)
def test_drivers(driver):
    at = {
        module for module in MODULES for name, _ in imports(module) if name == driver or name.startswith(f"{driver}.")
    }
    assert {module for module in at if not any(fnmatch(module, allowed) for allowed in DRIVERS[driver])} == set()


def test_the_core_is_told_from_its_shell():
    """The patterns above really match something."""
    assert {pure for pure in PURE if not any(fnmatch(module, pure) for module in MODULES)} == set()
