"""ProseMirror JSON as plain text: blocks with an empty line between them, lists with their markers."""

from __future__ import annotations

from typing import Any

from .build import checked
from .prosemirror import Node

_INLINE = ("text", "hardBreak", "mention", "image", "embed")


def to_text(json: Any) -> str:
    """The document `json` as text. Of what is not known, the content.

    Raises:
        BadMessage, TooDeep: As `collab.content.build.checked`.
    """
    content, _ = checked(json)
    return "\n\n".join(_blocks(content))


def _blocks(nodes: list[Node]) -> list[str]:
    found: list[str] = []
    line = ""
    for node in nodes:
        if node["type"] in _INLINE:
            line += _inline(node)
            continue
        if line:
            found.append(line)
            line = ""
        found.append(_block(node))
    return [*found, line] if line else found


def _inline(node: Node) -> str:
    attrs = node.get("attrs") or {}
    match node["type"]:
        case "text":
            return str(node["text"])
        case "hardBreak":
            return "\n"
        case "mention":
            return f"@{attrs.get('label') or attrs.get('id') or ''}"
        case "image":
            return str(attrs.get("alt") or "")
    return ""


def _block(node: Node) -> str:
    content = node.get("content") or []
    match node["type"]:
        case "horizontalRule":
            return "---"
        case "bulletList" | "orderedList" | "taskList":
            return "\n".join(_item(node, nth, item) for nth, item in enumerate(content))
        case "table":
            return "\n".join(_block(row) for row in content)
        case "tableRow":
            return "\t".join(" ".join(_blocks(cell.get("content") or [])).replace("\n", " ") for cell in content)
        case "blockquote":
            return _indented("> ", "> ", "\n\n".join(_blocks(content)))
    inside = _blocks(content)
    return "\n\n".join(inside)


def _item(parent: Node, nth: int, item: Node) -> str:
    marker = "- "
    if parent["type"] == "orderedList":
        start = (parent.get("attrs") or {}).get("start")
        marker = f"{(start if isinstance(start, int) else 1) + nth}. "
    elif parent["type"] == "taskList":
        marker = "[x] " if (item.get("attrs") or {}).get("checked") is True else "[ ] "
    return _indented(marker, " " * len(marker), "\n".join(_blocks(item.get("content") or [])))


def _indented(first: str, next_: str, text: str) -> str:
    lines = text.split("\n")
    return "\n".join((f"{next_ if nth else first}{line}").rstrip() for nth, line in enumerate(lines))
