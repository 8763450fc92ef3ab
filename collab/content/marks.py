"""Formatting of a text, as ProseMirror's marks and as the attributes that y-prosemirror stores for them.

A mark is stored under its name, with its attributes as the value. A mark that may stand on the same text several times
(a comment) is stored as `name--hash`, so that each has a key of its own (y-prosemirror, sync-plugin.js and utils.js).
"""

from __future__ import annotations

import re
import struct
from base64 import b64encode
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

from ..wire.lib0 import MAX_SAFE, var_string, var_uint

ORDER = (
    "link", "textStyle", "bold", "code", "italic", "strike", "underline", "highlight", "subscript", "superscript"
)  # fmt: skip
"""The order of TipTap's marks on a text, outermost first; those of others follow by name."""

_HASHED = re.compile(r"(.*)--[a-zA-Z0-9+/=]{8}", re.DOTALL)


def rank(name: str) -> tuple[int, str]:
    """Where a mark stands among others; a key to sort by."""
    return (ORDER.index(name) if name in ORDER else len(ORDER), name)


def from_formatting(formatting: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The marks that stored `formatting` stands for, in order.

    A value that is no object becomes the attribute `value`.
    """
    found = []
    for key, value in formatting.items():
        if value is None:
            continue
        hashed = _HASHED.fullmatch(key)
        name = hashed[1] if hashed else key
        attrs = value if isinstance(value, dict) else {} if value is True else {"value": value}
        mark: dict[str, Any] = {"type": name}
        if attrs:
            mark["attrs"] = attrs
        found.append((rank(name), key, mark))
    return [mark for _, _, mark in sorted(found, key=lambda one: one[:2])]


def to_formatting(marks: Iterable[Mapping[str, Any]], hashed: set[str]) -> dict[str, Any]:
    """What is stored for `marks`. Those whose names are `hashed` get a key for each of their values."""
    formatting = {}
    for mark in marks:
        name, attrs = mark["type"], mark.get("attrs") or {}
        formatting[f"{name}--{mark_hash(mark)}" if name in hashed else name] = attrs
    return formatting


def mark_hash(mark: Mapping[str, Any]) -> str:
    """The eight characters by which y-prosemirror tells marks of one name apart: SHA-256, folded to six bytes."""
    attrs = mark.get("attrs")
    digest = sha256(_any({"type": mark["type"], **({"attrs": attrs} if attrs else {})})).digest()
    folded = bytearray(digest[:6])
    for place in range(6, len(digest)):
        folded[place % 6] ^= digest[place]
    return b64encode(folded).decode()


def _any(value: Any) -> bytes:
    """`value` as lib0 writes it (encoding.js, `writeAny`)."""
    match value:
        case None:
            return b"\x7e"
        case bool():
            return b"\x78" if value else b"\x79"
        case str():
            return b"\x77" + var_string(value)
        case int() if abs(value) < 2**31:
            return b"\x7d" + _var_int(value)
        case int() | float():
            number = float(value)
            if abs(number) <= MAX_SAFE and struct.unpack(">f", struct.pack(">f", number))[0] == number:
                return b"\x7c" + struct.pack(">f", number)
            return b"\x7b" + struct.pack(">d", number)
        case dict():
            return b"\x76" + var_uint(len(value)) + b"".join(var_string(k) + _any(v) for k, v in value.items())
        case _:
            return b"\x75" + var_uint(len(value)) + b"".join(map(_any, value))


def _var_int(number: int) -> bytes:
    rest = abs(number)
    first = rest & 63 | (0x40 if number < 0 else 0)
    return bytes([first | 0x80]) + var_uint(rest >> 6) if rest > 63 else bytes([first])
