"""Keeps the server running: starts it, starts it again when it dies, passes signals on, ends with its exit code.

`collab serve` looks at its settings and then becomes this program (`become`): one file that imports nothing but a
little of the standard library, so that nothing that kills a server can kill it. It keeps the process id that `collab
serve` was given, and as process 1 of a container it clears away whatever else has ended. The server is its child.

A child that ends by itself with 0, 2 (settings) or 3 (store) is not started again, nor is one that was told to stop.
Any other end is a death: the first is followed by a new start at once, further ones by pauses that grow. When no child
has lived for a minute for so long as `--give-up` says, this program ends with the last one's exit code, 128 + N for a
signal N.

When this program itself is killed, the child hears of it (`live_with`) and goes as it does on SIGTERM.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence

RESTARTS = "_COLLAB_RESTARTS"
"""The variables in which a child is told how many died before it, how the last one ended (`SIGSEGV`, `exit 1`), which
pipe it is to watch, and where notes about crashes go when no store has a place for them. (What begins with COLLAB_ is
a setting.)"""
DEATH = "_COLLAB_DEATH"
PIPE = "_COLLAB_PIPE"
NOTES = "_COLLAB_NOTES"

FINAL = (0, 2, 3)
"""Exit codes with which a server ends by itself, and would again."""
STEADY_SECONDS = 60.0
"""A child that lived for so long has nothing to do with the deaths before it."""
PAUSE_SECONDS, PAUSE_MAX_SECONDS = 0.1, 5.0
"""The pause after the second death in a row, doubled after each next one; and the longest."""
PR_SET_PDEATHSIG = 1
"""prctl(2), Linux: which signal a process gets when its parent ends."""


def pause(deaths: int) -> float:
    """How many seconds to wait after so many deaths in a row."""
    return 0.0 if deaths < 2 else float(min(PAUSE_MAX_SECONDS, PAUSE_SECONDS * 2 ** min(deaths - 2, 20)))


def name_of(status: int) -> str:
    """How a process ended, in words: `SIGSEGV`, `exit 1`. `status` is what `os.waitpid` gave."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exit {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:  # a real-time signal
        return f"signal {-code}"


def exit_code(status: int) -> int:
    """The exit code that says the same: as it was, 128 + N for a signal N."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


class Supervisor:
    """One server and its restarts. All signals are blocked and waited for, so nothing happens between two steps.

    Args:
        command: The server.
        give_up_seconds: For how long it may die again and again.
        stop_seconds: How long it has to stop once it was told to; then it is killed.
        say: Told each death: an event and its fields.
        notes: A folder for the child's notes about crashes; removed at the end.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        give_up_seconds: float,
        stop_seconds: float,
        say: Callable[..., None],
        notes: str = "",
    ) -> None:
        self._command = list(command)
        self._give_up_seconds = give_up_seconds
        self._stop_seconds = stop_seconds
        self._say = say
        self._notes = notes
        self._told = False
        self._restarts = 0
        self._death = ""
        stops = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
        self._stops = {number for number in stops if signal.getsignal(number) is not signal.SIG_IGN}  # as nohup does
        self._set_death_signal = _death_signal()

    def run(self) -> int:
        """Returns the exit code with which to end."""
        signal.signal(signal.SIGCHLD, lambda number, frame: None)  # else some systems do not even keep it waiting
        signal.pthread_sigmask(signal.SIG_BLOCK, self._stops | {signal.SIGCHLD, signal.SIGALRM})
        self._pipe, keep = os.pipe()
        try:
            return self._run()
        finally:
            os.close(self._pipe)
            os.close(keep)
            if self._notes:
                shutil.rmtree(self._notes, ignore_errors=True)

    def _run(self) -> int:
        quick, since = 0, 0.0
        while True:
            started = time.monotonic()
            status = self._wait(self._start())
            now = time.monotonic()
            if self._told or (os.WIFEXITED(status) and os.WEXITSTATUS(status) in FINAL):
                return exit_code(status)
            if now - started >= STEADY_SECONDS or not quick:
                quick, since = 0, now
            quick += 1
            self._restarts += 1
            self._death = name_of(status)
            seconds = round(now - started, 1)
            if now - since >= self._give_up_seconds:
                self._say("server given up", cause=self._death, deaths=quick, seconds=seconds)
                return exit_code(status)
            rest = pause(quick)
            self._say("server died", cause=self._death, deaths=quick, seconds=seconds, restart_seconds=rest)
            if not self._pause(rest):
                return exit_code(status)

    def _start(self) -> int:
        """Fork and execute the child; returns its process id."""
        environment = dict(os.environ)
        environment |= {RESTARTS: str(self._restarts), DEATH: self._death, PIPE: str(self._pipe), NOTES: self._notes}
        parent = os.getpid()
        child = os.fork()
        if child:
            return child
        try:
            self._set_death_signal()
            if os.getppid() == parent:
                os.set_inheritable(self._pipe, True)
                signal.pthread_sigmask(signal.SIG_SETMASK, ())
                os.execve(self._command[0], self._command, environment)  # noqa: S606  # our own command line, again
        finally:
            os._exit(2)

    def _wait(self, child: int) -> int:
        """Returns how `child` ended; passes on what comes meanwhile."""
        while True:
            number = signal.sigwait(self._stops | {signal.SIGCHLD, signal.SIGALRM})
            if number == signal.SIGCHLD:
                status = _reap(child)
                if status is not None:
                    signal.setitimer(signal.ITIMER_REAL, 0)
                    return status
            elif number == signal.SIGALRM:
                if self._told:
                    self._say("server killed", cause="it did not stop in time", seconds=self._stop_seconds)
                    os.kill(child, signal.SIGKILL)
            else:
                if not self._told:
                    self._told = True
                    signal.setitimer(signal.ITIMER_REAL, self._stop_seconds)
                os.kill(child, number)

    def _pause(self, seconds: float) -> bool:
        """Wait; False when a signal says that it is over."""
        until = time.monotonic() + seconds
        while True:
            left = until - time.monotonic()
            pending = signal.sigpending() & self._stops
            if left <= 0 and not pending:
                return True
            signal.setitimer(signal.ITIMER_REAL, max(left, 0.001))
            number = signal.sigwait(self._stops | {signal.SIGCHLD, signal.SIGALRM})
            signal.setitimer(signal.ITIMER_REAL, 0)
            if number == signal.SIGCHLD:
                _reap(0)
            elif number != signal.SIGALRM:
                return False


def _reap(child: int) -> int | None:
    """Clear away all that has ended; returns how `child` did, if it is among them."""
    found = None
    while True:
        try:
            ended, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if not ended:
            return found
        if ended == child:
            found = status


def _death_signal() -> Callable[[], object]:
    """What a child calls to be told SIGTERM when its parent ends. Prepared before the fork; elsewhere it is nothing."""
    if not sys.platform.startswith("linux"):
        return lambda: None
    try:
        import ctypes

        prctl = ctypes.CDLL(None).prctl
    except (ImportError, OSError, AttributeError):  # the pipe says the same, a little later
        return lambda: None
    return lambda: prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


# ---------------------------------------------------------------------- the server's side


def become(
    command: Sequence[str], *, give_up_seconds: float, stop_seconds: float, json_lines: bool, notes: str
) -> None:
    """Turn this process into the supervisor of `command`. Never returns. `notes`: a folder to be removed at the end."""
    options = [str(give_up_seconds), str(stop_seconds), "json" if json_lines else "console", notes]
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-I", "-S", os.path.abspath(__file__), *options, *command])  # noqa: S606


def is_supervised() -> bool:
    """Whether a supervisor started this process."""
    return PIPE in os.environ


def live_with(seconds: float) -> None:
    """Stop, as on SIGTERM, when the supervisor ends; in `seconds` the process is gone then, whatever hangs.

    Linux sends a signal by itself. The pipe works everywhere, also for what began before anybody listened.
    """
    pipe = int(os.environ.pop(PIPE))
    os.set_inheritable(pipe, False)

    def watch() -> None:
        os.read(pipe, 1)  # nobody writes: it returns when the last one who could has gone
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(seconds)
        os._exit(1)

    threading.Thread(target=watch, name="supervisor", daemon=True).start()


def command_of_this_process() -> list[str]:
    """How this process was started, so that a child can be started the same way."""
    return [sys.executable, *sys.orig_argv[1:]]


# ---------------------------------------------------------------------- the program


def _say_json(event: str, **fields: object) -> None:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    line = {"time": stamp, "level": "error", "logger": "collab.supervisor", "event": event, **fields}
    print(json.dumps(line), flush=True)


def _say_plainly(event: str, **fields: object) -> None:
    print(event, *(f"{name}={value}" for name, value in fields.items()), flush=True)


def main(arguments: Sequence[str]) -> int:
    """`supervisor.py GIVE_UP_SECONDS STOP_SECONDS json|console NOTES COMMAND...`"""
    give_up, stop, form, notes, *command = arguments
    say = _say_json if form == "json" else _say_plainly
    return Supervisor(command, give_up_seconds=float(give_up), stop_seconds=float(stop), say=say, notes=notes).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
