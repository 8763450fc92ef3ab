"""Who gets in before the handshake, and what each refusal is counted as."""

from __future__ import annotations

import resource
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from collab.auth import Grant, Knock, Level
from collab.errors import Forbidden, TooMany, TooManyDocuments, Unauthorized, Unavailable
from collab.metrics import LIMITS, Metrics
from collab.settings import Settings
from collab.web import admission as module
from collab.web.admission import Admission

pytestmark = pytest.mark.anyio


class Clock:
    """Monotonic seconds that pass when told."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def gate(clock):
    """Makes admissions: `gate(connections=5, server={...})`."""

    def make(*, server: dict[str, Any] | None = None, cookies: bool = False, **limits: Any) -> Admission:
        settings = Settings(server=server or {}, limits=limits)
        return Admission(settings, Metrics(), cookies=cookies, clock=clock)

    return make


def scope(peer: str | None = "203.0.113.9", **headers: str) -> dict[str, Any]:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "websocket", "scheme": "ws", "client": (peer, 4711) if peer else None, "headers": raw}


def limited(gate: Admission) -> dict[str, int]:
    """What was refused, by limit."""
    values = {name: int(counter._value.get()) for name, counter in gate.metrics.limited.items()}
    return {name: value for name, value in values.items() if value}


def let_in(gate: Admission, peer: str | None, times: int, **headers: str) -> int:
    """How many of so many clients get in."""
    accepted = 0
    for _ in range(times):
        try:
            gate.admit(scope(peer, **headers))
        except TooMany:
            continue
        accepted += 1
    return accepted


def test_the_server_is_full_until_somebody_goes(gate):
    door = gate(connections=2)
    one, _ = door.admit(scope("203.0.113.1")), door.admit(scope("203.0.113.2"))
    with pytest.raises(TooMany, match="connections: the limit is 2"):
        door.admit(scope("203.0.113.3"))
    assert len(door.addresses) == 2, "who was refused has taken nothing"
    one.leave()
    one.leave()
    assert door.open.count == 1
    door.admit(scope("203.0.113.3"))
    assert limited(door) == {"connections": 1}


def test_s17_one_address(gate, figure):
    door = gate(connections_per_address=100, new_connections_per_second_per_address=1_000)
    accepted = let_in(door, "203.0.113.9", 1_000)
    ipv6 = sum(let_in(door, f"2001:db8:0:1::{number:x}", 1) for number in range(1, 1_001))
    mapped = let_in(door, "::ffff:203.0.113.9", 10)
    assert (accepted, ipv6, mapped) == (100, 100, 0)
    assert let_in(door, "203.0.113.10", 1) == let_in(door, "2001:db8:0:2::1", 1) == 1
    figure(f"S17: 1,000 sockets of one address, limit 100: {accepted} accepted; of one /64: {ipv6}")
    assert limited(door) == {"connections_per_address": 900 + 900 + 10}


def test_s17_one_user(gate):
    door = gate(connections_per_user=3)
    clients = [door.admit(scope()) for _ in range(10)]
    accepted = 0
    for client in clients:
        try:
            client.is_user("ana")
            client.is_user("ana")
        except TooMany:
            continue
        accepted += 1
    assert accepted == 3 and limited(door) == {"connections_per_user": 7}
    for client in clients:
        client.is_user(None)
        client.is_user("ben" if client is clients[0] else None)
        client.leave()
        client.is_user("too late")
    assert (len(door.users), len(door.addresses), door.open.count) == (0, 0, 0)


def test_s15_a_storm_is_let_in_at_a_pace(gate, clock, figure):
    """5,000 editors of one deployment come back at once, from 100 offices."""
    door = gate(new_connections_per_second=100, connections_per_address=1_000)
    waiting, seconds, worst = [f"203.0.{number % 100}.9" for number in range(5_000)], 0, 0
    while waiting:
        left = [peer for peer in waiting if not let_in(door, peer, 1)]
        worst = max(worst, len(waiting) - len(left))
        waiting = left
        clock.now += 1
        seconds += 1
    figure(f"S15: 5,000 at once, 100 a second: all in after {seconds} s, at most {worst} in one instant")
    assert worst == 500 and 44 <= seconds <= 48


def test_this_machine_is_not_one_address(gate):
    """1,000s of a load generator's clients, with what is set by default."""
    door = gate()
    assert let_in(door, "127.0.0.1", 2_000) == 2_000
    assert let_in(door, "::1", 2_000) == 2_000
    assert len(door.addresses) == 0


def test_this_machine_as_a_trusted_proxy_is(gate):
    door = gate(server={"trusted_proxies": "127.0.0.1"}, connections_per_address=10)
    assert let_in(door, "127.0.0.1", 20, x_forwarded_for="203.0.113.9") == 10
    assert let_in(door, "127.0.0.1", 20, x_forwarded_for="127.0.0.1") == 10, "nobody can claim to be local"
    assert door.admit(scope("127.0.0.1", x_forwarded_for="1.1.1.1, 203.0.113.8")).address == "203.0.113.8"


@pytest.mark.case("A12")
def test_a12_limits_are_not_evaded_nor_poisoned(gate, figure):
    door = gate(server={"trusted_proxies": "10.0.0.1"}, connections_per_address=10)
    direct = sum(let_in(door, "203.0.113.9", 1, x_forwarded_for=f"1.1.1.{number}") for number in range(200))
    behind = sum(
        let_in(door, "10.0.0.1", 1, x_forwarded_for=f"1.1.1.{number}, 203.0.113.8", forwarded=f"for=1.1.2.{number}")
        + let_in(door, "10.0.0.1", 1, x_forwarded_for=f"1.1.1.{number}, 203.0.113.8")
        for number in range(200)
    )
    assert direct == 10 and behind <= 20, "the second ten count as the proxy itself, together with all who do that"
    assert let_in(door, "10.0.0.1", 1, x_forwarded_for="1.1.1.7") == 1, "whose name was misused has lost nothing"
    figure(f"A12: 200 sockets with forged headers, limit 10: {direct} direct; 400 behind a proxy: {behind}")


def test_an_untrusted_proxy_is_told_of_once(gate, caplog):
    door = gate(connections_per_address=1)
    let_in(door, "203.0.113.7", 5)
    assert caplog.text == ""
    let_in(door, "10.0.0.1", 5, x_forwarded_for="203.0.113.9")
    assert caplog.text.count("COLLAB_SERVER__TRUSTED_PROXIES") == 1


def test_foreign_pages(gate):
    door = gate(server={"allowed_origins": "https://app.example.com"})
    assert door.admit(scope(origin="https://app.example.com")).origin == "https://app.example.com"
    with pytest.raises(Forbidden):
        door.admit(scope(origin="https://evil.net"))
    assert limited(door) == {"origin": 1} and door.open.count == 1
    with pytest.raises(Forbidden):
        gate(cookies=True).admit(scope(origin="https://evil.net", host="collab.example.com"))


def test_seats_of_one_user_and_of_one_address(gate):
    """On however many connections; what is given back can be taken again."""
    door = gate(documents_per_user=3, documents_per_address=5)
    one, other = door.admit(scope()), door.admit(scope())
    back = [one.sits("ana"), other.sits("ana"), other.sits("ana")]
    with pytest.raises(TooManyDocuments, match="documents of one user: the limit is 3"):
        one.sits("ana")
    back += [one.sits("ben"), one.sits(None)]
    with pytest.raises(TooManyDocuments, match="from one address: the limit is 5"):
        one.sits(None)
    back.pop(0)()
    back.append(one.sits("ana"))
    one.leave()
    other.leave()
    for give_back in back:
        give_back()
    assert len(door.seats_of_user) == len(door.seats_of_address) == 0
    assert limited(door) == {"documents_per_user": 1, "documents_per_address": 1}
    local = door.admit(scope("127.0.0.1"))
    for _ in range(10):
        local.sits(None)


def test_a17_rooms_of_one_user(gate, clock):
    door = gate(rooms_created_per_user=5)
    client, local = door.admit(scope()), door.admit(scope("127.0.0.1"))
    for who in ("ana", None):  # the address, where nobody has a name
        for number in range(5):
            client.creates_room(who, f"room {number}")
        with pytest.raises(TooMany, match="new rooms per hour"):
            client.creates_room(who, "one more")
        with pytest.raises(TooMany):
            client.creates_room(who, "one more")
    for number in range(1_000):
        local.creates_room(None, f"room {number}")
    clock.now += 3_600
    client.creates_room("ana", "one more")
    assert limited(door) == {"rooms_created_per_user": 4}


def test_a_room_that_stays_empty_is_made_once(gate, clock):
    """It is new each time that somebody enters it. What is remembered of that is bounded, in time and number."""
    door = gate(rooms_created_per_user=2)
    client = door.admit(scope())
    for _ in range(1_000):
        client.creates_room("ana", "scratch")
        client.creates_room(None, "scratch")
    client.creates_room("ana", "other")
    with pytest.raises(TooMany):
        client.creates_room("ana", "third")
    for number in range(20_000):
        client.creates_room(f"user {number}", "scratch")
        clock.now += 0.01
    assert len(door._made._times) == 10_000
    clock.now += 3_600
    client.creates_room("ana", "scratch")
    assert len(door._made._times) == 1, "of the hour before nothing is left"


def test_as_many_as_there_are_files(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 256))
    assert Admission(Settings(), Metrics()).open.limit == 256 - module.RESERVED_FILES
    assert Admission(Settings(limits={"connections": 100}), Metrics()).open.limit == 100
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert Admission(Settings(), Metrics()).open.limit == 10_000


def test_every_limit_here_is_a_metric_and_honest_clients_have_room(gate):
    door = gate(bytes_burst="1MiB", message_bytes="16MiB")
    pace = door.pace()
    assert pace.take(16 * 2**20, door.clock()) == 0, "one whole message always fits"
    fields = set(type(Settings().limits).model_fields)
    assert set(LIMITS) - fields == {"origin", "processor", "unauthenticated"}


def test_ten_megabytes_made_offline_cost_no_wait(gate):
    pace = gate().pace()
    assert pace.take(10 * 2**20, 1_000) == 0
    assert max(pace.take(30, 1_000 + number / 1_000) for number in range(4_000)) == 0, "and pasting, and typing"


# ---------------------------------------------------------------------- deciding

GRANT = Grant(Level.WRITE)


async def test_what_is_known_at_once_waits_for_nobody(gate):
    door = gate(auth_concurrency=1)

    async def never(knock: Knock) -> Grant:
        await anyio.sleep_forever()
        raise AssertionError

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: door.decide(never, Knock("room"), block="a", deadline=door.clock() + 60))
        await checkpoint()
        await checkpoint()
        with anyio.fail_after(1):
            granted = await door.decide(lambda knock: GRANT, Knock("room"), block="a", deadline=door.clock())
        assert granted is GRANT
        tasks.cancel_scope.cancel()
    assert door._turns == {}


async def test_an_answer_or_a_refusal_comes_through(gate):
    door = gate()

    async def answer(knock: Knock) -> Grant:
        await checkpoint()
        if knock.token != "good":
            raise Unauthorized("bad token")
        return GRANT

    deadline = door.clock() + 5
    assert await door.decide(answer, Knock("room", "good"), block=None, deadline=deadline) is GRANT
    with pytest.raises(Unauthorized):
        await door.decide(answer, Knock("room", "bad"), block="a", deadline=deadline)


async def test_a10_slow_decisions_are_bounded_and_others_are_served(gate, figure):
    """1,000 clients of one address whose decision hangs; another address asks in between and is answered."""
    door = gate(auth_concurrency=20)
    running = most = 0
    outcomes: list[str] = []

    async def decide(knock: Knock) -> Grant:
        nonlocal running, most
        if knock.address == "quick":
            await checkpoint()
            return GRANT
        running += 1
        most = max(most, running)
        try:
            await anyio.sleep(30)
        finally:
            running -= 1
        return GRANT

    async def client(block: str) -> None:
        try:
            await door.decide(decide, Knock("room", address=block), block=block, deadline=door.clock() + 1)
        except Unavailable:
            outcomes.append("too late")
        else:
            outcomes.append(f"{block} served")

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            for _ in range(1_000):
                tasks.start_soon(client, "slow")
            await anyio.wait_all_tasks_blocked()
            for _ in range(100):
                tasks.start_soon(client, "quick")
    served = outcomes.count("quick served")
    figure(f"A10: 1,000 decisions that hang, 20 at once: {most} ran, {served} of 100 others served")
    assert most == 5 and served == 100 and outcomes.count("too late") == 1_000
    refused = limited(door)
    assert sum(refused.values()) == 1_000 and refused["auth_seconds"] >= 5 and refused["auth_concurrency"] > 900
    assert door._turns == {} and door._decisions.value == 20
