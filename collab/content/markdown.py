"""ProseMirror JSON as Markdown: CommonMark with the tables, tasks and strikethrough of GitHub (GFM).

What Markdown has no sign for is written as HTML tags (`<u>`), which it allows, and so is emphasis where the signs would
not be read as such: in the middle of a word beside punctuation, or where several meet. Other formatting is left out.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from .build import checked
from .html import safe_url
from .marks import rank
from .prosemirror import Node
from .tables import Spare, columns

_TAGS = {
    "bold": "strong", "italic": "em", "strike": "del", "underline": "u",
    "subscript": "sub", "superscript": "sup", "highlight": "mark",
}  # fmt: skip
_SIGNS = {"bold": ("**",), "italic": ("*", "_"), "strike": ("~~",)}
_LISTS = ("bulletList", "orderedList", "taskList")
_INLINE = ("text", "hardBreak", "mention", "image", "embed")
_HARD_BREAK = "\\\n"
_LARGEST_NUMBER = 999_999_999


def to_markdown(json: Any) -> str:
    """The document `json` as Markdown, without a line end at its end. Of what is not known, the content.

    Empty paragraphs vanish, as Markdown has none.

    Raises:
        BadMessage, TooDeep: As `collab.content.build.checked`.
    """
    content, _ = checked(json)
    return "\n\n".join(_blocks(content))


# -------------------------------------------------------------------------------------------------- blocks


def _blocks(nodes: list[Node]) -> list[str]:
    found: list[str] = []
    line: list[Node] = []
    last = ("", 0)
    for node in [*nodes, None]:
        if node is not None and node["type"] in _INLINE:
            line.append(node)
            continue
        if line:
            found += filter(None, [_line(line)])
            line, last = [], ("", 0)
        if node is None:
            break
        if node["type"] in _LISTS:
            # Two lists in a row would be read as one, were it not for their markers.
            kind = "orderedList" if node["type"] == "orderedList" else "bulletList"
            last = (kind, 1 - last[1] if last[0] == kind else 0)
            found += filter(None, [_list(node, last[1])])
            continue
        written = _block(node)
        if written:
            found.append(written)
            last = ("", 0)
    return found


def _block(node: Node) -> str:
    content, attrs = node.get("content") or [], node.get("attrs") or {}
    match node["type"]:
        case "heading":
            level = attrs.get("level")
            text = _line(content, hard_break=" ")
            marks = "#" * (level if isinstance(level, int) and level in range(1, 7) else 1)
            return f"{marks} {text[:-1]}\\#" if text.endswith("#") else f"{marks} {text}".rstrip()
        case "codeBlock":
            text = _plain(content)
            fence = "`" * max(3, _longest_run(text) + 1)
            language = re.sub(r"[`\s]", "", str(attrs.get("language") or ""))
            return f"{fence}{language}\n{text}\n{fence}"
        case "horizontalRule":
            return "___"  # three hyphens would make a heading of a line before, and a rule of a list's marker
        case "blockquote":
            return _prefixed("> ", "> ", "\n\n".join(_blocks(content)))
        case "table":
            return _table(content)
    return "\n\n".join(_blocks(content))


def _plain(nodes: list[Node]) -> str:
    text = "".join(node["text"] if node["type"] == "text" else "\n" for node in nodes)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _longest_run(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)


def _prefixed(first: str, others: str, text: str) -> str:
    lines = text.split("\n")
    return "\n".join(f"{others if nth else first}{line}".rstrip(" ") for nth, line in enumerate(lines))


def _list(node: Node, variant: int) -> str:
    items = node.get("content") or []
    start = (node.get("attrs") or {}).get("start")
    start = start if isinstance(start, int) and 0 <= start <= _LARGEST_NUMBER else 1
    gap = "\n" if all(map(_is_tight, items)) else "\n\n"
    texts = [gap.join(_item(node, item)) for item in items]
    if node["type"] == "orderedList":
        markers = [f"{min(start + nth, _LARGEST_NUMBER)}{').'[not variant]}" for nth in range(len(items))]
    else:
        # Nothing but hyphens in a line, as of empty lists in each other, is a rule.
        ruled = any(re.match(r"[-*][-* ]*(?:\n|$)", text) for text in texts)
        markers = ["+" if ruled else "-*"[variant]] * len(items)
    pairs = zip(markers, texts, strict=True)
    return gap.join(_prefixed(f"{marker} ", " " * (len(marker) + 1), text) for marker, text in pairs)


def _item(parent: Node, item: Node) -> list[str]:
    blocks = _blocks(item.get("content") or [])
    if parent["type"] == "taskList":
        box = "[x]" if (item.get("attrs") or {}).get("checked") is True else "[ ]"
        if _begins_with_text(item):
            blocks[0] = f"{box} {blocks[0]}"
        else:
            blocks.insert(0, box)
    return blocks


def _begins_with_text(item: Node) -> bool:
    content = item.get("content") or []
    return (
        bool(content)
        and (content[0]["type"] == "paragraph" or content[0]["type"] in _INLINE)
        and bool(_blocks(content[:1]))
    )


def _is_tight(item: Node) -> bool:
    """Whether a list item can do without empty lines: a paragraph, and lists that may follow it at once."""
    content = item.get("content") or []
    if not content:
        return True
    if content[0]["type"] != "paragraph" or not _begins_with_text(item):
        return False
    for node in content[1:]:
        items = node.get("content") or []
        if node["type"] not in _LISTS or not items or not _begins_with_text(items[0]) or len(content) > 2:
            return False
        if node["type"] == "orderedList" and (node.get("attrs") or {}).get("start", 1) != 1:
            return False
        if not all(map(_is_tight, items)):
            return False
    return True


def _table(rows: list[Node]) -> str:
    spare = Spare(rows)
    table = [[cell for node in row.get("content") or [] for cell in _cells(node, spare)] for row in rows]
    width = max(map(len, table), default=0)
    if not width:
        return ""
    first = rows[0].get("content") or []
    if not any(cell["type"] == "tableHeader" for cell in first):
        table.insert(0, [])
    head, *body = table
    lines = [[*head, *[""] * (width - len(head))], ["---"] * width]
    lines += [[*row, *[""] * spare.take(width - len(row))] for row in body]  # GFM fills up what stays short
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cells(cell: Node, spare: Spare) -> list[str]:
    """What a cell says, with empty ones for the columns that it covers besides its own."""
    blocks = _blocks(cell.get("content") or [])
    text = "<br>".join(blocks).replace(_HARD_BREAK, "<br>").replace("\n", "<br>")
    return [re.sub(r"(?<!\\)\|", r"\\|", text), *[""] * spare.take(columns(cell) - 1)]


# -------------------------------------------------------------------------------------------------- in a line


@dataclass(slots=True)
class _Piece:
    """A part of a line: the text it shows, or the beginning or end of a mark.

    Args:
        text: What is written.
        sides: What the first and the last character are: `w`hite, `p`unctuation, `u`ncertain, or a letter (`a`).
        mark: The name of a mark whose sign is still to be chosen.
        opens: Whether the mark begins here.
        partner: The other end of the mark.
    """

    text: str
    sides: str
    mark: str = ""
    opens: bool = False
    partner: int = -1


def _line(nodes: list[Node], *, hard_break: str = _HARD_BREAK) -> str:
    pieces = _pieces(_leaves(nodes), hard_break)
    for place, piece in enumerate(pieces):
        if piece.mark and piece.opens:
            close = pieces[piece.partner]
            piece.text, close.text = _sign(pieces, place, piece.partner)
    text = "".join(piece.text for piece in pieces)
    while text.endswith(_HARD_BREAK):
        text = text.removesuffix(_HARD_BREAK)
    return "\n".join(line.strip(" \t") for line in text.split("\n"))


def _leaves(nodes: list[Node]) -> list[Node]:
    """The nodes of a line, with the white space at the edges of emphasis outside of it, where it has to be."""
    leaves: list[Node] = []
    names = [{mark["type"] for mark in node.get("marks") or []} for node in nodes]
    for nth, node in enumerate(nodes):
        if node["type"] != "text" or "code" in names[nth]:
            leaves.append(node)
            continue
        before = names[nth - 1] if nth else set()
        after = names[nth + 1] if nth + 1 < len(nodes) else set()
        text = node["text"]
        core = text.strip()
        lead = text[: len(text) - len(text.lstrip())]
        trail = text[len(lead) + len(core) :]
        for part, kept in ((lead, before if core else before & after), (core, names[nth]), (trail, after)):
            if part:
                marks = [m for m in node.get("marks") or [] if m["type"] not in _SIGNS or m["type"] in kept]
                leaves.append({"type": "text", "text": part, "marks": marks})
    return leaves


def _pieces(leaves: list[Node], hard_break: str) -> list[_Piece]:
    pieces: list[_Piece] = []
    stack: list[tuple[str, str, int]] = []  # what is open: mark, address, place
    sets = [_marks(leaf) for leaf in leaves]

    def close() -> None:
        name, address, place = stack.pop()
        pieces[place].partner = len(pieces)
        pieces.append(_Piece(f"]({address})" if name == "link" else "", "pp", "" if name == "link" else name))

    for nth, leaf in enumerate(leaves):
        wanted = sets[nth]
        while any((name, address) not in wanted for name, address, _ in stack):
            close()
        new = [mark for mark in wanted if mark not in [(name, address) for name, address, _ in stack]]
        new.sort(key=lambda mark: (mark[0] != "link", -_run(sets, nth, mark), rank(mark[0])))
        for name, address in new:
            stack.append((name, address, len(pieces)))
            if name == "link":
                if pieces and pieces[-1].text.endswith("!"):
                    pieces[-1].text = pieces[-1].text[:-1] + "\\!"
                pieces.append(_Piece("[", "pp"))
            else:
                pieces.append(_Piece("", "pp", name, opens=True))
        starts = not pieces or pieces[-1].text.endswith("\n")
        _add(pieces, leaf, hard_break, starts)
    while stack:
        close()
    return pieces


def _marks(leaf: Node) -> list[tuple[str, str]]:
    found = []
    for mark in leaf.get("marks") or []:
        attrs = mark.get("attrs") or {}
        if mark["type"] == "link":
            url = safe_url(attrs.get("href"))
            found += [("link", _address(url, attrs.get("title")))] if url is not None else []
        elif mark["type"] in _TAGS:
            found.append((mark["type"], ""))
    return list(dict.fromkeys(found))


def _run(sets: list[list[tuple[str, str]]], at: int, mark: tuple[str, str]) -> int:
    end = at
    while end < len(sets) and mark in sets[end] and end - at < 100:
        end += 1
    return end


def _add(pieces: list[_Piece], leaf: Node, hard_break: str, starts: bool) -> None:
    attrs = leaf.get("attrs") or {}
    match leaf["type"]:
        case "text":
            text = re.sub(r"\s*[\r\n]+\s*", " ", leaf["text"])
            if starts and not text.strip():
                return
            if any(mark["type"] == "code" for mark in leaf.get("marks") or []):
                _add_code(pieces, text)
            else:
                pieces.append(_Piece(_escaped(text, starts), _side(text[:1]) + _side(text[-1:])))
        case "hardBreak":
            pieces.append(_Piece(hard_break, "pw" if hard_break == _HARD_BREAK else "ww"))
        case "mention":
            label = re.sub(r"\s+", " ", str(attrs.get("label") or attrs.get("id") or ""))
            pieces.append(_Piece("@" + _escaped(label, False), "p" + _side(label[-1:] or "@")))
        case "image":
            alt, url = _escaped(re.sub(r"\s+", " ", str(attrs.get("alt") or "")), False), safe_url(attrs.get("src"))
            if url is not None:
                pieces.append(_Piece(f"![{alt}]({_address(url, attrs.get('title'))})", "pp"))
            elif alt:
                pieces.append(_Piece(alt, "uu"))


def _add_code(pieces: list[_Piece], text: str) -> None:
    if pieces and pieces[-1].text.endswith("`") and not pieces[-1].mark and pieces[-1].sides == "cc":
        text = _code_inside(pieces.pop().text) + text  # two in a row would not be read as two
    fence = "`" * (_longest_run(text) + 1)
    padded = text[:1] == "`" or text[-1:] == "`" or (text[:1] == text[-1:] == " " and text.strip(" ") != "")
    pieces.append(_Piece(f"{fence} {text} {fence}" if padded else f"{fence}{text}{fence}", "cc"))


def _code_inside(code: str) -> str:
    fence = len(code) - len(code.lstrip("`"))
    inside = code[fence:-fence]
    return inside[1:-1] if inside[:1] == inside[-1:] == " " and inside.strip(" ") else inside


def _escaped(text: str, starts: bool) -> str:
    """`text`, where nothing is read as a sign. `starts`: it stands at the beginning of a line."""
    text = text.lstrip() if starts else text
    text = re.sub(r"([\\`*_\[\]<~|])", r"\\\1", text)
    text = re.sub(r"&(?=[#\w])", r"\\&", text)
    if starts:
        text = re.sub(r"^(#(?=#{0,5}(?:\s|$))|>|[-+=:](?=[-+=|:\s]|\\|$))", r"\\\1", text)
        text = re.sub(r"^([0-9]{1,9})([.)])(?=\s|$)", r"\1\\\2", text)
    return text


def _address(url: str, title: Any) -> str:
    bare = re.sub(r"[\x00-\x20\x7f-\xa0<>`\u2028\u2029]", lambda found: quote(found[0]), url)
    written = re.sub(r"([\\()&])", r"\\\1", bare) or "<>"
    if not isinstance(title, str) or not title:
        return written
    said = re.sub(r"([\\\"&`<])", r"\\\1", re.sub(r"\s+", " ", title))
    return f'{written} "{said}"'


def _side(character: str) -> str:
    """What a character is to emphasis. Versions of CommonMark disagree about symbols beyond ASCII."""
    if not character or character.isspace():
        return "w"
    kind = unicodedata.category(character)[0]
    if character.isascii():
        return "p" if kind in "PS" else "a"
    return {"P": "p", "S": "u", "Z": "w", "C": "u"}.get(kind, "a")


def _sign(pieces: list[_Piece], start: int, end: int) -> tuple[str, str]:
    """How the mark from `start` to `end` is written at both."""
    name = pieces[start].mark
    tags = (f"<{_TAGS[name]}>", f"</{_TAGS[name]}>")
    around = [pieces[place] if 0 <= place < len(pieces) else None for place in (start - 1, start + 1, end - 1, end + 1)]
    before, first, last, after = around
    sides = (
        before.sides[1] if before else "w",
        first.sides[0] if first else "w",
        last.sides[1] if last else "w",
        after.sides[0] if after else "w",
    )
    for sign in _SIGNS.get(name, ()):
        others = "bold" if name == "italic" else "italic"
        if sign == "*" and any(piece is not None and piece.mark == others for piece in around):
            continue  # in a row of asterisks nobody can tell which are whose
        opens = _can(sides[0], sides[1], word=sign == "_")
        closes = _can(sides[3], sides[2], word=sign == "_")
        if opens and closes and end > start + 1:
            return sign, sign
    return tags


def _can(outside: str, inside: str, *, word: bool) -> bool:
    """Whether a sign between these two is read as one (CommonMark 6.2); with `word` never within a word."""
    if inside == "w":
        return False
    if inside != "a" and outside not in "wpc":
        return False
    return not word or outside in "wpc"
