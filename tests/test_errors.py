"""The tree, and the three doors of each error."""

from __future__ import annotations

import inspect
import re

import pytest

from collab import errors
from collab.errors import CollabError

ALL = [error for _, error in inspect.getmembers(errors, inspect.isclass) if issubclass(error, CollabError)]

SAMPLES = [
    (errors.NoSuchRoom("a\nb"), "there is no room 'a\\nb'"),
    (errors.NoSuchSnapshot("a\nb", 7), "room 'a\\nb' has no snapshot 7"),
    (
        errors.Forgotten("a", 5, 90),
        "the history of room 'a' begins at edit 90; edit 5 is not kept any more",
    ),
    (errors.TooLarge("a message", 20, 10), "a message of 20 bytes is over the limit of 10"),
    (errors.TooLarge("a list", 20, 10, unit="names"), "a list of 20 names is over the limit of 10"),
    (errors.DamagedRoom("a", "row 3 is missing"), "room 'a' is damaged in the store: row 3 is missing"),
    (
        errors.DamagedSnapshot("a", 7, "its state fails its checksum"),
        "snapshot 7 of room 'a' is damaged in the store: its state fails its checksum",
    ),
    (errors.Quarantined("a", "it was in the way"), "room 'a' is set aside: it was in the way"),
    (errors.TooDeep("nodes", 100), "nodes are nested too deep: the limit is 100 levels"),
    (
        errors.Unconfirmed("the server", 30.0),
        "the server did not confirm within 30 s that the edit is saved; look whether it is there before you try again",
    ),
    (errors.Crashed("signal 11"), "the process that worked on this document died (signal 11); nothing was changed"),
    (errors.TooMany("connections", 5), "too many connections: the limit is 5"),
    (errors.TooManyDocuments("documents of one user", 5), "too many documents of one user: the limit is 5"),
    (errors.SlowPeer(20, 10), "the client reads too slowly: 20 bytes are waiting, the limit is 10"),
    (errors.Unavailable("the store"), "the store is not available right now"),
    (errors.Draining(), "the server is restarting"),
    (errors.BadMessage("the frame is empty"), "the frame is empty"),
]


def drawn() -> dict[str, tuple[str | None, tuple[int, int, int]]]:
    """The tree in the module's docstring: each error's parent, close code, HTTP status and exit code."""
    found: dict[str, tuple[str | None, tuple[int, int, int]]] = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if match := re.fullmatch(
            r"([│├└─ ]*)(\w+)(?:\([\w, ]*\))?\s+(?:close )?(\d+)\s+(?:HTTP )?(\d+)\s+(?:exit )?(\d+)", line
        ):
            depth = len(match[1]) // 4
            above[depth:] = [match[2]]
            found[match[2]] = (above[depth - 1] if depth else None, (int(match[3]), int(match[4]), int(match[5])))
    return found


def test_the_drawing_is_the_tree():
    tree = {
        error.__name__: (
            None if error is CollabError else error.__mro__[1].__name__,
            (error.close_code, error.http_status, error.exit_code),
        )
        for error in ALL
    }
    assert drawn() == tree


@pytest.mark.parametrize("error", ALL, ids=lambda error: error.__name__)
def test_doors(error):
    """A close code that a server may send, an HTTP status that says the same about coming back."""
    assert error.close_code in (1011, 1012, 1013) or 4400 <= error.close_code <= 4499
    assert 400 <= error.http_status <= 599
    assert 1 <= error.exit_code <= 4
    if error.close_code >= 4400:
        assert error.http_status == error.close_code - 4000
    assert error.__doc__


@pytest.mark.parametrize(("error", "sentence"), SAMPLES, ids=lambda value: type(value).__name__)
def test_sentences(error, sentence):
    assert str(error) == sentence


def test_retry():
    assert errors.Draining().retry
    assert errors.TooMany("rooms", 1).retry
    assert not errors.TooLarge("a message", 2, 1).retry
    assert not errors.DamagedRoom("a", "b").retry


def test_a_locked_store_and_a_newer_one_name_the_file():
    assert "/a/b.db is in use" in str(errors.StoreLocked("/a/b.db"))
    assert errors.StoreLocked("/a").what == "the store"
    newer = errors.NewerSchema("/a/b.db", "0042")
    assert "/a/b.db was written by a newer version" in str(newer)
    assert "'0042'" in str(newer)
