"""The lib0 primitives: what is written is read again, and what is not whole, short or text is refused."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collab.errors import BadMessage
from collab.wire.lib0 import (
    MAX_SAFE,
    expect_end,
    read_var_bytes,
    read_var_string,
    read_var_uint,
    var_bytes,
    var_string,
    var_uint,
)

NUMBERS = st.integers(0, MAX_SAFE) | st.integers(0, 300)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
READERS = [read_var_uint, read_var_bytes, read_var_string]


@pytest.mark.parametrize(
    ("number", "encoded"),
    [
        (0, "00"),
        (1, "01"),
        (127, "7f"),
        (128, "8001"),
        (300, "ac02"),
        (2**14 - 1, "ff7f"),
        (2**14, "808001"),
        (2**32 - 1, "ffffffff0f"),
        (MAX_SAFE, "ffffffffffffff0f"),
    ],
)
def test_numbers_as_lib0_writes_them(number, encoded):
    assert var_uint(number).hex() == encoded
    assert read_var_uint(bytes.fromhex(encoded), 0) == (number, len(encoded) // 2)


@given(NUMBERS, st.binary(max_size=4), st.binary(max_size=4))
def test_a_number_is_read_where_it_stands(number, before, after):
    data = before + var_uint(number) + after
    assert read_var_uint(data, len(before)) == (number, len(data) - len(after))


@given(st.binary(max_size=300), st.binary(max_size=4))
def test_bytes_are_read_again(content, after):
    data = var_bytes(content) + after
    assert read_var_bytes(data, 0) == (content, len(data) - len(after))


@given(TEXTS, st.binary(max_size=4))
def test_text_is_read_again(text, after):
    data = var_string(text) + after
    assert read_var_string(data, 0) == (text, len(data) - len(after))


@pytest.mark.parametrize(("text", "size"), [("abc", 3), ("é", 2), ("€", 3), ("😀", 4), ("a😀é" * 20, 140)])
def test_the_length_of_text_is_counted_in_bytes(text, size):
    """pycrdt counts characters here and corrupts every frame with a name that is not ASCII."""
    assert read_var_uint(var_string(text), 0)[0] == size == len(text.encode())


@given(NUMBERS, st.data())
def test_a_number_that_ends_early_is_refused(number, data):
    encoded = var_uint(number)
    with pytest.raises(BadMessage):
        read_var_uint(encoded[: data.draw(st.integers(0, len(encoded) - 1))], 0)


@given(TEXTS.filter(bool), st.sampled_from([read_var_bytes, read_var_string]))
def test_every_truncation_is_refused(text, read):
    encoded = var_string(text)
    for size in range(len(encoded)):
        with pytest.raises(BadMessage):
            read(encoded[:size], 0)


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("at", [0, 1, 5])
def test_nothing_is_read_behind_the_end(read, at):
    with pytest.raises(BadMessage):
        read(b"", at)


@pytest.mark.parametrize("encoded", ["8000", "8100", "ff00", "808000", "ffffffff8000", "80808080808080808000"])
def test_a_number_written_longer_than_it_has_to_be_is_refused(encoded):
    """Two ways to write one number are a way around every check of the first byte (F03)."""
    with pytest.raises(BadMessage, match="longer than it has to be"):
        read_var_uint(bytes.fromhex(encoded), 0)


@given(NUMBERS, st.integers(1, 3))
def test_padding_is_always_refused(number, extra):
    encoded = var_uint(number)
    padded = encoded[:-1] + bytes([encoded[-1] | 128]) + b"\x80" * (extra - 1) + b"\x00"
    with pytest.raises(BadMessage):
        read_var_uint(padded, 0)


@pytest.mark.parametrize("encoded", [var_uint(MAX_SAFE + 1), var_uint(2**63), var_uint(2**64 - 1)])
def test_numbers_that_javascript_cannot_tell_apart_are_refused(encoded):
    with pytest.raises(BadMessage, match="2\\*\\*53"):
        read_var_uint(encoded, 0)


def test_the_longest_number_has_ten_bytes():
    with pytest.raises(BadMessage, match="2\\*\\*53"):  # looked at to its end
        read_var_uint(b"\xff" * 9 + b"\x01", 0)
    with pytest.raises(BadMessage, match="ten bytes"):
        read_var_uint(b"\xff" * 10 + b"\x01", 0)


@pytest.mark.alone
@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("tail", [b"", b"\x00", b"\x01"])
def test_a_varint_bomb_is_refused_at_once(read, tail):
    """A megabyte of continuation bytes (F04): pycrdt's reader needs minutes for it, with the loop frozen."""
    bomb = b"\xff" * 2**20 + tail
    best = 1.0
    for _ in range(5):
        started = time.perf_counter()
        with pytest.raises(BadMessage, match="ten bytes"):
            read(bomb, 0)
        best = min(best, time.perf_counter() - started)
    assert best < 0.001


@pytest.mark.parametrize("raw", [b"\xff", b"\xc3", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"ok\x80"])
def test_text_that_is_not_utf8_is_refused(raw):
    with pytest.raises(BadMessage, match="UTF-8"):
        read_var_string(var_bytes(raw), 0)
    assert read_var_bytes(var_bytes(raw), 0)[0] == raw


@given(st.binary(max_size=40), st.integers(0, 45), st.sampled_from(READERS))
def test_random_bytes_are_read_or_refused(data, at, read):
    try:
        _, end = read(data, at)
    except BadMessage:
        return
    assert at < end <= len(data)


def test_the_end_is_where_it_is_expected():
    expect_end(b"abc", 3)
    with pytest.raises(BadMessage, match="2 bytes follow"):
        expect_end(b"abc", 1)
