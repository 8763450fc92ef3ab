"""F04, F05, F10, F12, F15: updates that are made to hurt, at the door. Nothing of them reaches yrs."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pycrdt import Doc

from collab.errors import BadMessage, BadUpdate
from collab.room import RoomCore
from collab.wire import vet
from collab.wire.lib0 import var_uint
from collab.wire.messages import Update
from tests.test_room import Somebody
from tests.wire.test_vet import after, run, text, update, value

REPO = Path(__file__).parents[2]
YJS = json.loads((REPO / "tests/wire/yjs_updates.json").read_text())

ENDLESS = b"\xff" * 1_000_000 + b"\x01"


def refused_in(made: bytes) -> float:
    """Milliseconds until it is refused."""
    began = time.perf_counter()
    with pytest.raises(BadMessage):
        vet.parse(made)
    return (time.perf_counter() - began) * 1e3


@pytest.mark.parametrize(
    "made",
    [
        ENDLESS,
        b"\x01" + ENDLESS,
        b"\x01\x01" + ENDLESS,
        b"\x01\x01\x07" + ENDLESS,
        b"\x01\x01\x07\x00\x00" + ENDLESS,
        b"\x01\x01\x07\x00\x84" + ENDLESS,
        b"\x00" + ENDLESS,
        b"\x00\x01\x07\x01" + ENDLESS,
        value(b"\x7d" + ENDLESS),
        value(b"\x75" + ENDLESS),
        b"\x01\x01\x07\x00\x04\x01" + ENDLESS,
    ],
)
def test_f04_a_number_that_does_not_end(made):
    """1 MB of it, wherever an update has a number."""
    assert min(refused_in(made) for _ in range(5)) < 1


@pytest.mark.case("F05")
@pytest.mark.parametrize("depth", [10_000, 100_000, 1_000_000])
@pytest.mark.parametrize("level", [b"\x75\x01", b"\x76\x01\x01a"])
def test_f05_values_in_values(depth, level, figure):
    made = value(level * depth + b"\x7f")
    spent = min(refused_in(made) for _ in range(3))
    figure(f"F05: {depth:,} deep ({len(made) / 1024:,.0f} KiB) refused in {spent:.2f} ms")
    assert spent < 20


BOMBS = {
    "clients": var_uint(2**27),
    "clients, at the limit of numbers": var_uint(2**53 - 1),
    "structs": b"\x01" + var_uint(2**27) + b"\x07\x00",
    "entries of a map": b"\x01\x01\x07\x00\x08\x01\x01t\x01\x76" + var_uint(2**26),
    "entries of a list": b"\x01\x01\x07\x00\x08\x01\x01t\x01\x75" + var_uint(2**26),
    "values": b"\x01\x01\x07\x00\x08\x01\x01t" + var_uint(2**26),
    "letters": b"\x01\x01\x07\x00\x04\x01\x01t" + var_uint(2**31),
    "bytes": b"\x01\x01\x07\x00\x03\x01\x01t" + var_uint(2**40),
    "clients with deletions": b"\x00" + var_uint(2**27),
    "deletions": b"\x00\x01\x07" + var_uint(2**27),
}

BOMB = """
import resource, sys
from collab.errors import BadMessage
from collab.wire import vet

made = bytes.fromhex(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
pages = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (pages + 32 * 2**20,) * 2)
for _ in range(100):
    for read in (vet.parse, vet.parse_state_vector):
        try:
            read(made)
        except BadMessage:
            continue
        raise SystemExit("taken")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.case("F10")
@pytest.mark.parametrize("bomb", BOMBS)
def test_f10_a_few_bytes_that_announce_much(bomb, figure):
    """A hundred times, with 32 MiB to spare."""
    done = subprocess.run([sys.executable, "-c", BOMB, BOMBS[bomb].hex()], cwd=REPO, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    figure(f"F10, {bomb}: {len(BOMBS[bomb])} bytes, memory grew by {done.stdout.strip()} KiB")
    assert int(done.stdout) < 4096


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (update(run(text("a"), client=2**53)), "over 2"),
        (update(run(text("a"), clock=2**31)), "out of range"),
        (update(run(text("a"), clock=2**32)), "out of range"),
        (update(run(after(2**53, 0))), "over 2"),
        (update(deletes=b"\x01" + var_uint(2**53) + b"\x01\x00\x01"), "over 2"),
        (update(deletes=b"\x01\x07\x01\x00" + var_uint(2**32)), "out of range"),
        (update(run(b"\x00\x00")), "length zero"),
        (update(run(text("a"), client=7), run(text("b"), client=7, clock=1)), "twice"),
        (update(run(b"\x0c\x01\x01t\x01a")), "unknown content"),
        (update(run(b"\x04\x03\x01t\x01a")), "neither named"),
        (update(run(text("ab"), text("c", parent=b"\x00\x07\x01"))), "no shared type"),  # a letter for a parent
        (update(run(b"\x08\x01\x01t\x01\x7f", text("c", parent=b"\x00\x07\x00"))), "no shared type"),
        (update(run(text("c", parent=b"\x00\x08\x00")), run(text("a"), client=8)), "no shared type"),
    ],
)
def test_what_only_looks_like_an_update(made, why):
    with pytest.raises(BadMessage, match=why):
        vet.parse(made)


def test_children_of_what_was_deleted_are_no_fault():
    for deleted in (b"\x00\x01", b"\x01\x01\x01t\x01"):
        assert vet.parse(update(run(deleted, text("c", parent=b"\x00\x07\x00")))).foundlings == ((7, 0),)


def test_a_letter_for_a_parent_that_came_before():
    """This update alone does not show it. yrs refuses it, and its sender is told; the room goes on."""
    core, ana, ben = RoomCore("room"), Somebody(), Somebody()
    core.join(ana)
    core.join(ben)
    core.receive(ana, Update(update(run(text("ab")))), 0)
    core.tick(0, 0)
    core.receive(ben, Update(update(run(text("c", parent=b"\x00\x07\x01"), client=8))), 0)
    try:
        core.tick(0, 0)
    except Exception as panic:
        assert type(panic).__name__ == "Panicked"  # the room is made anew, and who did it is found out
    else:
        assert [type(error) for error in ben.refused] == [BadUpdate]
    assert not ana.refused


@pytest.mark.parametrize("case", [case for case in YJS if len(case["v2"]) > 16], ids=lambda case: str(case["name"]))
def test_f15_the_second_version_of_the_format(case):
    from base64 import b64decode

    with pytest.raises(BadUpdate):
        vet.parse(b64decode(case["v2"]))


@pytest.mark.case("F12")
def test_f12_gaps_that_never_close(figure):
    """20,000 updates of 20,000 clients that nobody knows, each after something that never comes."""
    core, ana, ben = RoomCore("room"), Somebody(), Somebody()
    core.join(ana)
    core.join(ben)
    flood = [update(run(after(100 + number, 3), client=100 + number, clock=4)) for number in range(20_000)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    for number, made in enumerate(flood):
        core.receive(ana, Update(made), 0)
        if number % 10 == 9:
            core.tick(0, 0)
    spent = time.process_time() - began
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    core.receive(ben, Update(update(run(text("fine"), client=1))), 0)
    began = time.process_time()
    core.tick(0, 0)
    after_flood = (time.process_time() - began) * 1e6
    figure(
        f"F12: 20,000 updates with gaps ({sum(map(len, flood)) / 1024:.0f} KiB) cost {spent:.2f} s of CPU, "
        f"{len(core.gaps)} are held, memory grew by {grown} KiB; the next keystroke takes {after_flood:.0f} us"
    )
    assert len(core.gaps) == 1_000
    assert len(ana.asked) == 1 and core.clocks == {1: 4}
    assert spent < 60 and grown < 64 * 1024


def test_what_a_keystroke_costs(figure):
    """Vetting alone, for one letter and for a kilobyte of scattered edits."""
    letter = update(run(after(7, 3), clock=4))
    large = update(run(*(after(9, number) for number in range(2_000))))
    spent = {}
    for name, made, rounds in (("letter", letter, 5_000), ("large", large, 10)):
        began = time.perf_counter()
        for _ in range(rounds):
            vet.parse(made)
        spent[name] = (time.perf_counter() - began) / rounds
    per_kib = spent["large"] / (len(large) / 1024)
    figure(f"vetting: a letter {spent['letter'] * 1e6:.1f} us; scattered edits {per_kib * 1e6:.0f} us per KiB")
    assert spent["letter"] < 100e-6 and per_kib < 2e-3


def test_types_in_types_are_vetted_in_a_moment(figure):
    """One update with a chain of 100,000: no recursion on the way, and refused."""
    from collab.wire.nesting import Nesting

    structs = [b"\x07\x01\x01t\x00", *(b"\x07\x00\x07" + var_uint(number) + b"\x00" for number in range(100_000))]
    made = update(run(*structs))
    began = time.perf_counter()
    assert vet.parse(made).types == len(structs)
    assert not Nesting().admit(made, {}, Doc().get_update)
    figure(f"F05: one update with {len(structs):,} types in each other refused in {time.perf_counter() - began:.2f} s")
