"""Room names: whatever a path says, once decoded, exactly; and what is refused (specs: F19)."""

from __future__ import annotations

import unicodedata
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collab.errors import BadRoomName
from collab.names import room_name


def name(path: bytes, root_path: str = "") -> str:
    return room_name(path, root_path, max_bytes=512)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"/notes", "notes"),
        (b"/team/a/notes", "team/a/notes"),
        (b"/room%20x/%C3%BC", "room x/ü"),
        (b"/a%2Fb", "a/b"),
        (b"/%2e%2e%2f%2e%2e%2fetc", "../../etc"),  # only ever a key, never a path
        (b"//", "/"),
        (b"//double", "/double"),
        (b"/:*?[]", ":*?[]"),
        (b"/room%3Ftoken=x", "room?token=x"),
        (b"/%2541", "%41"),  # decoded once
        (b"/ padded ", " padded "),
        ("/emoji😀".encode(), "emoji😀"),
    ],
)
def test_kept_exact(path, expected):
    assert name(path) == expected


@pytest.mark.parametrize(
    ("path", "why"),
    [
        (b"", "empty"),
        (b"/", "empty"),
        (b"/%20%20", "empty"),
        (b"/%00", "control"),
        (b"/a%00b", "control"),
        (b"/a%0Ab", "control"),
        (b"/a%C2%85b", "control"),
        (b"/%ff", "UTF-8"),
        (b"/%fe", "UTF-8"),
        (b"/%ED%A0%80", "UTF-8"),  # a lone surrogate
        (b"/" + b"n" * 513, "longer"),
        (b"/" + b"n" * 10_000, "longer"),
        (b"/" + b"%C3%BC" * 257, "longer"),
    ],
)
def test_refused_with_a_reason(path, why):
    with pytest.raises(BadRoomName, match=why) as caught:
        name(path)
    assert caught.value.close_code == 4400


def test_as_long_as_it_may_be():
    assert len(name(b"/" + b"n" * 512)) == 512


def test_normal_forms_are_different_rooms():
    composed, decomposed = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    assert name(b"/" + quote(composed).encode()) != name(b"/" + quote(decomposed).encode())


def test_mounted_below_a_path_that_others_begin_with():
    """Two paths are never one room: only whole steps are taken off."""
    assert name(b"/collaboration", "/collab") == "collaboration"
    assert name(b"/collab/oration", "/collab") == "oration"
    assert name(b"/%C3%A4/notes", "/\u00e4") == "notes"
    assert name(b"/collab%2Fnotes", "/collab") == "collab/notes"


def test_mounted_below_a_path():
    assert name(b"/collab/notes", "/collab") == "notes"
    assert name(b"/collab/notes", "/collab/") == "notes"
    assert name(b"/notes", "/collab") == "notes"


@given(st.text(min_size=1, max_size=100))
def test_every_name_survives_the_way_into_a_path_and_back(wanted):
    try:
        found = name(b"/" + quote(wanted, safe="").encode())
    except BadRoomName:
        assert not wanted.strip() or any(unicodedata.category(character) == "Cc" for character in wanted)
    else:
        assert found == wanted


@given(st.binary(max_size=30), st.binary(max_size=30))
def test_two_paths_that_decode_differently_are_never_one_room(one, other):
    names = []
    for raw in (one, other):
        try:
            names.append(name(b"/" + quote(raw).encode()))
        except BadRoomName:
            return
    assert (names[0] == names[1]) == (one == other)
