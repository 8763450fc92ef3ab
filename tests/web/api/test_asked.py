"""What operations have in common: room names in paths, cursors."""

from __future__ import annotations

import base64
from urllib.parse import quote

import pytest

from collab.errors import BadMessage
from collab.web.api.asked import cursor_of, place_of
from tests.web.api.conftest import is_problem

NAMES = [
    "plain",
    "a/b",
    "a%2Fb",
    "a%252Fb",
    "/",
    "//",
    "a/",
    "50 % & more?#",
    "日本語/部屋",
    "عربي",
    "😀",
    "e\u0301",
    "é",
    "a;b=c",
    "+",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_in_any_script(http, name):
    assert http.put_text(name, f"this is {name}").status_code == 200
    assert http.text(name) == f"this is {name}"
    found = http.get(f"/rooms/{quote(name, safe='')}").json()
    assert found["name"] == name


def test_two_names_are_never_one_room(http):
    for name in NAMES:
        http.put_text(name, f"this is {name}")
    assert [http.text(name) for name in NAMES] == [f"this is {name}" for name in NAMES]


@pytest.mark.parametrize("path", ["%FF", "%00", "%20", "a" * 513, "%C3"])
def test_impossible_names(http, path):
    assert is_problem(http.get(f"/rooms/{path}/document"), 400, type="urn:collab:error:BadRoomName")


def test_an_unencoded_slash_is_another_path(http):
    assert is_problem(http.get("/rooms/a/b/document"), 404)


def test_cursors():
    for place in ([1], [1.5, "é😀"]):
        kinds = tuple((int, float) if not isinstance(value, str) else str for value in place)
        assert place_of(cursor_of(place), kinds) == place
    for cursor in ("", "!", "é", cursor_of([1, 2]), cursor_of(["1"]), base64.b64encode(b"[" * 5000).decode()):
        with pytest.raises(BadMessage):
            place_of(cursor, (int,))


def test_foreign_cursors(http):
    for path in ("/rooms", "/connections"):
        for cursor in ("garbage", cursor_of([1, 2, 3, 4]), cursor_of(["a", "b", "c"]), cursor_of([])):
            assert is_problem(http.get(path, params={"cursor": cursor}), 400)
