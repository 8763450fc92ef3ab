"""The JSON of an awareness state: read as browsers read it, written as they write it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from itertools import accumulate
from typing import NoReturn

from ..errors import BadMessage
from .vet import MAX_DEPTH

_STEPS = [(byte in b"[{") - (byte in b"]}") for byte in range(256)]
_NO_BRACKETS = bytes(byte for byte, step in enumerate(_STEPS) if not step)
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')


def stamped(text: str, user: Mapping[str, object]) -> str:
    """The state with what the server knows of its user in the field `user`; one that is no object has no such field.

    It is written anew, so it is read anew, as browsers do: a number beyond all bounds becomes null.
    """
    state = json.loads(text, parse_float=_finite)
    if not isinstance(state, dict):
        return text
    own = state.get("user")
    state["user"] = {**(own if isinstance(own, dict) else {}), **user}
    written = json.dumps(state, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    try:
        written.encode()
    except UnicodeEncodeError:  # half a character, which JSON can only spell out
        return json.dumps(state, allow_nan=False, separators=(",", ":"))
    return written


def _finite(number: str) -> float | None:
    value = float(number)
    return value if math.isfinite(value) else None


def parse_state(text: str) -> object:
    """The state in `text`, None for "gone"; raises `BadMessage` unless it is JSON that every browser can use."""
    if text == "null":
        return None
    try:
        value: object = json.loads(text, parse_constant=_not_json)
    except (ValueError, RecursionError):
        raise BadMessage("an awareness state is not JSON") from None
    if text.count("[") + text.count("{") > MAX_DEPTH and _depth(text) > MAX_DEPTH:
        raise BadMessage(f"an awareness state is nested more than {MAX_DEPTH} deep")
    return value


def _depth(text: str) -> int:
    """How deep a JSON text nests. Browsers write what they hear, and their writer overflows its stack."""
    marks = _STRING.sub("", text).encode().translate(None, _NO_BRACKETS)
    return max(accumulate(map(_STEPS.__getitem__, marks)), default=0)


def _not_json(constant: str) -> NoReturn:
    raise ValueError(constant)
