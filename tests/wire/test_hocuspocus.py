"""The Hocuspocus dialect: the bytes that real peers exchange, in the codec and on a socket of the running server."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collab.errors import BadMessage
from collab.wire import hocuspocus, yjs
from collab.wire.hocuspocus import Hocuspocus
from collab.wire.lib0 import var_string
from collab.wire.messages import (
    Auth,
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
from tests.support.door import Door
from tests.support.raw import Raw
from tests.support.raw import hocuspocus as frames
from tests.support.raw.hocuspocus import Attached, Said, heard

pytestmark = pytest.mark.anyio

KEYSTROKE = bytes.fromhex("010107000401017402c3a900")
SHOWN = bytes.fromhex("010701097b2275223a2261227d")

# docs/reference/protocol.md: recorded between provider 4.8.0 and server 4.7.0, on the document "d".
FROM_CLIENTS = [
    ("01640200027277" + "05342e382e30", Auth("rw", "4.8.0")),
    ("01640200027277", Auth("rw")),
    ("01640200" + "00" + "05342e382e30", Auth("", "4.8.0")),
    ("016400000100", SyncStep1(b"\x00")),
    ("0164000102" + "0000", SyncStep2(b"\x00\x00")),
    ("016400020c010107000401017402c3a900", Update(KEYSTROKE)),
    ("0164010601070002" + "7b7d", Awareness(bytes.fromhex("010700027b7d"))),
    ("0164010d" + SHOWN.hex(), Awareness(SHOWN)),
    ("01640108010702046e756c6c", Awareness(bytes.fromhex("010702046e756c6c"))),
    ("016403", QueryAwareness()),
    ("0164040002" + "0000", SyncStep1(b"\x00\x00")),  # SyncReply: as Sync
    ("0164040102" + "0000", SyncStep2(b"\x00\x00")),
    ("0164040202" + "0000", Update(b"\x00\x00")),
    ("016405026869", Stateless("hi")),
    ("016407", Close()),
]
FROM_SERVERS = [
    ("0164020" + "20a726561642d7772697465", Granted(True)),
    ("016402020872656164" + "6f6e6c79", Granted(False)),
    ("016402" + "0111" + b"permission-denied".hex(), Denied("permission-denied")),
    ("01640200", TokenWanted()),
    ("016400000100", SyncStep1(b"\x00")),
    ("01640001020000", SyncStep2(b"\x00\x00")),
    ("016400020c010107000401017402c3a900", Update(KEYSTROKE)),
    ("0164010d" + SHOWN.hex(), Awareness(SHOWN)),
    ("0164010100", Awareness(b"\x00")),
    ("016403", QueryAwareness()),
    ("0164050572653a6869", Stateless("re:hi")),
    ("01640712" + b"provider_initiated".hex(), Close("provider_initiated")),
    ("016407" + "04" + "c3a9c3bc", Close("éü")),
    ("01640801", Saved(True)),
    ("01640800", Saved(False)),
]
NAMES = {
    "emoji": "🎉👩‍👩‍👧",
    "right to left": "שלום مرحبا",
    "NFC": unicodedata.normalize("NFC", "é"),
    "NFD": unicodedata.normalize("NFD", "é"),
    "Devanagari": "नमस्ते",
    "slashes": "a/b/../c?d#e%20",
    "spaces": " a b ",
    "longer than a byte": "ß" * 100,
}
WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)
BODIES = st.binary(max_size=200)
SPOKEN = st.one_of(
    st.builds(lambda body: (frames.step1, SyncStep1(body), body), BODIES),
    st.builds(lambda body: (frames.step2, SyncStep2(body), body), BODIES),
    st.builds(lambda body: (frames.change, Update(body), body), BODIES),
    st.builds(lambda text: (frames.stateless, Stateless(text), text), WORDS),
)


# ------------------------------------------------------------------------------------------------------- the codec


@pytest.mark.parametrize(("frame", "message"), FROM_CLIENTS)
def test_what_clients_write(frame, message):
    content = bytes.fromhex(frame)
    assert Hocuspocus("d").decode(content) == message
    assert hocuspocus.split(content) == ("d", 2)
    assert hocuspocus.opens(content)


@pytest.mark.parametrize(("frame", "message"), FROM_SERVERS)
def test_what_servers_write(frame, message):
    encoded = Hocuspocus("d").encode(message)
    assert encoded is not None and encoded.hex() == frame
    assert heard(encoded).address == "d"  # a second opinion


def test_an_address_with_a_session():
    address = "d\0ori1k7nbes"
    prefix = bytes.fromhex("0c64006f7269316b376e626573")
    dialect = Hocuspocus(address)
    assert dialect.encode(Saved(True)) == prefix + b"\x08\x01"
    assert dialect.decode(prefix + b"\x03") == QueryAwareness()
    assert hocuspocus.split(prefix + b"\x03")[0] == address
    assert hocuspocus.document(address) == "d"
    assert hocuspocus.document("d\0a\0b") == "d" == hocuspocus.document("d")
    with pytest.raises(BadMessage, match="another address"):
        dialect.decode(b"\x01d\x03")


def test_ping_and_pong_stand_alone():
    assert (hocuspocus.PING, hocuspocus.PONG) == (b"\x09", b"\x0a")


def test_it_has_no_word_for_an_echo():
    assert Hocuspocus("d").encode(Echo(b"x")) is None


@given(WORDS, WORDS, st.one_of(st.none(), WORDS))
def test_tokens_in_any_script(address, shown, version):
    assert Hocuspocus(address).decode(frames.token(address, shown, version)) == Auth(shown, version)


def test_a_token_is_in_no_text_about_it():
    assert "secret" not in repr(Auth("secret", "4.8.0")) + str(Auth("secret"))


@given(WORDS, SPOKEN)
def test_names_in_any_script(address, spoken):
    build, message, content = spoken
    assert Hocuspocus(address).decode(build(address, content)) == message
    encoded = Hocuspocus(address).encode(message)
    assert encoded is not None and encoded == build(address, content)
    assert heard(encoded).address == address


@given(WORDS, SPOKEN)
def test_every_truncation_is_refused(address, spoken):
    build, _, content = spoken
    frame = build(address, content)
    for size in range(len(frame)):
        with pytest.raises(BadMessage):
            hocuspocus.decode(frame[:size], hocuspocus.split(frame[:size])[1])


@pytest.mark.parametrize("frame", [frame for frame, _ in FROM_CLIENTS])
def test_a_truncated_frame_is_refused(frame):
    content = bytes.fromhex(frame)
    whole = [bytes.fromhex(one) for one in ("01640200027277", "0164020000")]  # tokens without a version
    for size in range(len(content)):
        if content[:size] not in whole:
            with pytest.raises(BadMessage):
                Hocuspocus("d").decode(content[:size])
            assert not hocuspocus.opens(content[:size])


@given(WORDS, SPOKEN, st.binary(min_size=1, max_size=20))
def test_what_follows_a_message_is_refused(address, spoken, more):
    build, _, content = spoken
    with pytest.raises(BadMessage):
        Hocuspocus(address).decode(build(address, content) + more)


def test_what_follows_a_query_is_refused():
    with pytest.raises(BadMessage):
        Hocuspocus("d").decode(b"\x01d\x03\x00")


def test_later_versions_may_say_more_behind_the_token():
    assert Hocuspocus("d").decode(frames.token("d", "t") + b"more") == Auth("t", "4.8.0")


@pytest.mark.parametrize("type_", [6, 8, 9, 10, 11, 99, 127])
def test_types_that_no_client_may_send(type_):
    """6 is BroadcastStateless, 8 SyncStatus: between servers, and from them."""
    for body in (b"", b"\x00", b"\x02hi"):
        with pytest.raises(BadMessage, match=f"type {type_}"):
            Hocuspocus("d").decode(b"\x01d" + bytes([type_]) + body)
        assert not hocuspocus.opens(b"\x01d" + bytes([type_]) + body)


@pytest.mark.parametrize(
    "frame",
    ["", "00", "000000", "0164", "02c3", "01ff00000100", "016400030100", "01640201" + "026869", "8100640300"],
    ids=["empty", "no address", "y-websocket", "no message", "cut name", "no UTF-8", "sync 3", "auth 1", "long varint"],
)
def test_what_nobody_writes_is_refused(frame):
    content = bytes.fromhex(frame)
    with pytest.raises(BadMessage):
        hocuspocus.decode(content, hocuspocus.split(content)[1])
    assert not hocuspocus.opens(content)


@given(st.binary(max_size=100))
def test_anything_else_is_refused_or_read(content):
    try:
        address, at = hocuspocus.split(content)
        message = hocuspocus.decode(content, at)
    except BadMessage:
        return
    assert address and message is not None


def test_no_first_frame_of_y_websocket_is_taken_for_it():
    vectors = (b"\x00", b"\x01\x07\x05", bytes(200))
    for frame in (yjs.encode(SyncStep1(vector)) for vector in vectors):
        assert not hocuspocus.opens(frame)


# ------------------------------------------------------------------------------------------------ the running server


@pytest.fixture(scope="module")
def server() -> Iterator[Door]:
    with Door() as running:
        yield running
        assert not running.complaints()


@pytest.fixture
async def raw(server):
    async with await Raw.open(server.url, "/") as opened:
        yield opened


async def said(raw: Raw, *kinds: str) -> list[str]:
    """All frames up to one of the last of `kinds`, as hex; others than these are an error."""
    found = []
    for kind in kinds:
        frame = await raw.recv()
        assert frame is not None, raw.ended
        assert heard(frame).kind == kind, f"{heard(frame)} instead of {kind}"
        found.append(frame.hex())
    return found


async def test_the_whole_conversation_byte_for_byte(raw):
    await raw.send(bytes.fromhex("0164" + "0200" + "027277" + "05342e382e30"))
    assert await said(raw, "granted") == ["0164" + "02020a" + b"read-write".hex()]
    await raw.send(bytes.fromhex("016400000100"))
    assert sorted(await said(raw, "step1", "step2")) == ["016400000100", "01640001020000"]
    await raw.send(bytes.fromhex("01640001020000"))
    assert await said(raw, "saved") == ["01640801"]
    await raw.send(bytes.fromhex("016400020c010107000401017402c3a900"))
    assert await said(raw, "saved") == ["01640801"]
    await raw.send(bytes.fromhex("0164010d010701097b2275223a2261227d"))
    assert await said(raw, "awareness") == ["0164010d010701097b2275223a2261227d"]
    await raw.send(bytes.fromhex("016405026869"))
    assert await said(raw, "stateless") == ["0164050572653a6869"]
    await raw.send(bytes.fromhex("016403"))
    assert await said(raw, "awareness") == ["0164010d010701097b2275223a2261227d"]
    await raw.send(bytes.fromhex("0a"))  # a pong that nobody asked for is no harm
    await raw.send(bytes.fromhex("01640108010702046e756c6c"))
    await raw.send(bytes.fromhex("016407"))
    answers = [(await raw.recv()).hex()]
    if heard(bytes.fromhex(answers[0])).kind == "awareness":
        answers.append((await raw.recv()).hex())
    assert answers[-1] == "01640712" + b"provider_initiated".hex()
    assert raw.ended is None


async def test_denied_byte_for_byte(raw):
    await raw.send(frames.token("d", "wrong"))
    await raw.send(frames.step1("d"))
    assert await said(raw, "denied") == ["01640201" + "13" + b"this token is wrong".hex()]
    await raw.send(frames.token("d", "right"))
    await raw.send(frames.step1("d"))
    assert (await said(raw, "granted"))[0] == "0164" + "02020a" + b"read-write".hex()


async def test_a_reader_byte_for_byte(raw):
    await raw.send_many([frames.token("reader's", "reader"), frames.step1("reader's")])
    prefix = var_string("reader's").hex()
    assert (await said(raw, "granted", "step1", "step2"))[0] == prefix + "020208" + b"readonly".hex()
    await raw.send(frames.step2("reader's"))  # it has nothing new
    assert await said(raw, "saved") == [prefix + "0801"]
    await raw.send(frames.change("reader's", KEYSTROKE))
    assert await said(raw, "refused") == [prefix + "0800"]
    await raw.send(frames.step2("reader's", KEYSTROKE))
    assert await said(raw, "refused") == [prefix + "0800"]
    await raw.send(frames.step1("reader's"))
    assert (await said(raw, "step1", "step2"))[1] == prefix + "00010200" + "00"


async def test_a_session_byte_for_byte(raw):
    address = "sessions\0ori1k7nbes"
    prefix = "13" + b"sessions\0ori1k7nbes".hex()
    await raw.send_many([frames.token(address), frames.step1(address)])
    found = await said(raw, "granted", "step1", "step2")
    assert all(frame.startswith(prefix) for frame in found)


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
async def test_a_document_in_any_script(server, name):
    """What one writes at an address, another reads there, and the y-websocket room of the same name is the same."""
    async with await Attached.open(server.url, name, shown=f"slow {name}") as one:
        await one.saved()
        await one.write("name", name)
        await one.saved()
        async with await Attached.open(server.url, f"{name}\0{name}") as other:
            await other.saved()
            assert other.map["name"] == name


async def test_a_name_in_nfc_and_in_nfd_are_two(server):
    async with await Attached.open(server.url, "nfc é") as one:
        other = await one.another(unicodedata.normalize("NFD", "nfc é"))
        await one.saved()
        await other.saved()
        await one.write("a")
        await one.saved()
        assert "a" not in other.map and not other.kinds("update")


@pytest.mark.parametrize("token", ["wrong ü🎉", "wrong שלום", "wrong" + unicodedata.normalize("NFD", "é"), "wrong\0\n"])
async def test_a_token_in_any_script(raw, token):
    await raw.send(frames.token("tokens", token))
    await said(raw, "denied")


@pytest.mark.parametrize("address", [" ", "\t", "\u2003", "\0session", "a\nb", "x" * 5000])
async def test_no_document_has_such_a_name(raw, address):
    """It is refused there; the socket and its other documents stay."""
    await raw.send_many([frames.token("good"), frames.token(address)])
    found = [heard(frame) for frame in [await raw.recv(), await raw.recv()] if frame is not None]
    assert {(one.address, one.kind) for one in found} == {("good", "granted"), (address, "denied")}
    await raw.send(frames.stateless("good", "alive"))
    assert heard(await raw.recv()) == Said("good", "stateless", b"re:alive")


@pytest.mark.parametrize(
    "frame",
    [b"", b"\x01d", b"\x05d", b"\x01\xff\x00\x00\x01\x00", b"\x00\x00\x01\x00"],
    ids=["empty", "no message", "cut name", "no UTF-8", "no address"],
)
async def test_a_header_that_cannot_be_read_resets_the_socket(raw, frame):
    await raw.send(frames.token("d"))
    await said(raw, "granted")
    await raw.send(frame)
    assert (await raw.closed()).code == 4205


@pytest.mark.parametrize(
    "body",
    [b"\x06\x02hi", b"\x08\x01", b"\x63", b"\x00\x03\x01\x00", b"\x03\x00", b"\x00\x02\x7f", b"\x02\x01\x02hi"],
    ids=["broadcast", "status", "unknown", "sync 3", "trailing", "truncated", "auth 1"],
)
async def test_a_message_that_cannot_be_read_ends_that_document_only(raw, body):
    """CLOSE with a reason; what comes later for it is passed over, until it shows a token again."""
    await raw.send_many([frames.token("bad"), frames.token("good")])
    await said(raw, "granted", "granted")
    await raw.send_many([var_string("bad") + body, frames.change("bad", KEYSTROKE), frames.stateless("good", "alive")])
    assert [heard(bytes.fromhex(one)).address for one in await said(raw, "close", "stateless")] == ["bad", "good"]
    await raw.send_many([frames.token("bad"), frames.step1("bad")])
    assert (await said(raw, "granted", "step1", "step2"))[2] == (var_string("bad") + b"\x00\x01\x02\0\0").hex()
