"""Sizes and URLs, in and out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collab.settings.values import mask_url, parse_size, show_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("65536", 65_536),
        ("64KiB", 65_536),
        ("64 kib", 65_536),
        (" 16MiB ", 16 * 2**20),
        ("1GB", 10**9),
        ("1.5MiB", 3 * 2**19),
        (".5KiB", 512),
        ("2TiB", 2 * 2**40),
        ("7b", 7),
    ],
)
def test_parse_size(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "x", "-1", "16,777,216", "1e6", "16MiB foo", "1 2", "64KIBB", "1.", "٣"])
def test_bad_sizes(text):
    with pytest.raises(ValueError, match="a size such as"):
        parse_size(text)


def test_other_than_text_passes():
    assert parse_size(5) == 5
    assert parse_size(None) is None


@given(st.integers(min_value=0, max_value=2**50))
def test_what_is_shown_can_be_written(size):
    assert parse_size(show_size(size)) == size


def test_show_size():
    assert [show_size(size) for size in (0, 1, 1024, 1025, 2**20, 3 * 2**30)] == [
        "0",
        "1",
        "1KiB",
        "1025",
        "1MiB",
        "3GiB",
    ]


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("sqlite:///data/collab.db", "sqlite:///data/collab.db"),
        ("memory:", "memory:"),
        ("postgres://ann@db/x", "postgres://ann@db/x"),
        ("postgres://ann:hu:sh@db:5/x", "postgres://ann:********@db:5/x"),
        ("redis://:hush@db", "redis://:********@db"),
        ("s3://b?region=x&secret_key=hush&y=1", "s3://b?region=x&secret_key=********&y=1"),
        ("x://h?access_token=hush#frag", "x://h?access_token=********#frag"),
        ("x://ann:hush@[broken", "********"),
    ],
)
def test_mask_url(url, masked):
    assert mask_url(url) == masked
