"""Patterns against a slow and obvious matcher, and the separators that must not leak."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collab.auth import patterns

SEGMENT = st.text("ab:*", max_size=2)
ROOM = st.lists(SEGMENT, min_size=1, max_size=4).map("/".join)
PATTERN = st.lists(st.sampled_from(["a", "b", "a:b", "", "*"]), max_size=4).flatmap(
    lambda before: st.sampled_from(["a", "b", "*", "**"]).map(lambda last: "/".join([*before, last]))
)


def obvious(wanted: list[str], given: list[str]) -> bool:
    if wanted == ["**"]:
        return any(given)
    if not wanted or not given:
        return wanted == given
    first = given[0] != "" if wanted[0] == "*" else wanted[0] == given[0]
    return first and obvious(wanted[1:], given[1:])


@given(PATTERN, ROOM)
def test_as_the_obvious_matcher(pattern, room):
    patterns.check(pattern)
    if pattern == "**":
        assert patterns.matches(pattern, room) is (room != "")
    else:
        assert patterns.matches(pattern, room) is obvious(pattern.split("/"), room.split("/"))


@given(ROOM.filter(lambda room: "*" not in room and room))
def test_a_name_stands_for_itself_alone(room):
    patterns.check(room)
    assert patterns.matches(room, room)
    for other in (room + "/", "/" + room, room + "a", room.upper() + "B", room.replace("/", ":") + "/"):
        assert not patterns.matches(room, other)


@given(st.lists(PATTERN, min_size=2, max_size=6, unique=True), ROOM)
def test_the_most_specific_is_one_whatever_the_order(names, room):
    rules = {name: name for name in names}
    backwards = {name: name for name in reversed(names)}
    assert patterns.most_specific(rules, room) == patterns.most_specific(backwards, room)
    fit = [name for name in names if patterns.matches(name, room)]
    assert len({patterns.specificity(name) for name in fit}) == len(fit)


@pytest.mark.parametrize(
    ("pattern", "covered", "others"),
    [
        ("team-a/*", ["team-a/x", "team-a/x:y"], ["team-a", "team-a/", "team-a/x/y", "team-b/x", "team-a:/x", "a/x"]),
        ("public/**", ["public/a", "public/a/b", "public//b"], ["public", "public/", "publicity/a", "x/public/a"]),
        ("*/notes", ["a/notes"], ["/notes", "a/b/notes", "notes"]),
        ("*", ["a", "a:b"], ["", "a/b"]),
        ("**", ["a", "a/b", "/", "//"], [""]),
        ("a:b/c", ["a:b/c"], ["a/b/c", "a:b:c", "a/b:c"]),
    ],
)
def test_examples(pattern, covered, others):
    assert [room for room in [*covered, *others] if patterns.matches(pattern, room)] == covered


def test_separators_do_not_leak(figure):
    """A06: who has a tenant has no other one whose name looks like it, however the separators are written."""
    leaks = 0
    tries = [
        "a:b/c",
        "a/b/c",
        "a/b:c",
        "a%2Fb/c",
        "a\\b/c",
        "a/b%2Fc",
        "a\u2215b/c",
        "a\x00b/c",
        "A:B/c",
        "a:b//c",
        "a:b/./c",
    ]
    for tenant in tries:
        owner = tenant.rpartition("/")[0]
        for room in tries:
            leaks += patterns.matches(f"{owner}/*", room) and room.rpartition("/")[0] != owner
            leaks += patterns.tiptap_matches(f"{owner}/*", room) and not room.startswith(f"{owner}/")
    figure(f"rooms of others that a token covers: {leaks} of {len(tries) ** 2}")
    assert leaks == 0


@pytest.mark.parametrize("pattern", ["", "a*", "*a", "a/**/b", "**/a", "a/***", "a/b*c/d"])
def test_refused(pattern):
    with pytest.raises(ValueError, match="pattern"):
        patterns.check(pattern)


def test_a_rule_can_take_away():
    rules = {"**": 3, "team/*": 2, "team/secret": 0, "*/secret": 9}
    assert [patterns.most_specific(rules, room) for room in ("x", "team/a", "team/secret", "b/secret")] == [3, 2, 0, 9]
    assert patterns.most_specific({"a": 1}, "b") is None


@given(st.dictionaries(PATTERN, st.integers(0, 4), max_size=6), ROOM.filter(bool))
def test_what_holds_everywhere_holds_in_every_room(rules, room):
    rules = {"**": 4} | rules
    here, everywhere = patterns.most_specific(rules, room), patterns.everywhere(rules, min)
    assert here is not None and everywhere is not None and here >= everywhere


def test_nothing_but_two_stars_covers_every_room():
    for some in ("*", "*/**", "/".join("*" * 9), "*/*/**", "a/**"):
        assert patterns.everywhere({some: 4}, min) is None
    assert patterns.everywhere({"**": 4, "*": 4, "a": 4}, min) == 4
    assert patterns.everywhere({"**": 4, "a": 0}, min) == 0
    assert patterns.everywhere({}, min) is None


@pytest.mark.alone
def test_long_names_take_no_longer_than_they_are():
    pattern, room = "/".join(["*"] * 5_000 + ["x"]), "/".join(["a"] * 5_001)
    began = time.perf_counter()
    assert not patterns.matches(pattern, room)
    assert time.perf_counter() - began < 0.5


@pytest.mark.parametrize(
    ("entry", "room", "covered"),
    [
        ("project/*", "project/a", True),
        ("project/*", "project/a/b", True),
        ("project/*", "project/", False),
        ("project/*", "project", False),
        ("project/*", "projects/a", False),
        ("note-*", "note-1", True),
        ("*", "anything/at/all", True),
        ("*", "", False),
        ("a*b", "axb", False),
        ("a", "a", True),
        ("a", "A", False),
    ],
)
def test_tiptap(entry, room, covered):
    assert patterns.tiptap_matches(entry, room) is covered
