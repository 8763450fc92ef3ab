"""Which rooms a name with wildcards stands for. Exact strings and segments; no regular expressions.

A room's name is split on "/" and on nothing else. In a pattern, a segment `*` stands for one segment that is not empty,
and `**`, which may only be the last segment, for one or more of any kind. Every other segment stands for itself,
byte for byte. So `public/**` covers `public/a` and `public/a/b` but not `public`; `*` covers every room without a "/"
and `**`, alone, covers every room whatever it is called. Nothing else does: `*/**` leaves out all without a "/". An
asterisk anywhere else is refused: what looks like a wildcard and is none would, in a rule that takes away, leave a door
open.

When several patterns match, the most specific wins, read from the left: a written segment goes before `*`, and `*`
before `**`. No two different patterns that match one room are equally specific.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")

WRITTEN, ONE, REST = 2, 1, 0
ALL = "**"
"""The one pattern that covers every room."""


def check(pattern: str) -> None:
    """Raise ValueError, with a sentence about it, when this is not a pattern."""
    *before, last = pattern.split("/")
    if not pattern:
        raise ValueError("a pattern must not be empty")
    if any("*" in segment and segment != "*" for segment in before) or ("*" in last and last not in ("*", "**")):
        raise ValueError("in a pattern `*` stands for a whole segment, and `**` for all that follow at its end")


def matches(pattern: str, room: str) -> bool:
    """Whether a pattern that passed `check` stands for the room; at most one look at each segment."""
    if pattern == ALL:
        return room != ""  # also a room called "/": what is granted for all rooms must leave none out
    wanted, given = pattern.split("/"), room.split("/")
    if wanted[-1] == "**":
        wanted.pop()
        if len(given) <= len(wanted) or not any(given[len(wanted) :]):
            return False
    elif len(given) != len(wanted):
        return False
    return all(segment != "" if want == "*" else segment == want for want, segment in zip(wanted, given, strict=False))


def specificity(pattern: str) -> tuple[int, ...]:
    """Greater for the pattern that wins, among those that match one room."""
    kinds = {"*": ONE, "**": REST}
    return tuple(kinds.get(segment, WRITTEN) for segment in pattern.split("/"))


def most_specific(rules: Mapping[str, T], room: str) -> T | None:
    """What the most specific of the matching patterns says; None when none matches."""
    found = [pattern for pattern in rules if matches(pattern, room)]
    return rules[max(found, key=specificity)] if found else None


def everywhere(rules: Mapping[str, T], least: Callable[[Iterable[T]], T]) -> T | None:
    """What holds in every room, whatever rooms there are; None when the rules leave some room out.

    It is `least` of all that the rules say, since each of them may be the most specific one somewhere. No look at a
    room can tell that, be its name ever so unlikely: there are patterns that cover it and not the others.
    """
    return least(rules.values()) if ALL in rules else None


def any_matches(patterns: Iterable[str], room: str) -> bool:
    """Whether one of the patterns stands for the room."""
    return any(matches(pattern, room) for pattern in patterns)


def tiptap_matches(name: str, room: str) -> bool:
    """The same for an entry of TipTap's lists, where `*` at the very end stands for whatever follows: `project/*`.

    An asterisk anywhere else stands for itself, which no editor's room is called.
    """
    if name.endswith("*"):
        return len(room) >= len(name) and room.startswith(name[:-1])
    return name == room
