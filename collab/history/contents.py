"""What the parts of a document hold: read, cut, and written again byte for byte."""

from __future__ import annotations

import json
import struct
from math import isfinite
from typing import Any

from ..wire.contents import pass_value
from ..wire.lib0 import read_var_bytes, read_var_string, read_var_uint
from .items import Item

BINARY, EMBED, FORMAT = 3, 5, 6
"""More kinds of structs (`collab.wire.structs`)."""

TYPES = ("array", "map", "text", "element", "fragment", "hook", "xmltext")
"""What a shared type is called here, by its number in an update."""


class Reader:
    """Reads parts. Long texts and lists are taken apart once, however many pieces they were cut into."""

    def __init__(self) -> None:
        self._texts: dict[tuple[int, int], bytes] = {}
        self._lists: dict[tuple[int, int], list[int]] = {}

    def units(self, item: Item) -> bytes:
        """A piece of text in UTF-16 (little endian), as Yjs counts; a half of a character may stand at its ends."""
        place = (id(item.update), item.struct.at)
        units = self._texts.get(place)
        if units is None:
            units = read_var_string(item.update, item.struct.body)[0].encode("utf-16-le")
            if item.end - item.start < item.struct.end - item.struct.start:
                self._texts[place] = units
        first = 2 * (item.start - item.struct.start)
        return units[first : first + 2 * (item.end - item.start)]

    def text(self, item: Item) -> str:
        """A piece of text; half a character is U+FFFD, as everywhere."""
        return text_of(self.units(item))

    def raw_values(self, item: Item) -> bytes:
        """Values of a list, as they were written, without their number."""
        place = (id(item.update), item.struct.at)
        marks = self._lists.get(place)
        if marks is None:
            count, at = read_var_uint(item.update, item.struct.body)
            marks = [at]
            for _ in range(count):
                marks.append(at := pass_value(item.update, at))
            self._lists[place] = marks
        return item.update[marks[item.start - item.struct.start] : marks[item.end - item.struct.start]]

    def values(self, item: Item) -> list[Any]:
        """Values of a list, as JSON."""
        raw, at = self.raw_values(item), 0
        found = []
        while at < len(raw):
            value, at = any_value(raw, at)
            found.append(value)
        return found


def text_of(units: bytes) -> str:
    """UTF-16 as text."""
    return units.decode("utf-16-le", "replace")


def raw(item: Item) -> bytes:
    """The content of a part that cannot be cut, as it was written."""
    return item.update[item.struct.body : item.struct.to]


def formatting(item: Item) -> tuple[str, Any]:
    """The key and the value (None: it ends) of a mark in a text."""
    key, at = read_var_string(item.update, item.struct.body)
    return key, _parsed(read_var_string(item.update, at)[0])


def embedded(item: Item) -> Any:
    """What is embedded in a text."""
    return _parsed(read_var_string(item.update, item.struct.body)[0])


def shared_type(item: Item) -> tuple[str, str | None]:
    """What kind of shared type a part is, and the name of an XML element."""
    kind, at = read_var_uint(item.update, item.struct.body)
    return TYPES[kind], read_var_string(item.update, at)[0] if kind == 3 else None


def single(item: Item) -> Any:
    """The value of a part that is neither text nor a list nor a shared type, as JSON."""
    if item.kind == BINARY:
        return read_var_bytes(item.update, item.struct.body)[0].hex()
    if item.kind == EMBED:
        return embedded(item)
    return {"guid": read_var_string(item.update, item.struct.body)[0]}


def _parsed(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return None if text == "undefined" else text


def any_value(data: bytes, at: int) -> tuple[Any, int]:
    """One value as lib0 writes it (decoding.js, `readAny`), as JSON, and the index after it.

    Bytes become their hexadecimal digits; what JSON has no word for becomes null. `vet` bounds how deep it nests.
    """
    tag = data[at]
    at += 1
    match tag:
        case 127 | 126:
            return None, at
        case 125:
            return _var_int(data, at)
        case 124:
            return _number(struct.unpack_from(">f", data, at)[0]), at + 4
        case 123:
            return _number(struct.unpack_from(">d", data, at)[0]), at + 8
        case 122:
            return struct.unpack_from(">q", data, at)[0], at + 8
        case 121 | 120:
            return tag == 120, at
        case 119:
            return read_var_string(data, at)
        case 118:
            count, at = read_var_uint(data, at)
            found = {}
            for _ in range(count):
                key, at = read_var_string(data, at)
                found[key], at = any_value(data, at)
            return found, at
        case 117:
            count, at = read_var_uint(data, at)
            values = []
            for _ in range(count):
                value, at = any_value(data, at)
                values.append(value)
            return values, at
        case _:  # 116
            found_bytes, at = read_var_bytes(data, at)
            return found_bytes.hex(), at


def _number(value: float) -> float | int | None:
    """Every number of JavaScript is a double: 3 would turn into 3.0."""
    if not isfinite(value):
        return None
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def _var_int(data: bytes, at: int) -> tuple[int, int]:
    byte = data[at]
    at += 1
    number, negative, shift = byte & 0x3F, byte & 0x40, 6
    while byte & 0x80:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        shift += 7
    return -number if negative else number, at
