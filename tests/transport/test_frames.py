"""Frames out of bytes, however these are cut; what one client left behind is not read into another's."""

from __future__ import annotations

import os

import pytest

from collab.transport.frames import HEAD_BYTES, KEPT_BYTES, SPARE_PARSERS, Parsers
from tests.support.raw import CLOSE, encode_frame

pytestmark = pytest.mark.anyio
LIMIT = 1_000_000


class Taken:
    def __init__(self) -> None:
        self.frames: list[bytes] = []

    def take_frame(self, frame) -> None:
        self.frames.append(frame.get_payload_as_bytes())


def room(parser) -> int:
    return len(parser._protocol.get_buffer(-1))


async def test_an_idle_socket_needs_no_parser():
    parsers, taken = Parsers(LIMIT), Taken()
    parser = parsers.lend(taken)
    assert parser.feed(encode_frame(b"one")) == 9 and not parser.partial
    parsers.take_back(parser)
    other = Taken()
    assert parsers.lend(other) is parser
    parser.feed(encode_frame(b"two"))
    assert (taken.frames, other.frames) == ([b"one"], [b"two"])
    assert parsers.lend(taken) is not parser, "on loan"


async def test_cut_anywhere():
    parsers, taken = Parsers(LIMIT), Taken()
    wanted = [os.urandom(size) for size in (0, 1, 125, 126, 127, 4095, 4096, 70_000)]
    sent = b"".join(map(encode_frame, wanted))
    for step in (1, 2, 3, 4093, 65_536, len(sent)):
        parser = parsers.lend(taken)
        for at in range(0, len(sent), step):
            parser.feed(sent[at : at + step])
        assert taken.frames == wanted and parser.partial == 0 and not parser.failed
        taken.frames.clear()


async def test_short_frames_make_no_large_buffer():
    """picows doubles its buffer whenever a read nearly fills it."""
    parser = Parsers(LIMIT).lend(taken := Taken())
    before = room(parser)
    parser.feed(encode_frame(b"x" * 20) * 20_000)
    assert len(taken.frames) == 20_000 and room(parser) == before and not parser.spent


async def test_a_large_buffer_is_thrown_away():
    parsers = Parsers(LIMIT)
    parser = parsers.lend(taken := Taken())
    parser.feed(encode_frame(b"x" * 900_000))
    assert len(taken.frames) == 1 and room(parser) > 900_000 and parser.spent
    parsers.take_back(parser)
    assert room(parsers.lend(taken)) < KEPT_BYTES


async def test_a_goodbye_is_not_remembered():
    parsers = Parsers(LIMIT)
    for _ in range(3):
        parser = parsers.lend(taken := Taken())
        parser.feed(encode_frame(b"\x03\xe8", opcode=CLOSE))
        assert taken.frames == [b"\x03\xe8"] and not parser.failed
        parsers.take_back(parser)


async def test_few_are_kept():
    parsers = Parsers(LIMIT)
    for parser in [parsers.lend(Taken()) for _ in range(100)]:
        parsers.take_back(parser)
    assert len(parsers._spare) == SPARE_PARSERS


@pytest.mark.parametrize("size", [LIMIT + 1, 3 * LIMIT])
@pytest.mark.parametrize("ahead", [0, 5, 3000])
async def test_what_is_left_of_a_frame_that_is_too_long(size, ahead):
    """Counted to the byte: what follows it can be read again."""
    parser = Parsers(LIMIT).lend(taken := Taken())
    before, frame = encode_frame(b"y" * ahead), encode_frame(b"x" * size)
    sent = before + frame[:20]
    taken_bytes = parser.feed(sent)
    assert parser.failed and parser.failed_size == size
    assert taken.frames == [b"y" * ahead]
    assert parser.unread() == len(before) + len(frame) - taken_bytes
    assert room(parser) < KEPT_BYTES, "refused before there was room for it"


async def test_a_failure_says_why():
    parser = Parsers(LIMIT).lend(taken := Taken())
    parser.feed(encode_frame(b"x", mask=False) + encode_frame(b"y"))
    assert int.from_bytes(parser.failed[2:4], "big") == 1002 and parser.failed_size == 0 and taken.frames == []


@pytest.mark.parametrize("size", [5, 125, 126, 70_000])
@pytest.mark.parametrize("step", [1, 3, 300, 4096, 100_000])
async def test_what_is_still_to_come_of_a_frame(size, step):
    """However it is cut, and whatever came before it in the same read."""
    parser = Parsers(LIMIT).lend(Taken())
    frame = encode_frame(b"z" * size)
    sent = encode_frame(b"before") + frame
    for at in range(0, len(sent) - 1, step):
        end = min(at + step, len(sent) - 1)
        parser.feed(sent[at:end])
        begun = end - (len(sent) - len(frame))
        if begun > 0:
            assert parser.partial == begun and parser.head == frame[: min(begun, HEAD_BYTES)]
        if begun >= 14:
            assert parser.missing == len(frame) - begun and parser.size == size
    parser.feed(sent[-1:])
    assert not parser.partial
