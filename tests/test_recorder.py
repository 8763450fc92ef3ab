"""What was in hand is known after a death, and nothing else is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import timeit
from pathlib import Path

import pytest

from collab.recorder import SIZE, SLOT_BYTES, SLOTS, STEPS, TICK, Recorder, digest_of

ROOT = Path(__file__).parents[1]


@pytest.fixture
def file(tmp_path):
    return tmp_path / "hand"


def test_what_is_done_is_not_in_hand(file):
    recorder = Recorder(file)
    recorder.drop(recorder.hold(TICK, "room", [b"one"], "ana"))
    recorder.hold(STEPS.index("load"), "another")
    recorder.close()
    [hand] = Recorder(file).found
    assert (hand.step, hand.room, hand.author, hand.updates, hand.digests) == ("load", "another", None, (), ())
    assert Recorder(file).found == [], "it is judged once"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_it_outlives_the_process(file, number):
    code = "import os, sys; from pathlib import Path; from collab.recorder import Recorder, TICK\n"
    code += f"recorder = Recorder(Path({str(file)!r})); recorder.hold(TICK, 'Zoë’s', [b'one', b'', b'three'], 'ana')\n"
    done = subprocess.run([sys.executable, "-c", f"{code}os.kill(os.getpid(), {number})"], cwd=ROOT, check=False)
    assert done.returncode == -number
    [hand] = Recorder(file).found
    assert (hand.step, hand.room, hand.author) == ("tick", "Zoë’s", "ana")
    assert hand.updates == (b"one", b"", b"three") and hand.digests == tuple(map(digest_of, hand.updates))


def test_an_update_that_says_nothing_is_nobodys_fault(file):
    Recorder(file).hold(TICK, "room", [b"\x00\x00", b"one"])
    assert Recorder(file).found[0].updates == (b"one",)


def test_what_is_too_large_has_its_digests(file):
    updates = [os.urandom(SLOT_BYTES), b"two"]
    Recorder(file).hold(TICK, "room", updates, "ana")
    [hand] = Recorder(file).found
    assert (hand.room, hand.author, hand.updates) == ("room", "ana", ())
    assert hand.digests == tuple(map(digest_of, updates))


def test_more_at_once_than_there_are_places(file):
    recorder = Recorder(file)
    places = [recorder.hold(TICK, f"room {number}") for number in range(SLOTS + 1)]
    assert places[-1] == 0 and len(set(places)) == SLOTS + 1
    for place in places:
        recorder.drop(place)
    assert recorder.hold(TICK, "room")


@pytest.mark.parametrize("content", [b"", b"something else", bytes(SIZE), b"collab in hand 1" + b"\xff" * (SIZE - 16)])
def test_a_file_that_is_not_ours(file, content):
    file.write_bytes(content)
    recorder = Recorder(file)
    assert recorder.found == []
    recorder.hold(TICK, "room")
    assert len(Recorder(file).found) == 1


def test_the_file_has_no_hole(file):
    """On a full disk, a write into a hole of a mapping would end the process."""
    Recorder(file)
    assert file.stat().st_size == SIZE
    if sys.platform.startswith("linux"):
        assert file.stat().st_blocks * 512 >= SIZE


def test_it_costs_next_to_nothing(file, figure):
    recorder, update = Recorder(file), [os.urandom(30)]
    seconds = min(timeit.repeat(lambda: recorder.drop(recorder.hold(TICK, "a room's name", update)), number=10_000))
    figure(f"a note for each tick: {seconds * 100:.2f} us")
    assert seconds / 10_000 < 20e-6
