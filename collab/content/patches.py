"""Small edits of maps, arrays and texts, told in JSON: all of them in one transaction, or none.

A path leads from a root by keys and indices to a shared type. What is put there is a plain value: an object in it is no
map of its own. Places in a text are counted in characters (Unicode code points), whatever editors count in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pycrdt import Array, Doc, Map, Text, XmlText

from ..errors import BadMessage, Conflict
from ..fence import fenced
from .build import check_values
from .edits import loaded, noted
from .plain import to_json
from .prosemirror import has_xml

Path = list[str | int]


@dataclass(frozen=True, slots=True)
class MapSet:
    """Set a key of a map."""

    op: Literal["map.set"]
    path: Path
    key: str
    value: Any


@dataclass(frozen=True, slots=True)
class MapDelete:
    """Take a key out of a map."""

    op: Literal["map.delete"]
    path: Path
    key: str


@dataclass(frozen=True, slots=True)
class ArrayInsert:
    """Put values into an array, before what stands at `index`."""

    op: Literal["array.insert"]
    path: Path
    index: int
    values: list[Any]


@dataclass(frozen=True, slots=True)
class ArrayDelete:
    """Take `count` values out of an array, from `index` on."""

    op: Literal["array.delete"]
    path: Path
    index: int
    count: int


@dataclass(frozen=True, slots=True)
class TextInsert:
    """Put text into a text, before the character at `index`."""

    op: Literal["text.insert"]
    path: Path
    index: int
    text: str


@dataclass(frozen=True, slots=True)
class TextDelete:
    """Take `count` characters out of a text, from `index` on."""

    op: Literal["text.delete"]
    path: Path
    index: int
    count: int


Operation = MapSet | MapDelete | ArrayInsert | ArrayDelete | TextInsert | TextDelete
ROOTS: dict[str, type[Any]] = {"map": Map, "array": Array, "text": Text}
PLAIN: dict[str, type[Any]] = {"map": dict, "array": list, "text": str}


def patching(state: bytes, operations: Sequence[Operation]) -> bytes:
    """The update that does all `operations`, one after the other, in the document `state`.

    Raises:
        BadMessage: One of them is malformed, or means a place that is not there; the text says which one.
        Conflict: A path leads to something of another kind.
        Panic: The document library failed.
    """
    for number, operation in enumerate(operations):
        if not operation.path or not isinstance(operation.path[0], str) or not operation.path[0]:
            raise BadMessage(f"operation {number}: its path should begin with the name of a root")
        values = {
            "path": operation.path,
            "value": getattr(operation, "value", None),
            "values": getattr(operation, "values", None),
            "text": getattr(operation, "text", None),
            "key": getattr(operation, "key", None),
        }
        check_values(values)
    doc = loaded(state)
    roots = {name: content for name, content in to_json(doc).items() if content is not None}
    wrong: list[BadMessage | Conflict] = []

    def write() -> None:
        with doc.transaction():
            for number, operation in enumerate(operations):
                try:
                    _apply(_found(doc, roots, operation), operation)
                except (BadMessage, Conflict) as error:  # the fence takes whatever passes it for the library's failure
                    wrong.append(type(error)(f"operation {number}: {error}"))
                    return

    update = noted(doc, write)
    if wrong:
        raise wrong[0]
    return update


def _found(doc: Doc[Any], roots: dict[str, Any], operation: Operation) -> Any:
    """The shared type that an operation is about."""
    kind = operation.op.partition(".")[0]
    root, *steps = operation.path
    assert isinstance(root, str)
    first = kind if not steps else "map" if isinstance(steps[0], str) else "array"
    if root in roots and (not isinstance(roots[root], PLAIN[first]) or fenced(has_xml, doc, root)):
        raise Conflict(f"root {root!r} holds no {first}")
    here: Any = doc.get(root, type=ROOTS[first])
    for step in steps:
        if isinstance(step, str):
            if not isinstance(here, Map) or step not in here:
                raise BadMessage(f"its path leads nowhere at {step!r}")
        elif not isinstance(here, Array) or not 0 <= step < len(here):
            raise BadMessage(f"its path leads nowhere at {step}")
        here = here[step]
    if not isinstance(here, (Text, XmlText) if kind == "text" else ROOTS[kind]):
        raise Conflict(f"its path leads to no {kind} that is shared")
    return here


def _apply(here: Any, operation: Operation) -> None:
    match operation:
        case MapSet():
            here[operation.key] = operation.value
        case MapDelete():
            if operation.key not in here:
                raise BadMessage(f"there is no key {operation.key!r}")
            del here[operation.key]
        case ArrayInsert():
            _check(operation.index, 0, len(here))
            for offset, value in enumerate(operation.values):
                here.insert(operation.index + offset, value)
        case ArrayDelete():
            _check(operation.index, operation.count, len(here))
            if operation.count:
                del here[operation.index : operation.index + operation.count]
        case TextInsert():
            places = _places(here)
            _check(operation.index, 0, len(places) - 1)
            if operation.text:
                here.insert(places[operation.index], operation.text)
        case TextDelete():
            places = _places(here)
            _check(operation.index, operation.count, len(places) - 1)
            if operation.count:
                del here[places[operation.index] : places[operation.index + operation.count]]


def _check(index: int, count: int, length: int) -> None:
    if not (0 <= index and 0 <= count and index + count <= length):
        raise BadMessage(f"{index} and {count} lie outside of a length of {length}")


def _places(text: Text | XmlText) -> list[int]:
    """Where each character begins, as yrs counts: in bytes. What stands in a text and is none, has one place."""
    places = [0]
    for part, _ in text.diff():
        for size in map(len, map(str.encode, part)) if isinstance(part, str) else (1,):
            places.append(places[-1] + size)
    return places
