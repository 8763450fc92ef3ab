"""Sizes and URLs, in and out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from collab.settings.values import (
    check_secret_file,
    mask_url,
    parse_list,
    parse_networks,
    parse_origin,
    parse_size,
    read_secret,
    show_size,
)


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
        ("https://ann:hu/sh?hu#sh@db/x", "https://ann:********@db/x"),
        ("https://ann:hu@sh@db/x", "https://ann:********@db/x"),
        ("sqlite:///data/a:b@c.db", "sqlite:///data/a:b@c.db"),
    ],
)
def test_mask_url(url, masked):
    assert mask_url(url) == masked


def test_lists():
    assert parse_list(" a, b ,,c,") == ["a", "b", "c"]
    assert parse_list(None) == parse_list("") == parse_list(" , ") == []


def test_networks():
    assert [str(network) for network in parse_networks("10.0.0.0/8, ::1,127.0.0.1")] == [
        "10.0.0.0/8",
        "::1/128",
        "127.0.0.1/32",
    ]
    for wrong in ("10.0.0.1/8", "proxy", "10.0.0.0/33", "10.0.0.0-10.0.0.9"):
        with pytest.raises(ValueError, match="addresses or networks"):
            parse_networks(wrong)


def test_origins():
    assert parse_origin("https://App.example.com") == ("https", "app.example.com", 443)
    assert parse_origin("http://*.example.com:8080") == ("http", "*.example.com", 8080)
    assert parse_origin("http://[::1]:3000") == ("http", "[::1]", 3000)
    for wrong in ("", "null", "app.example.com", "https://", "https://a/b", "https://a?b", "ws://a", "https://a@b"):
        with pytest.raises(ValueError, match="origins such as"):
            parse_origin(wrong)


def test_a_secret_or_its_file(tmp_path):
    file = tmp_path / "secret"
    file.write_text("  hush\n")
    assert read_secret(SecretStr(" as it is "), None) == " as it is "
    assert read_secret(None, file) == "hush"
    assert read_secret(None, None) is None


def test_files_without_a_secret(tmp_path):
    file = tmp_path / "secret"
    with pytest.raises(ValueError, match="this user can read"):
        check_secret_file(file)
    file.write_text("\n")
    with pytest.raises(ValueError, match="empty"):
        check_secret_file(file)
    file.write_text("hush")
    assert check_secret_file(file) == file
    assert check_secret_file(None) is None
