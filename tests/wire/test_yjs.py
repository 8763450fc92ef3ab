"""The y-websocket dialect: one message per frame, the bytes that y-protocols writes, nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycrdt import Doc, Text, YMessageType, YSyncMessageType, create_sync_message, create_update_message

from collab.errors import BadMessage
from collab.wire import yjs
from collab.wire.lib0 import var_bytes
from collab.wire.messages import (
    Awareness,
    Close,
    Denied,
    Echo,
    Granted,
    QueryAwareness,
    Saved,
    Stateless,
    SyncStep1,
    SyncStep2,
    TokenWanted,
    Update,
)

# docs/reference/protocol.md: what y-websocket 2.1 to 3.1 and y-protocols 1.0.7 write.
GOLDEN = [
    ("00000100", SyncStep1(b"\x00")),
    ("0001020000", SyncStep2(b"\x00\x00")),
    ("00020c010107000401017402c3a900", Update(bytes.fromhex("010107000401017402c3a900"))),
    ("000200", Update(b"")),
    ("010d010701097b2275223a2261227d", Awareness(bytes.fromhex("010701097b2275223a2261227d"))),
    ("01080107020" + "46e756c6c", Awareness(bytes.fromhex("010702046e756c6c"))),
    ("010100", yjs.NOTHING_NEW),
    ("020003c3a92e", Denied("é.")),
    ("020000", Denied("")),
    ("03", QueryAwareness()),
]
BODIES = st.binary(max_size=300)
MESSAGES = st.one_of(
    st.builds(SyncStep1, BODIES),
    st.builds(SyncStep2, BODIES),
    st.builds(Update, BODIES),
    st.builds(Awareness, BODIES),
    st.builds(Denied, st.text(st.characters(exclude_categories=["Cs"]))),
    st.just(QueryAwareness()),
)


@pytest.mark.parametrize(("frame", "message"), GOLDEN)
def test_the_bytes_of_the_protocol(frame, message):
    assert yjs.encode(message).hex() == frame
    assert yjs.decode(bytes.fromhex(frame)) == message


@given(MESSAGES)
def test_what_is_encoded_is_decoded(message):
    assert yjs.decode(yjs.encode(message)) == message


def test_pycrdt_writes_the_same_frames():
    doc: Doc = Doc(client_id=1)
    doc.get("text", type=Text).insert(0, "é" * 200)
    assert yjs.decode(create_sync_message(doc)) == SyncStep1(doc.get_state())
    assert yjs.decode(create_update_message(doc.get_update())) == Update(doc.get_update())
    assert (yjs.SYNC, yjs.AWARENESS) == (YMessageType.SYNC, YMessageType.AWARENESS)
    assert yjs.STEP1 == YSyncMessageType.SYNC_STEP1
    assert yjs.STEP2 == YSyncMessageType.SYNC_STEP2
    assert yjs.UPDATE == YSyncMessageType.SYNC_UPDATE


@given(MESSAGES)
def test_every_truncation_is_refused(message):
    frame = yjs.encode(message)
    for size in range(len(frame)):
        with pytest.raises(BadMessage):
            yjs.decode(frame[:size])


@given(MESSAGES, st.binary(min_size=1, max_size=20))
def test_what_follows_a_message_is_refused(message, more):
    with pytest.raises(BadMessage):
        yjs.decode(yjs.encode(message) + more)


@given(MESSAGES, MESSAGES)
def test_two_messages_in_one_frame_are_refused(one, other):
    """Whoever reads only the first would let the second one past every check (F02)."""
    with pytest.raises(BadMessage):
        yjs.decode(yjs.encode(one) + yjs.encode(other))


def test_an_empty_frame_is_refused():
    with pytest.raises(BadMessage, match="empty"):
        yjs.decode(b"")


@pytest.mark.parametrize("rest", [b"", b"\x00", b"\x02\x00", b"\x02\x02\x00\x00"])
def test_unknown_types_are_refused(rest):
    for kind in set(range(4, 256)) - {yjs.ECHO}:
        with pytest.raises(BadMessage):
            yjs.decode(bytes([kind]) + rest)


@pytest.mark.parametrize("step", [3, 4, 127])
def test_unknown_sync_messages_are_refused(step):
    with pytest.raises(BadMessage, match=f"unknown sync message {step}"):
        yjs.decode(bytes([0, step]) + var_bytes(b"\x00"))


def test_an_unknown_auth_message_is_refused():
    with pytest.raises(BadMessage, match="unknown auth message 1"):
        yjs.decode(b"\x02\x01\x00")


@pytest.mark.parametrize(
    "frame",
    [
        b"\x80\x00\x02\x02\x00\x00",  # type 0
        b"\x81\x00\x01\x00",  # type 1
        b"\x00\x82\x00\x02\x00\x00",  # update
        b"\x00\x81\x00\x02\x00\x00",  # step 2
        b"\x00\x02\x82\x00\x00\x00",  # length 2
        b"\x00\x02" + b"\xff" * 2**20,
        b"\xff" * 2**20,
        b"\x01" + b"\xff" * 2**20 + b"\x00",
    ],
)
def test_numbers_written_too_long_are_refused(frame):
    """A check for writers that looks at the bytes would take these for something harmless (F03, F04)."""
    with pytest.raises(BadMessage):
        yjs.decode(frame)


def test_a_reason_has_to_be_text():
    with pytest.raises(BadMessage, match="UTF-8"):
        yjs.decode(b"\x02\x00" + var_bytes(b"\xff"))


@given(
    st.binary(max_size=60)
    | st.builds(
        lambda head, tail: bytes(head) + tail, st.tuples(st.integers(0, 3), st.integers(0, 3)), st.binary(max_size=30)
    )
)
def test_random_bytes_are_one_message_or_refused(frame):
    try:
        message = yjs.decode(frame)
    except BadMessage:
        return
    assert yjs.encode(message) == frame


def test_an_echo_is_asked_for_and_given_in_the_same_bytes():
    frame = b"\x66\x03abc"
    assert yjs.decode(frame) == Echo(b"abc") and yjs.encode(Echo(b"abc")) == frame
    for broken in (b"\x66", b"\x66\x04abc", b"\x66\x02abc"):
        with pytest.raises(BadMessage):
            yjs.decode(broken)


def test_what_the_dialect_has_no_word_for_is_not_said():
    for message in (Saved(True), Granted(True), TokenWanted(), Stateless("hi"), Close("over")):
        assert yjs.encode(message) is None


def test_providers_that_ask_are_told():
    assert yjs.ASKING.encode(Granted(True)) == b"\x02\x02\x0aread-write"
    assert yjs.ASKING.encode(Granted(False)) == b"\x02\x02\x08readonly"
    assert yjs.ASKING.encode(Denied("no")) == b"\x02\x01\x02no"
    assert yjs.ASKING.encode(QueryAwareness()) == b"\x03" and yjs.encode(Granted(True)) is None
