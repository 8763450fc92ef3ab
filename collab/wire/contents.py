"""What structs of a Yjs update hold: where each content and each JSON-like value ends, and how many clocks it takes.

Source: yjs/src/structs/Content*.js, lib0/encoding.js (`writeAny`).
"""

from __future__ import annotations

from ..errors import BadUpdate
from .lib0 import MAX_VARINT_BYTES, read_var_uint

MAX_DEPTH = 128
"""How deep a JSON-like value may nest (serde_json's limit, too). Deeper ones overflow the stack of their readers."""

_XML_ELEMENT, _XML_HOOK, _XML_TEXT = 3, 5, 6


def _span(data: bytes, at: int) -> tuple[int, int]:
    """Where the bytes of a var-length value begin and end."""
    length, at = read_var_uint(data, at)
    end = at + length
    if end > len(data):
        raise BadUpdate("a length is larger than the data")
    return at, end


def pass_text(data: bytes, at: int) -> int:
    """Passes over a varString; returns the index after it."""
    return text_length(data, at)[1]


def text_length(data: bytes, at: int) -> tuple[int, int]:
    """Passes over a varString; returns its length in UTF-16 code units, as Yjs counts, and the index after it."""
    at, end = _span(data, at)
    raw = data[at:end]
    if raw.isascii():
        return end - at, end
    try:
        return len(raw.decode().encode("utf-16-le")) // 2, end
    except UnicodeDecodeError:
        raise BadUpdate("a string is not UTF-8") from None


def pass_content(kind: int, data: bytes, at: int) -> tuple[int, int]:
    """Passes over the content of an item; returns its length in clocks and the index after it."""
    match kind:
        case 1:  # DELETED
            return read_var_uint(data, at)
        case 7:  # TYPE
            type_ref, at = read_var_uint(data, at)
            if type_ref == _XML_ELEMENT:
                at = pass_text(data, at)
            elif type_ref == _XML_HOOK or type_ref > _XML_TEXT:  # yrs passes over a hook's name and reads it as structs
                raise BadUpdate(f"shared type {type_ref} is not understood here")
            return 1, at
        case 8:  # ANY
            count, at = read_var_uint(data, at)
            for _ in range(count):
                at = pass_value(data, at)
            return count, at
        case 6:  # FORMAT
            return 1, pass_text(data, pass_text(data, at))
        case 5:  # EMBED
            return 1, pass_text(data, at)
        case 3:  # BINARY
            return 1, _span(data, at)[1]
        case 2:  # JSON, which Yjs wrote before version 13; yrs reads one string more than there are
            raise BadUpdate("JSON content of Yjs before version 13 is not understood here")
        case 9:  # DOC
            return 1, pass_value(data, pass_text(data, at))
        case _:
            raise BadUpdate(f"unknown content {kind}")


def pass_value(data: bytes, at: int) -> int:
    """Passes over one JSON-like value (lib0 `writeAny`) without recursion; returns the index after it."""
    open_: list[tuple[int, bool]] = []  # for each value around this one: how many are still to come, and whether keyed
    while True:
        tag = data[at]
        at += 1
        match tag:
            case 127 | 126 | 121 | 120:  # undefined, null, false, true
                pass
            case 125:  # varInt
                start = at
                while data[at] > 127:
                    at += 1
                    if at - start >= MAX_VARINT_BYTES:
                        raise BadUpdate("a number is longer than ten bytes")
                at += 1
            case 124:
                at += 4
            case 123 | 122:
                at += 8
            case 119:
                at = pass_text(data, at)
            case 116:
                at = _span(data, at)[1]
            case 118 | 117:  # object, array
                count, at = read_var_uint(data, at)
                if len(open_) >= MAX_DEPTH:
                    raise BadUpdate(f"a value is nested more than {MAX_DEPTH} deep")
                open_.append((count, tag == 118))
            case _:
                raise BadUpdate(f"unknown value {tag}")
        while open_ and not open_[-1][0]:
            open_.pop()
        if at > len(data):
            raise BadUpdate("the data end inside a value")
        if not open_:
            return at
        left, keyed = open_[-1]
        open_[-1] = (left - 1, keyed)
        if keyed:
            at = pass_text(data, at)
