"""The supervisor as a program, over children that are a line of Python each."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

import collab.supervisor
from collab.supervisor import DEATH, NOTES, PIPE, RESTARTS, exit_code, name_of, pause

pytestmark = pytest.mark.timeout(60)

PROGRAM = Path(collab.supervisor.__file__)


@contextmanager
def inherited(handler: signal.Handlers, *numbers: signal.Signals) -> Iterator[None]:
    """What becomes of signals in processes that begin here, also in tests that run under nohup or in the background."""
    before = {number: signal.signal(number, handler) for number in numbers}
    yield
    for number, previous in before.items():
        signal.signal(number, previous)


class Supervised:
    """The supervisor of `python -c code`, which finds the number of its restarts in `restarts`."""

    def __init__(self, code: str, *, give_up: float = 60, stop: float = 10, notes: str = "") -> None:
        code = f"import os, signal, sys, time; restarts = int(os.environ['{RESTARTS}'])\n{code}"
        command = [sys.executable, "-I", "-S", str(PROGRAM), str(give_up), str(stop), "console", notes]
        self.process = subprocess.Popen([*command, sys.executable, "-uc", code], stdout=subprocess.PIPE, text=True)

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def end(self, within: float = 20) -> tuple[int, str]:
        """Its exit code, and all that it and its children had left to say."""
        out, _ = self.process.communicate(timeout=within)
        return self.process.returncode, out

    def __enter__(self) -> Supervised:
        return self

    def __exit__(self, *exc: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


DIE = "os.kill(os.getpid(), signal.SIGSEGV)"
WAIT = "print('up', flush=True); signal.pause()"


@pytest.mark.parametrize("code", [0, 2, 3])
def test_an_end_that_would_come_again_is_passed_on(code):
    with Supervised(f"sys.exit({code})") as supervised:
        assert supervised.end() == (code, "")


@pytest.mark.parametrize(
    ("death", "cause"), [(DIE, "SIGSEGV"), ("os.kill(os.getpid(), 9)", "SIGKILL"), ("sys.exit(1)", "exit 1")]
)
def test_a_death_is_followed_by_a_start(death, cause):
    code = f"print(restarts, os.environ['{DEATH}'])\nif restarts < 2: {death}\nsys.exit(0)"
    with Supervised(code) as supervised:
        returned, out = supervised.end()
    assert returned == 0
    assert [line for line in out.splitlines() if "server" not in line] == ["0 ", f"1 {cause}", f"2 {cause}"]
    assert out.count(f"server died cause={cause}") == 2


def test_it_gives_up_with_the_code_of_the_last_death():
    for death, code in ((DIE, 139), ("sys.exit(1)", 1)):
        with Supervised(death, give_up=0.5) as supervised:
            returned, out = supervised.end()
        assert returned == code
        assert "server given up" in out and out.count("server died") >= 2


def test_a_stop_is_passed_on_and_waited_for():
    code = "signal.signal(15, lambda *_: (time.sleep(0.3), print('saved'), sys.exit(0)))\n"
    code += "while True: print('up'); signal.pause()"
    with Supervised(code) as supervised:
        assert supervised.line() == "up"
        for _ in range(3):
            supervised.process.send_signal(signal.SIGTERM)
        returned, out = supervised.end()
    assert (returned, out.splitlines()[0]) == (0, "saved")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_who_was_told_to_stop_is_not_started_again(number):
    with (
        inherited(signal.SIG_DFL, number),
        Supervised(f"signal.signal({number}, signal.SIG_DFL); {WAIT}") as supervised,
    ):
        assert supervised.line() == "up"
        supervised.process.send_signal(number)
        assert supervised.end() == (128 + number, "")


@pytest.mark.alone
def test_a_stop_during_the_pause():
    with Supervised(DIE) as supervised:
        while "restart_seconds=1.6" not in supervised.line():
            pass
        began = time.monotonic()
        supervised.process.send_signal(signal.SIGTERM)
        assert supervised.end() == (139, "")
        assert time.monotonic() - began < 0.5


def test_who_does_not_stop_is_killed():
    with Supervised(f"signal.signal(15, signal.SIG_IGN); {WAIT}\nsignal.pause()", stop=0.3) as supervised:
        assert supervised.line() == "up"
        supervised.process.send_signal(signal.SIGTERM)
        returned, out = supervised.end()
    assert returned == 137 and "did not stop in time" in out


def test_nohup_is_respected():
    with inherited(signal.SIG_IGN, signal.SIGHUP), Supervised(WAIT) as supervised:
        assert supervised.line() == "up"
        supervised.process.send_signal(signal.SIGHUP)
        supervised.process.send_signal(signal.SIGTERM)
        assert supervised.end()[0] == 143


@pytest.mark.parametrize("deaf", [False, True], ids=["by signal", "by pipe"])
def test_no_orphan(deaf):
    """`live_with` hears of it by the pipe where no signal is sent at the parent's death."""
    code = f"sys.path.insert(0, {str(PROGRAM.parents[1])!r}); from collab import supervisor\n"
    if deaf:
        code += "import ctypes; ctypes.CDLL(None).prctl(1, 0, 0, 0, 0)\n"
    code += "supervisor.live_with(5); print(os.getpid())\nsignal.pause()"
    with Supervised(code) as supervised:
        child = psutil.Process(int(supervised.line()))
        supervised.process.kill()
        child.wait(5)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux gives the children of the dead to another")
def test_what_else_has_ended_is_cleared_away():
    """As process 1 it is given what its grandchildren leave behind."""
    code = "if os.fork() == 0:\n  if os.fork() == 0: time.sleep(0.2); os._exit(0)\n  os._exit(0)\n"
    code += "os.wait(); time.sleep(1); print('up')\nsignal.pause()"
    adopt = "import ctypes, os, sys; ctypes.CDLL(None).prctl(36, 1, 0, 0, 0); os.execv(sys.argv[1], sys.argv[1:])"
    options = ["60", "10", "console", ""]
    command = [sys.executable, "-c", adopt, sys.executable, "-I", "-S", str(PROGRAM), *options, sys.executable, "-uc"]
    process = subprocess.Popen([*command, f"import os, signal, time\n{code}"], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None and process.stdout.readline() == "up\n"
        assert [child.status() for child in psutil.Process(process.pid).children()] != []
        assert all(child.status() != psutil.STATUS_ZOMBIE for child in psutil.Process(process.pid).children())
        process.terminate()
        assert process.wait(5) == 143


def test_it_is_small(tmp_path):
    """It imports nothing of what may kill a server, and takes its folder with it."""
    notes = tmp_path / "notes"
    notes.mkdir()
    code = f"open(os.environ['{NOTES}'] + '/hand', 'w').close(); {WAIT}"
    with Supervised(code, notes=str(notes)) as supervised:
        assert supervised.line() == "up"
        process = psutil.Process(supervised.process.pid)
        assert process.memory_info().rss < 32 * 2**20
        assert process.num_threads() == 1
        supervised.process.terminate()
        supervised.end()
    assert not notes.exists()


def test_pauses_grow_to_an_end():
    pauses = [pause(deaths) for deaths in range(1, 12)]
    assert pauses[:4] == [0.0, 0.1, 0.2, 0.4] and pauses == sorted(pauses) and pauses[-1] == 5.0


def test_how_a_process_ended():
    assert (name_of(signal.SIGSEGV), exit_code(signal.SIGSEGV)) == ("SIGSEGV", 139)
    assert (name_of(3 << 8), exit_code(3 << 8)) == ("exit 3", 3)
    assert name_of(40) == "signal 40"


def test_a_server_without_a_supervisor_knows_it(monkeypatch):
    monkeypatch.delenv(PIPE, raising=False)
    assert not collab.supervisor.is_supervised()
    reading, writing = os.pipe()
    monkeypatch.setenv(PIPE, str(reading))
    assert collab.supervisor.is_supervised()
    os.close(reading)
    os.close(writing)
