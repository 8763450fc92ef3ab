"""ProseMirror JSON as HTML that is safe to show: all is escaped, and only addresses that cannot run code stay."""

from __future__ import annotations

import re
from html import escape
from typing import Any

from .build import checked
from .prosemirror import Node
from .tables import WIDEST, Spare, columns

_BLOCKS = {"paragraph": "p", "blockquote": "blockquote", "bulletList": "ul", "listItem": "li", "tableRow": "tr"}
_MARKS = {
    "bold": "strong", "italic": "em", "strike": "s", "code": "code", "underline": "u",
    "subscript": "sub", "superscript": "sup",
}  # fmt: skip
_SCHEMES = ("http", "https", "mailto", "tel", "ftp")
_CSS = re.compile(r"[#\w\s(),.%-]+")
_NARROW = 25
"""The least width of a column without one, in pixels."""
_ALIGN = ("left", "right", "center", "justify")


def to_html(json: Any) -> str:
    """The document `json` as HTML. What is not known becomes a `div` or a `span` that names it, with its content.

    Raises:
        BadMessage, TooDeep: As `collab.content.build.checked`.
    """
    content, _ = checked(json)
    return _all(content)


def safe_url(url: Any) -> str | None:
    """`url` when following it cannot run code: relative, or of a scheme that is known; else None."""
    if not isinstance(url, str):
        return None
    bare = re.sub(r"[\x00-\x20\x7f-\xa0\u2028\u2029]", "", url)  # browsers skip some of these in a scheme
    scheme = re.match(r"([^/?#]*?):", bare)
    return None if scheme and scheme[1].lower() not in _SCHEMES else url


def _all(nodes: list[Node]) -> str:
    """What stands side by side. A mark that goes on from one node to the next is written once round both."""
    written: list[str] = []
    active: list[dict[str, Any]] = []
    for node in nodes:
        marks = node.get("marks") or []
        same = 0
        while same < min(len(active), len(marks)) and active[same] == marks[same]:
            same += 1
        written += [_mark(mark)[1] for mark in reversed(active[same:])]
        written += [_mark(mark)[0] for mark in marks[same:]]
        written.append(escape(node["text"], quote=False) if node["type"] == "text" else _element(node))
        active = marks
    return "".join(written) + "".join(_mark(mark)[1] for mark in reversed(active))


def _tag(tag: str, attributes: dict[str, Any], content: str | None) -> str:
    written = "".join(f' {key}="{escape(str(value))}"' for key, value in attributes.items() if value is not None)
    return f"<{tag}{written}>" if content is None else f"<{tag}{written}>{content}</{tag}>"


def _element(node: Node) -> str:
    name, attrs = node["type"], node.get("attrs") or {}
    inside = _all(node.get("content") or [])
    align = attrs.get("textAlign")
    style = {"style": f"text-align: {align};"} if align in _ALIGN else {}
    match name:
        case "heading":
            level = attrs.get("level")
            return _tag(f"h{level if level in range(1, 7) else 1}", style, inside)
        case "orderedList":
            start = attrs.get("start")
            return _tag("ol", {"start": start if start != 1 else None, "type": attrs.get("type")}, inside)
        case "codeBlock":
            language = attrs.get("language")
            return _tag("pre", {}, _tag("code", {"class": f"language-{language}" if language else None}, inside))
        case "hardBreak":
            return "<br>"
        case "horizontalRule":
            return "<hr>"
        case "taskList":
            return _tag("ul", {"data-type": "taskList"}, inside)
        case "taskItem":
            done = attrs.get("checked") is True
            box = _tag("input", {"type": "checkbox", "checked": "checked" if done else None}, None)
            content = f"<label>{box}<span></span></label><div>{inside}</div>"
            return _tag("li", {"data-checked": str(done).lower(), "data-type": "taskItem"}, content)
        case "table":
            return _table(node, inside)
        case "tableHeader" | "tableCell":
            spans = {key: attrs[key] for key in ("colspan", "rowspan") if attrs.get(key) not in (None, 1)}
            widths = ",".join(map(str, _widths(attrs))) or None
            return _tag("th" if name == "tableHeader" else "td", {**spans, "colwidth": widths}, inside)
        case "image":
            known = {key: attrs.get(key) for key in ("alt", "title", "width", "height")}
            return _tag("img", {"src": safe_url(attrs.get("src")), **known}, None)
        case "mention":
            sign = str(attrs.get("mentionSuggestionChar") or "@")
            said = {"data-type": "mention", "data-id": attrs.get("id"), "data-label": attrs.get("label")}
            label = str(attrs.get("label") or attrs.get("id") or "")
            return _tag("span", {**said, "data-mention-suggestion-char": sign}, escape(sign + label, quote=False))
    if name in _BLOCKS:
        return _tag(_BLOCKS[name], style, inside)
    return _tag("div", {"data-type": name}, inside)


def _table(node: Node, inside: str) -> str:
    """With its columns' widths, as the first row has them."""
    all_widths: list[int] = []
    rows = node.get("content") or [{}]
    spare = Spare(rows, WIDEST)
    for cell in rows[0].get("content") or []:
        widths = _widths(cell.get("attrs") or {}) or [0]
        all_widths += [*widths, *[0] * spare.take(columns(cell) - len(widths))]
    known = [
        _tag("col", {"style": f"width: {width}px;" if width else f"min-width: {_NARROW}px;"}, None)
        for width in all_widths
    ]
    whole = f"{'width' if all(all_widths) else 'min-width'}: {sum(width or _NARROW for width in all_widths)}px;"
    body = _tag("colgroup", {}, "".join(known)) + _tag("tbody", {}, inside)
    return _tag("table", {"style": whole}, body)


def _widths(attrs: dict[str, Any]) -> list[int]:
    """The widths of the columns of a cell, in pixels."""
    widths = attrs.get("colwidth")
    widths = widths if isinstance(widths, list) else []
    return [width for width in widths if isinstance(width, int) and not isinstance(width, bool) and 0 < width < 100_000]


def _mark(mark: dict[str, Any]) -> tuple[str, str]:
    """The tags before and after what bears `mark`."""
    name, attrs = mark["type"], mark.get("attrs") or {}
    color = attrs.get("color")
    color = color if isinstance(color, str) and _CSS.fullmatch(color) else None
    known: dict[str, Any] = {}
    match name:
        case "link":
            target = "_blank" if attrs.get("target") == "_blank" else None
            tag = "a"
            known = {"target": target, "rel": "noopener noreferrer nofollow", "href": safe_url(attrs.get("href")) or ""}
        case "highlight":
            tag = "mark"
            if color:
                known = {"data-color": color, "style": f"background-color: {_rgb(color)}; color: inherit;"}
        case "textStyle":
            tag = "span"
            known = {"style": f"color: {_rgb(color)};" if color else None}
        case _:
            tag = _MARKS.get(name, "span")
            known = {} if name in _MARKS else {"data-mark": name}
    return _tag(tag, known, None), f"</{tag}>"


def _rgb(color: str) -> str:
    """A colour as browsers write it down."""
    if not re.fullmatch(r"#(?:[0-9a-fA-F]{3}){1,2}", color):
        return color
    digits = color[1:] if len(color) == 7 else "".join(digit * 2 for digit in color[1:])
    return f"rgb({', '.join(str(int(digits[at : at + 2], 16)) for at in (0, 2, 4))})"
