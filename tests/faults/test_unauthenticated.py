"""What somebody may do to the server before anybody has said that they may come in, and one document to another."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.faults.tokens import SECRET, token
from tests.support.door import Door
from tests.support.raw import BINARY, CONTINUATION, Closed, Raw, encode_frame, sync1, var_string
from tests.support.raw import hocuspocus as frames
from tests.support.raw.hocuspocus import Attached
from tests.support.server import Server
from tests.support.waiting import until

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]

MiB = 1 << 20


@pytest.fixture
def server() -> Iterator[Door]:
    with Door(env={"COLLAB_LOG__LEVEL": "error"}) as running:
        yield running
        assert not running.complaints()


async def flood(server: Door, first: list[bytes], then: bytes, times: int) -> tuple[Closed, int]:
    """Send `first`, and `then` so many times or until the server closes; how it closed, and what got through."""
    async with await Raw.open(server.url, "/") as raw:
        raw.answer_close = False  # frames are under way, half of one perhaps
        sent = 0

        async def send() -> None:
            nonlocal sent
            try:
                await raw.send_many(first)
                for number in range(times):
                    await raw.send(then.replace(b"NUMBER", f"{number:06}".encode()))
                    sent += 1
                    if number % 16 == 0:
                        await asyncio.sleep(0)
            except OSError:
                pass

        sending = asyncio.create_task(send())
        ended = await raw.closed(30)
        sending.cancel()  # it may stand still: nobody reads any more
        await asyncio.gather(sending, return_exceptions=True)
        return ended, sent


FLOODS = {
    "bytes": ([frames.token("d", "never")], frames.change("d", bytes(MiB // 4)), 400),
    "one large frame": ([frames.token("d", "never")], frames.change("d", bytes(6 * MiB)), 40),
    "messages": ([frames.token("d", "never")], frames.change("d", b"\x00\x00"), 20_000),
    "documents": ([], frames.token("dNUMBER", "never"), 20_000),
    "documents without a token": ([], frames.step1("dNUMBER"), 20_000),
    "bytes, many documents": (
        [frames.token(f"d{number:06}", "never") for number in range(90)],
        frames.presence("d000001", [(7, 1, "x" * MiB)]),
        100,
    ),
}


@pytest.mark.case("A09")
@pytest.mark.parametrize("what", FLOODS)
async def test_floods_before_access_is_granted(server, full, figure, what):
    """One after the other, and 20 side by side: each socket is reset, and the memory is not held."""
    async with await Attached.open(server.url, "bystander") as bystander:
        await bystander.saved()
        ended, sent = await flood(server, *FLOODS[what])
        assert ended.code == 4205, ended
        before = peak = await held(server, bystander)
        rounds = 10 if full else 3
        running = True

        async def watch() -> None:
            nonlocal peak
            while running:
                peak = max(peak, server.rss())
                await asyncio.sleep(0.005)

        watching = asyncio.create_task(watch())
        for _ in range(rounds):
            ends = await asyncio.gather(*(flood(server, *FLOODS[what]) for _ in range(20)))
            assert {end.code for end, _ in ends} == {4205}
            await bystander.quiet(0.01)  # it answers, or it would be taken for dead
        running = False
        await watching
        await until(lambda: server.metrics().get("collab_connections") <= 1, "the sockets to be gone", 20)
        after = await held(server, bystander)
        await bystander.write("alive")
        await bystander.saved()
        assert bystander.ended is None
    figure(
        f"{what}: closed {ended.code} ({ended.reason}) after {sent} frames; {20 * rounds} floods, 20 at a time: RSS "
        f"{before / MiB:.0f} MiB before, {peak / MiB:.0f} at most, {after / MiB:.0f} held after"
    )
    assert after - before < 40 * MiB, "who was refused is still in memory"
    assert peak - before < 20 * 64 * MiB  # what is kept, the frames in the making, and what is not collected yet


async def held(server: Door, bystander: Attached) -> int:
    """Resident bytes of the server that somebody holds on to."""
    bystander.said.clear()
    await bystander.raw.send(frames.stateless(bystander.address, "tidy"))
    await bystander.hears("stateless", 20)
    return server.rss()


async def test_the_limits_are_the_ones_that_were_set():
    """Just below each nothing happens; one more is too much."""
    env = {"COLLAB_LIMITS__UNAUTHENTICATED_MESSAGES": "10", "COLLAB_LIMITS__UNAUTHENTICATED_DOCUMENTS": "5"}
    with Door(env=env) as server:
        async with await Raw.open(server.url, "/") as raw:
            await raw.send_many([frames.token("d", "never"), *[frames.step1("d")] * 10])
            assert await raw.silence(0.5) == [] and raw.ended is None
            await raw.send(frames.step1("d"))
            assert (await raw.closed()).code == 4205
        async with await Raw.open(server.url, "/") as raw:
            await raw.send_many([frames.token(f"d{number}", "never") for number in range(5)])
            assert await raw.silence(0.5) == [] and raw.ended is None
            await raw.send(frames.token("one more", "never"))
            assert (await raw.closed()).code == 4205


async def test_nobody_stays_without_access():
    """Whatever they send: an answer that never comes is waited for so long and no longer."""
    with Door(env={"COLLAB_LIMITS__AUTH_SECONDS": "2"}) as server:
        async with await Raw.open(server.url, "/") as raw:
            await raw.send(frames.token("d", "never"))
            for _ in range(8):
                await asyncio.sleep(0.4)
                if raw.ended is not None:
                    break
                try:
                    await raw.send(frames.step1("d"))
                except OSError:
                    break
            ended = await raw.closed(3)
            assert ended.code in (4408, 1013)  # the client's time is up, or that of the decision
            assert 1.5 <= ended.seconds <= 5


@pytest.mark.case("A09")
@pytest.mark.parametrize("fast", ["yes", "no"], ids=["takeover", "asgi"])
@pytest.mark.parametrize("in_pieces", [False, True], ids=["one frame", "pieces"])
async def test_messages_without_an_end_before_access(fast, in_pieces, figure):
    """12 MiB of a message that is not whole, from each of 20 clients without a token: refused, and not held."""
    env = {"JWT_SECRET": SECRET, "COLLAB_SERVER__FAST_PATH": fast, "COLLAB_LOG__LEVEL": "error"}
    with Server(env=env) as server:
        async with await Raw.open(server.url, f"/warm?token={token({'warm': 'write'})}") as warm:
            await warm.send(sync1())
            await warm.expect("sync2")
            before = server.peak(anew=True)
            clients = [await Raw.open(server.url, f"/r{number}") for number in range(20)]

            async def send(raw: Raw) -> None:
                try:
                    if not in_pieces:
                        await raw.send_bytes(encode_frame(bytes(15 * MiB))[:14])
                    for number in range(48):
                        piece = bytes(MiB // 4)
                        opcode = BINARY if number == 0 else CONTINUATION
                        await raw.send_bytes(encode_frame(piece, opcode=opcode, fin=False) if in_pieces else piece)
                except OSError:
                    pass

            sending = [asyncio.create_task(send(raw)) for raw in clients]
            ends = [await raw.closed(20) for raw in clients]
            for one in sending:
                one.cancel()
            await asyncio.gather(*sending, return_exceptions=True)
            await warm.send(sync1())
            await warm.expect("sync2")
            peak, after = server.peak(), server.rss()
            for raw in clients:
                raw.fin()
    figure(
        f"20 x 12 MiB of messages without an end ({'takeover' if fast == 'yes' else 'asgi'}): closed "
        f"{ {end.code for end in ends} }; RSS {before / MiB:.0f} MiB before, {peak / MiB:.0f} at most, "
        f"{after / MiB:.0f} after"
    )
    assert {end.code for end in ends} <= {1013, 4401}
    assert peak - before < 20 * 8 * MiB and after - before < 60 * MiB


async def test_a_long_message_that_began_before_access_was_granted(server):
    """What counts is what is here by then: a client that may come in sends its 10 MiB."""
    async with await Raw.open(server.url, "/") as raw:
        await raw.send(frames.token("late", "slow"))
        whole = encode_frame(frames.stateless("late", "x" * 10 * MiB))
        await raw.send_bytes(whole[: 4 * MiB])
        while (await raw.recv() or b"")[5:7] != b"\x02\x02":
            pass
        await raw.send_bytes(whole[4 * MiB :])
        await raw.send(frames.step1("late"))
        while (await raw.recv() or b"")[5:7] != b"\x00\x01":
            pass
        assert raw.ended is None


async def test_who_leaves_before_the_answer_still_counts(figure):
    """Below every limit, again and again: what came ahead of a decision is counted until that is made."""
    total = 32 * MiB
    env = {"COLLAB_LIMITS__UNAUTHENTICATED_TOTAL_BYTES": str(total), "COLLAB_LOG__LEVEL": "error"}
    with Door(env=env) as server:
        async with await Attached.open(server.url, "bystander") as bystander:
            await bystander.saved()
            before = await held(server, bystander)
            for _ in range(60):
                async with await Raw.open(server.url, "/") as raw:
                    await raw.send_many([frames.token("d", "never"), frames.change("d", bytes(2 * MiB))])
                    await raw.close()
                    await raw.closed()
            after = await held(server, bystander)
    figure(f"60 x 2 MiB, and gone before the answer: {(after - before) / MiB:.0f} MiB held of at most {total // MiB}")
    assert after - before < 3 * total  # each frame is kept as it came and as it was read; and the sockets' buffers


async def test_who_leaves_while_a_new_token_is_looked_at_is_gone(server):
    """Its presence does not stay behind, however long the answer takes."""
    async with await Attached.open(server.url, "room") as watcher, await Attached.open(server.url, "room") as one:
        await watcher.saved()
        await one.saved()
        await one.raw.send(frames.presence("room", [(7, 1, {"name": "one"})]))
        await watcher.until(lambda: watcher.kinds("awareness") == 1)
        await one.raw.send_many([frames.token("room", "never"), frames.stateless("room", "heard?")])
        await one.hears("stateless")
        one.raw.reset()
        await watcher.until(lambda: watcher.kinds("awareness") == 2, within=2)
        assert watcher.said[-1].content.endswith(b"\x04null")


async def test_frames_before_the_answer_are_taken_in_order(server):
    """An early update is not lost, nor taken before what came earlier."""
    async with await Attached.open(server.url, "early", shown="slow") as one:
        for number in range(100):
            await one.write(f"{number}")
        assert not one.said
        await one.saved()
        assert one.kinds("saved") == 101
        async with await Attached.open(server.url, "early") as other:
            await other.saved()
            assert len(list(other.map.keys())) == 100


async def test_wrong_tokens_again_and_again(server):
    """Each is answered; the right one still counts, and the other document never notices."""
    async with await Attached.open(server.url, "good") as good:
        await good.saved()
        bad = await good.another("bad", shown="wrong")
        await bad.hears("denied")
        for number in range(50):
            await bad.attach(f"wrong {number}")
        await bad.until(lambda: bad.kinds("denied") == 51)
        assert not bad.kinds("step1", "step2", "granted", "awareness")
        await bad.attach("right")
        await bad.saved()
        await good.write("a")
        await good.saved()


@pytest.mark.parametrize(
    "content",
    [b"\x00", b"\x01\x01\xff", b"\xff" * 40, b"\x01\x01\x07\x00\x04\x01\x01t\x7fxx", b""],
    ids=["one byte", "truncated", "noise", "cut string", "empty"],
)
async def test_a_malformed_update_harms_one_document_at_most(server, content):
    """It is refused (SyncStatus 0) or ends its document (CLOSE): never "saved". Others on the socket live."""
    async with await Attached.open(server.url, "good") as good:
        bad = await good.another("bad")
        await bad.saved()
        await good.saved()
        bad.said.clear()
        await bad.send(content)
        await bad.until(lambda: bad.kinds("refused", "close"))
        await bad.quiet(0.3)
        assert not bad.kinds("saved")
        await good.write("alive")
        await good.saved()
        async with await Attached.open(server.url, "bad") as reader:
            await reader.saved()
            assert not list(reader.map.keys())


@pytest.mark.parametrize("body", [b"\x06\x02hi", b"\x63\x00"], ids=["BroadcastStateless", "unknown"])
async def test_what_no_client_may_say_ends_one_document(server, body):
    async with await Attached.open(server.url, "good") as good:
        bad = await good.another("bad")
        witness = await Attached.open(server.url, "bad")
        for one in (good, bad, witness):
            await one.saved()
        await good.raw.send(var_string("bad") + body)
        await bad.hears("close")
        await good.write("alive")
        await good.saved()
        await witness.quiet(0.3)
        assert not witness.kinds("stateless", "close")
        again = await good.another("bad")  # and it may come back
        await again.saved()
        witness.raw.fin()
