"""What an edit of a whole document is as one update: computed on a document of its own, to be applied to the live one.

Merging another document's bytes replaces nothing; what is to stand there is written as an editor would write it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from pycrdt import Doc, Text, TransactionEvent

from ..errors import BadMessage, BadUpdate, Conflict, TooDeep
from ..fence import fenced
from ..wire import vet
from ..wire.nesting import MAX_NESTING, Nesting
from . import build
from .formats import Format, written
from .plain import to_json
from .prosemirror import MAX_DEPTH, find_field, has_xml, to_prosemirror

TEXT_FIELD = "text"
"""The root that plain text goes to in a document that has none."""


def noted(doc: Doc[Any], call: Callable[[], None]) -> bytes:
    """What `call` changes in `doc`, as one update.

    Raises:
        Panic: The document library failed.
    """
    seen: list[bytes] = []

    def changed(event: TransactionEvent) -> None:
        seen.append(event.update)

    subscription = doc.observe(changed)
    try:
        fenced(call)
    finally:
        doc.unobserve(subscription)
    return seen[0] if seen else vet.EMPTY


def loaded(state: bytes) -> Doc[Any]:
    """The document of a full state."""
    doc: Doc[Any] = Doc()
    if state != vet.EMPTY:
        fenced(doc.apply_update, state)
    return doc


def of_state(state: bytes, format: Format, field: str | None = None) -> bytes:
    """A full state in a format (`formats.written`)."""
    return written(loaded(state), format, field)


def replacing(state: bytes, format: Format, body: bytes, field: str | None = None) -> bytes:
    """The update that puts what `body` holds in the place of what stands in one root of the document `state`.

    Args:
        state: The document, as one update.
        format: What `body` is: `yjs` (then its XML is written anew), `prosemirror` or `text`.
        body: The new content.
        field: The root; None for the one that is there.

    Raises:
        BadMessage: It is not of that format.
        Conflict: The root holds something else.
        TooDeep: It nests too deep.
        Panic: The document library failed.
    """
    doc = loaded(state)
    if format is Format.text:
        return _write_text(doc, _as_text(body), field, append=False)
    found: dict[str, Any]
    if format is Format.yjs:
        found, field = as_prosemirror(body, field)
    else:
        found = as_json(body)
    return _write(doc, build.replace, found, field)


def appending(state: bytes, format: Format, body: bytes, field: str | None = None) -> bytes:
    """The update that puts what `body` holds (`prosemirror` or `text`) behind what stands there. Otherwise as above."""
    doc = loaded(state)
    if format is Format.text:
        return _write_text(doc, _as_text(body), field, append=True)
    return _write(doc, build.append, as_json(body), field)


def merge(doc: Doc[Any], update: bytes) -> bytes:
    """`update`, once it is merged into `doc`; an empty update when it has nothing new.

    Raises:
        BadUpdate: It is none, or builds on what is not there.
        Panic: The document library failed.
    """
    if vet.parse(update).missing(vet.parse_state_vector(fenced(doc.get_state))):
        raise BadUpdate("this update builds on something that the room does not have: export the whole document")
    return vet.EMPTY if noted(doc, lambda: doc.apply_update(update)) == vet.EMPTY else update


def as_json(body: bytes) -> Any:
    """What stands in a body that should be JSON.

    Raises:
        BadMessage: It is not.
        TooDeep: It nests too deep to be read.
    """
    try:
        return json.loads(body.decode("utf-8-sig"), parse_constant=_never)
    except RecursionError:
        raise TooDeep("its nodes", MAX_DEPTH) from None
    except ValueError:
        raise BadMessage("the body is not JSON in UTF-8") from None


def _never(_: str) -> None:
    raise ValueError  # NaN and Infinity are no JSON


def _as_text(body: bytes) -> str:
    try:
        return body.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError:
        raise BadMessage("the body is not text in UTF-8") from None


def as_prosemirror(update: bytes, field: str | None) -> tuple[dict[str, Any], str]:
    """What an update holds, to be written anew (what merges does not replace), and its root.

    Raises:
        BadMessage: It is no update, or holds more than XML in one root.
        TooDeep: It nests too deep.
        Panic: The document library failed.
    """
    if vet.parse(update).types and not Nesting().admit(update, {}, lambda: update):
        raise TooDeep("its shared types", MAX_NESTING)
    doc = loaded(update)
    field = field or find_field(doc)
    others = [name for name, content in to_json(doc).items() if content is not None and name != field]
    if others or not fenced(has_xml, doc, field):
        raise BadMessage(
            f"only XML in one root can replace: this update has {', '.join(map(repr, others)) or 'none'} "
            f"beside {field!r}; merge it (append), or put it into another room"
        )
    return to_prosemirror(doc, field), field


def _write(doc: Doc[Any], how: Callable[[Doc[Any], Any, str], None], found: dict[str, Any], field: str | None) -> bytes:
    build.checked(found)  # outside of the fence, which knows nothing of bad input
    field = field or find_field(doc)
    if not fenced(has_xml, doc, field) and to_json(doc).get(field) is not None:
        raise Conflict(f"root {field!r} of the document holds no XML: name another one")
    return noted(doc, lambda: how(doc, found, field))


def _write_text(doc: Doc[Any], text: str, field: str | None, *, append: bool) -> bytes:
    roots = to_json(doc)
    if field is None:
        texts = [name for name, content in roots.items() if isinstance(content, str)]
        if len(texts) > 1:
            raise Conflict(f"the document has several roots with text ({', '.join(map(repr, texts))}): name one")
        field = texts[0] if texts else TEXT_FIELD
    if not isinstance(roots.get(field), str | None) or fenced(has_xml, doc, field):
        raise Conflict(f"root {field!r} of the document holds no plain text: name another one, or another format")
    root = doc.get(field, type=Text)

    def write() -> None:
        with doc.transaction():
            old = str(root)
            if append:
                root.insert(len(root), text)
                return
            if not all(isinstance(part, str) for part, _ in root.diff()):  # what is no text has a place, too
                del root[0 : len(root)]
                old = ""
            start, end = _common(old, text)
            at = len(old[:start].encode())  # yrs counts in bytes
            if gone := len(old[start : len(old) - end].encode()):
                del root[at : at + gone]
            if new := text[start : len(text) - end]:
                root.insert(at, new)

    return noted(doc, write)


def _common(old: str, new: str) -> tuple[int, int]:
    """How many characters two texts have in common at their beginning, and then at their end: these are left alone."""
    most = min(len(old), len(new))
    start = next((n for n in range(most) if old[n] != new[n]), most)
    most -= start
    end = next((n for n in range(most) if old[-1 - n] != new[-1 - n]), most)
    return start, end
