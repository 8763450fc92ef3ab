"""What differs between two states: their texts first, the shared types with all they hold after it.

What is compared is what can be seen (`outline.py`), not who wrote it or under which id: a text that was deleted and
came back is no difference. The result is JSON, and says enough to turn the one state into the other (`apply`).

    {"text": {root: [{"keep": 5}, {"delete": "old"}, {"insert": "new"}, ...]},
     "nodes": {root: delta}}
    delta = {"keys": {key: {"from": value | null, "to": value | null} | {"change": delta}},
             "content": [{"keep": 5}, {"keep": 2, "marks": {...}}, {"delete": [part, ...]}, {"insert": [part, ...]},
                         {"change": delta}, ...]}

Lengths count characters (code points) of text; any other part counts one. A root whose text is the same is not under
"text", one in which nothing changed is not under "nodes".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from .alignment import Block, aligned
from .items import Layer
from .outline import Outline, append, outline, same

Delta = dict[str, Any]
Part = dict[str, Any]

_COARSE = re.compile(r"[^\n.!?]*[\n.!?]+\s*|[^\n.!?]+")
_FINE = re.compile(r"\w+|\W")


def diff(before: bytes, after: bytes) -> Delta:
    """What has to change in the state `before` so that it shows what `after` shows.

    Raises:
        BadMessage: One of them is no well-formed update.
        TooDeep: Types in one of them nest too deep to be compared.
    """
    return compare(*(outline(Layer.of(state)) for state in (before, after)))


def compare(before: dict[str, Outline], after: dict[str, Outline]) -> Delta:
    """The same, of two documents as JSON."""
    texts: dict[str, Any] = {}
    nodes: dict[str, Any] = {}
    for name in sorted({*before, *after}):
        old, new = before.get(name, {}), after.get(name, {})
        if same(old, new):
            continue
        nodes[name] = _delta(old, new)
        old_text, new_text = text_of(old), text_of(new)
        if old_text != new_text:
            texts[name] = _text_ops(old_text, new_text)
    return {"text": texts, "nodes": nodes}


def text_of(root: Outline) -> str:
    """The text in a shared type and in those that it holds; what begins a new block begins a new line."""
    out: list[str] = []
    waiting: list[Any] = [root]
    while waiting:
        node = waiting.pop()
        if isinstance(node, str):
            out.append(node)
            continue
        parts: list[Any] = []
        for part in node.get("content", ()):
            if "text" in part:
                parts.append(part["text"])
            elif "node" in part:
                if part["node"]["type"] == "element" and (parts or out):
                    parts.append("\n")
                parts.append(part["node"])
        waiting += reversed(parts)
    return "".join(out)


def _text_ops(old: str, new: str) -> list[Delta]:
    ops: list[Delta] = []

    def say(word: str, text: str) -> None:
        if not text:
            return
        size = len(text)
        if ops and word in ops[-1]:
            ops[-1][word] += size if word == "keep" else text
        else:
            ops.append({word: size if word == "keep" else text})

    for shared, mine, theirs in _twice(_words(old, _COARSE), _words(new, _COARSE)):
        if shared:
            say("keep", "".join(token.shown for token in mine))
        else:
            say("delete", "".join(token.shown for token in mine))
            say("insert", "".join(token.shown for token in theirs))
    return ops


class _Token(NamedTuple):
    """A word, or a part that is no text. `key` is what it is compared by."""

    key: str
    shown: str
    part: Part | None = None
    marks: Any = None


def _words(text: str, cut: re.Pattern[str], marks: Any = None) -> list[_Token]:
    return [_Token("t" + word, word, None, marks) for word in cut.findall(text)]


def _tokens(content: Sequence[Part]) -> list[_Token]:
    found: list[_Token] = []
    for part in content:
        if "text" in part:
            found += _words(part["text"], _COARSE, part.get("marks"))
        else:
            found.append(_Token("p" + _canonical(part), "", part, part.get("marks")))
    return found


def _fine(tokens: Sequence[_Token]) -> list[_Token]:
    """The same in words; nodes of one name may be one node that changed."""
    found: list[_Token] = []
    for token in tokens:
        if token.part is None:
            found += _words(token.shown, _FINE, token.marks)
        elif "node" in token.part:
            node = token.part["node"]
            found.append(token._replace(key=f"n{node['type']} {node.get('name', '')}"))
        else:
            found.append(token)
    return found


def _twice(old: list[_Token], new: list[_Token]) -> Iterator[Block[_Token]]:
    """The tokens side by side: compared in sentences first, and where these differ in words."""
    for block in aligned(old, new, _key):
        if block.same or not (block.old and block.new):
            yield block
        else:
            yield from aligned(_fine(block.old), _fine(block.new), _key)


def _key(token: _Token) -> str:
    return token.key


def _canonical(part: Part) -> str:
    return json.dumps({key: value for key, value in part.items() if key != "marks"}, sort_keys=True)


def _delta(old: Outline, new: Outline) -> Delta:
    delta: Delta = {}
    keys = _keys(old.get("keys", {}), new.get("keys", {}))
    if keys:
        delta["keys"] = keys
    if not same(old.get("content"), new.get("content")):
        delta["content"] = _content(old.get("content", ()), new.get("content", ()))
    return delta


def _keys(old: dict[str, Part], new: dict[str, Part]) -> dict[str, Delta]:
    found: dict[str, Delta] = {}
    for key in sorted({*old, *new}):
        mine, theirs = old.get(key), new.get(key)
        if same(mine, theirs):
            continue
        if mine is not None and theirs is not None and _is_one(mine, theirs):
            found[key] = {"change": _delta(mine["node"], theirs["node"])}
        else:
            found[key] = {"from": mine, "to": theirs}
    return found


def _is_one(mine: Part, theirs: Part) -> bool:
    """Whether two parts are nodes of one name, of which the one may have become the other."""
    if "node" not in mine or "node" not in theirs:
        return False
    return all(mine["node"].get(what) == theirs["node"].get(what) for what in ("type", "name"))


def _content(old: Sequence[Part], new: Sequence[Part]) -> list[Delta]:
    ops: list[Delta] = []
    for shared, mine, theirs in _twice(_tokens(old), _tokens(new)):
        if shared:
            for one, other in zip(mine, theirs, strict=True):
                _kept(ops, one, other)
        else:
            for word, tokens in (("delete", mine), ("insert", theirs)):
                if not tokens:
                    continue
                if not (ops and word in ops[-1]):
                    ops.append({word: []})
                for token in tokens:
                    append(ops[-1][word], _part(token))
    return ops


def _part(token: _Token) -> Part:
    if token.part is not None:
        return dict(token.part)
    return {"text": token.shown, "marks": token.marks} if token.marks else {"text": token.shown}


def _kept(ops: list[Delta], one: _Token, other: _Token) -> None:
    """The same word, or a node that may have changed."""
    if (
        one.part is not None
        and other.part is not None
        and "node" in one.part
        and not same(one.part["node"], other.part["node"])
    ):
        change: Delta = {"change": _delta(one.part["node"], other.part["node"])}
        if not same(one.marks, other.marks):
            change["marks"] = other.marks or {}
        ops.append(change)
        return
    size = len(one.shown) if one.part is None else 1
    keep: Delta = {"keep": size}
    if not same(one.marks, other.marks):
        keep["marks"] = other.marks or {}
    last = ops[-1] if ops else {}
    if "keep" in last and same(last.get("marks"), keep.get("marks")):
        last["keep"] += size
    else:
        ops.append(keep)


def apply(before: dict[str, Outline], delta: Delta) -> dict[str, Outline]:
    """The document as JSON (`outline`) that `before` becomes by `delta`."""
    after = dict(before)
    for name, change in delta["nodes"].items():
        after[name] = _applied(before.get(name, {}), change)
    return {name: root for name, root in after.items() if root}


def apply_text(before: str, ops: Sequence[Delta]) -> str:
    """The text that `before` becomes."""
    at, out = 0, []
    for op in ops:
        if "insert" in op:
            out.append(op["insert"])
        else:
            size = op["keep"] if "keep" in op else len(op["delete"])
            if "keep" in op:
                out.append(before[at : at + size])
            at += size
    return "".join(out) + before[at:]


def _applied(node: Outline, delta: Delta) -> Outline:
    found: Outline = {word: node[word] for word in ("type", "name") if word in node}
    keys = dict(node.get("keys", {}))
    for key, change in delta.get("keys", {}).items():
        if "change" in change:
            keys[key] = {"node": _applied(keys[key]["node"], change["change"])}
        elif change["to"] is None:
            keys.pop(key, None)
        else:
            keys[key] = change["to"]
    if keys:
        found["keys"] = keys
    content = node.get("content", [])
    if "content" in delta:
        content = _edited(content, delta["content"])
    if content:
        found["content"] = content
    return found


def _edited(content: Sequence[Part], ops: Sequence[Delta]) -> list[Part]:
    left = [dict(part) for part in reversed(content)]
    found: list[Part] = []

    def take(size: int) -> Iterator[Part]:
        while size:
            part = left.pop()
            if "text" in part and len(part["text"]) > size:
                left.append({**part, "text": part["text"][size:]})
                part = {**part, "text": part["text"][:size]}
            size -= len(part["text"]) if "text" in part else 1
            yield part

    for op in ops:
        if "insert" in op:
            for part in op["insert"]:
                append(found, dict(part))
            continue
        if "delete" in op:
            for _ in take(sum(len(part["text"]) if "text" in part else 1 for part in op["delete"])):
                pass
            continue
        for part in take(op.get("keep", 1)):
            if "change" in op:
                part = {**part, "node": _applied(part["node"], op["change"])}
            if "marks" in op:
                part.pop("marks", None)
                if op["marks"]:
                    part["marks"] = op["marks"]
            append(found, part)
    for part in reversed(left):
        append(found, part)
    return found
