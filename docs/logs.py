"""Finds every line that collab can log, in its sources, and makes the reference page of them.

The sources are read, not imported: a line that is written once a year is found like any other. So an event has to be a
fixed text, and a field a name, where the line is written; anything else is an error here. A method that hands on the
text it is given (`self._failed("room not opened", ...)`) is followed to whoever calls it in its module.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from docs.log_words import ACCESS, CHANGES, DETAILS, EVENTS, FIELDS

COLLAB = Path(__file__).resolve().parents[1] / "collab"
NOT_READ = (Path("log.py"),)
"""The logger itself."""

METHODS = {"debug": "debug", "info": "info", "warning": "warning", "error": "error", "exception": "error"}
LEVELS = ("error", "warning", "info", "debug")
RECEIVERS = ("log", "logger", "_log")
"""What a logger is called wherever it is used."""
SENT_ON = ("details",)
"""What `audit.py` passes on; the calls of its `note` tell what that is."""


class UnreadableLine(Exception):
    """A call of the logger that cannot be put on a page: what to change stands in the text."""


@dataclass
class Event:
    """One event: on which levels, by which loggers and with which fields it is written."""

    name: str
    levels: set[str] = field(default_factory=set)
    loggers: set[str] = field(default_factory=set)
    fields: dict[str, None] = field(default_factory=dict)
    throttled: bool = False

    @property
    def worst(self) -> int:
        return min(LEVELS.index(level) for level in self.levels)


class Source:
    """One module, read.

    Args:
        path: Where it is.
        name: As its logger is called, such as `collab.hub`.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name
        self.tree = ast.parse(path.read_text("utf-8"))
        self.parents = {child: node for node in ast.walk(self.tree) for child in ast.iter_child_nodes(node)}
        self.calls = [node for node in ast.walk(self.tree) if isinstance(node, ast.Call)]
        self.binds = any(
            isinstance(node, ast.ImportFrom)
            and node.module == "log"
            and any(one.name == "Logger" for one in node.names)
            for node in ast.walk(self.tree)
        )
        """Whether the loggers that are attributes here are those of connections, which say whose line it is."""

    def refuse(self, node: ast.AST, why: str) -> UnreadableLine:
        return UnreadableLine(f"{self.path}:{getattr(node, 'lineno', 0)}: {why}")

    def texts(self, node: ast.expr) -> list[str]:
        """The texts that an expression can stand for; a parameter stands for what this module's callers give."""
        match node:
            case ast.Constant(value=str(text)):
                return [text]
            case ast.IfExp(body=one, orelse=other):
                return self.texts(one) + self.texts(other)
            case ast.Name(id=name):
                return [text for given in self._given(node, name) for text in self.texts(given)]
        raise self.refuse(node, f"{ast.unparse(node)} is no fixed text; let what varies be a field")

    def _given(self, node: ast.AST, name: str) -> list[ast.expr]:
        while not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if node not in self.parents:
                raise self.refuse(node, f"{name} is no parameter")
            node = self.parents[node]
        names = [one.arg for one in node.args.args if one.arg != "self"]
        if name not in names:
            raise self.refuse(node, f"{name} is no parameter of {node.name}; give the logger a fixed text")
        callers = [call for call in self.calls if _last(call.func) == node.name]
        found = [call.args[names.index(name)] for call in callers if len(call.args) > names.index(name)]
        if not found or len(found) != len(callers):
            raise self.refuse(node, f"not every call of {node.name} gives its {name} by place")
        return found


def _last(node: ast.expr) -> str:
    """The last part of a dotted name."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def sources(folder: Path = COLLAB) -> Iterator[Source]:
    """Every module below `folder`."""
    for path in sorted(folder.rglob("*.py")):
        inside = path.relative_to(folder)
        if inside not in NOT_READ and "console" not in inside.parts:
            yield Source(path, ".".join(["collab", *inside.with_suffix("").parts]).removesuffix(".__init__"))


def events(found: Iterable[Source] | None = None) -> dict[str, Event]:
    """Every event that can be logged, the worst first.

    Raises:
        UnreadableLine: A call of a logger does not say what it writes.
    """
    known: dict[str, Event] = {}
    for source in sources() if found is None else found:
        for call in source.calls:
            for event in _written(source, call):
                kept = known.setdefault(event.name, event)
                kept.levels |= event.levels
                kept.loggers |= event.loggers
                kept.fields |= event.fields
                kept.throttled |= event.throttled
        _aliases(source)
    return dict(sorted(known.items(), key=lambda item: (item[1].worst, item[0])))


def _written(source: Source, call: ast.Call) -> Iterator[Event]:
    """The events that one call can write."""
    function = call.func
    if not isinstance(function, ast.Attribute):
        return
    receiver, method = _last(function.value), function.attr
    throttled = receiver == "floods" and method == "log"
    said = method == "_say" and source.name == "collab.supervisor"
    if receiver in RECEIVERS and method in METHODS:
        levels, event, extra = [METHODS[method]], call.args[:1], ["exception"] if method == "exception" else []
    elif throttled or (receiver in RECEIVERS and method == "log"):
        levels, event, extra = source.texts(call.args[0]), call.args[1:2], ["suppressed"] if throttled else []
    elif said:
        levels, event, extra = ["error"], call.args[:1], []
    else:
        return
    fields: dict[str, None] = {}
    if isinstance(function.value, ast.Attribute) and source.binds and not throttled:
        fields |= dict.fromkeys(("connection", "client"))
    for keyword in call.keywords:
        if keyword.arg is None:
            if _last(keyword.value) not in SENT_ON:
                raise source.refuse(call, f"**{ast.unparse(keyword.value)} hides the fields; write them out")
        elif keyword.arg != "key":
            fields["exception" if keyword.arg == "exc_info" else keyword.arg] = None
    fields |= dict.fromkeys(extra)
    logger = "collab.hub" if throttled else source.name
    for name in source.texts(event[0]):
        yield Event(name, set(levels), {logger}, dict(fields), throttled)


def _aliases(source: Source) -> None:
    """Raises for a logger's method that is kept for later: nobody could tell what is logged with it."""
    called = {call.func for call in source.calls}
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute) and node.attr in METHODS and node not in called:
            if _last(node.value) in RECEIVERS:
                raise source.refuse(node, f"{ast.unparse(node)} is not called where it stands; call it")


def changes(found: Iterable[Source] | None = None) -> dict[str, list[str]]:
    """What the audit log can tell of: each change with the names of its details.

    Raises:
        UnreadableLine: A record of the audit log does not say what it holds.
    """
    known: dict[str, dict[str, None]] = {}
    for source in sources() if found is None else found:
        for call in source.calls:
            if (
                not isinstance(call.func, ast.Attribute)
                or call.func.attr != "note"
                or _last(call.func.value) != "_audit"
            ):
                continue
            details: dict[str, None] = {"room": None} if len(call.args) > 2 else {}
            for keyword in call.keywords:
                if keyword.arg is None:
                    raise source.refuse(call, f"**{ast.unparse(keyword.value)} hides the details; write them out")
                details[keyword.arg] = None
            for what in source.texts(call.args[1]):
                known[what] = known.get(what, {}) | details
    return {what: list(details) for what, details in sorted(known.items())}


# ---------------------------------------------------------------------- what stands on the page

HEAD = ("time", "level", "event", "logger")
"""What every line begins with: no field may be called so."""


def unexplained(known: dict[str, Event], done: dict[str, list[str]]) -> list[str]:
    """What has no words in `log_words`, and words there that nothing has."""
    fields = {name for event in known.values() for name in event.fields}
    details = {name for names in done.values() for name in names}
    pairs = [(known, EVENTS), (fields, FIELDS), (done, CHANGES), (details, DETAILS)]
    problems = [f"nothing says what {name!r} means" for found, words in pairs for name in found if name not in words]
    problems += [f"nothing logs {name!r}" for found, words in pairs for name in words if name not in found]
    problems += [f"nothing logs {name!r}" for name in ACCESS if name not in known]
    problems += [f"a field must not be called {name!r}" for name in sorted((fields | details) & set(HEAD))]
    return problems


def tables() -> dict[str, list[list[str]]]:
    """What the page shows, row by row: `events`, `access`, `fields`, `changes`, `details`.

    Raises:
        UnreadableLine: The code logs what nothing here explains, or the other way round.
    """
    known, done = events(), changes()
    if problems := unexplained(known, done):
        raise UnreadableLine("docs/log_words.py: " + "; ".join(problems))
    used: dict[str, list[str]] = {}
    for name, event in known.items():
        for one in event.fields:
            used.setdefault(one, []).append(name)
    return {
        "events": [_row(event) for event in known.values()],
        "access": [[_code([name]), _code(known[name].fields), EVENTS[name]] for name in ACCESS],
        "fields": [[_code([name]), FIELDS[name]] for name in sorted(used)],
        "changes": [[_code([what]), CHANGES[what], _code(names)] for what, names in done.items()],
        "details": [
            [_code([name]), DETAILS[name]] for name in sorted({name for names in done.values() for name in names})
        ],
    }


def _row(event: Event) -> list[str]:
    levels = " or ".join(level for level in LEVELS if level in event.levels)
    return [_code([event.name]), levels, _code(sorted(event.loggers)), _code(event.fields), EVENTS[event.name]]


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
