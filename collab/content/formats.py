"""A document in each of the formats that it can be read in."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Any

from pycrdt import Doc

from ..fence import fenced
from .html import to_html
from .markdown import to_markdown
from .plain import to_json
from .prosemirror import to_prosemirror
from .text import to_text


class Format(StrEnum):
    """How a document is written."""

    yjs = "yjs"
    json = "json"
    prosemirror = "prosemirror"
    html = "html"
    text = "text"
    markdown = "markdown"


def written(doc: Doc[Any], format: Format, field: str | None = None) -> bytes:
    """The document in this format: text ends with a line feed.

    Args:
        doc: The document.
        format: For `yjs` and `json` the whole document, for all others one root.
        field: That root; None for the one that holds the text.

    Raises:
        BadMessage, TooDeep: It cannot be written so.
        Panic: The document library could not read it.
    """
    match format:
        case Format.yjs:
            return fenced(doc.get_update)
        case Format.html:
            text = to_html(to_prosemirror(doc, field))
        case Format.markdown:
            text = to_markdown(to_prosemirror(doc, field))
        case Format.text:
            text = _text(doc, field)
        case Format.json | Format.prosemirror:
            found = to_json(doc) if format is Format.json else to_prosemirror(doc, field)
            text = json.dumps(found, ensure_ascii=False, indent=2)
    return text.encode() + b"\n"


def _text(doc: Doc[Any], field: str | None) -> str:
    """The text of a root; for a document without XML all the roots that are plain text."""
    roots = to_json(doc)
    plain = [text for name, text in roots.items() if isinstance(text, str) and field in (None, name)]
    whole = to_prosemirror(doc, field)
    return to_text(whole) if "content" in whole else "\n\n".join(plain)
