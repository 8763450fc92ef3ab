"""The server with somebody at the door, and a store that can be told to fail.

    with Door() as server:
        server.store_fails(); server.store_works()

It runs the real server on the real `SQLiteStore`. Tokens decide: "wrong..." is refused, "reader" may read, "never" is
never answered, "slow..." is let in after half a second, all others may write. What a client says to the application is
answered with "re:" and its own words; before the answer to "tidy" the process gives back all memory that nobody holds.
The store fails for as long as a certain file is there, and takes as many seconds for an append as another one says.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import functools
import gc
import os
import sys
from collections.abc import Awaitable, Mapping, Sequence
from pathlib import Path

from tests.support.server import Server


class Door(Server):
    """A `Server` with tokens.

    Args:
        env: More environment variables.
        again: Fork a new server from one that has all modules loaded, each time it dies: for many kills.
    """

    def __init__(self, *, env: Mapping[str, str | None] | None = None, again: bool = False) -> None:
        super().__init__(env=env)
        self.file = self.folder / "rooms.sqlite3"
        self._command = [sys.executable, "-m", "tests.support.door", "--port", "{port}", "--store", str(self.file)]
        if again:
            self._command.append("--again")

    def __enter__(self) -> Door:
        super().__enter__()
        return self

    def store_fails(self) -> None:
        """From now on nothing can be saved."""
        self.file.with_suffix(".fails").touch()

    def store_works(self) -> None:
        self.file.with_suffix(".fails").unlink(missing_ok=True)

    def store_takes(self, seconds: float) -> None:
        """So long takes every append from now on."""
        self.file.with_suffix(".slow").write_text(str(seconds))

    def store_lies(self) -> None:
        """From now on it says "committed" a moment before it commits."""
        self.file.with_suffix(".lies").touch()


def _serve(port: int, file: Path) -> int:
    from collab import log
    from collab.auth import Grant, Knock, Level
    from collab.errors import Unauthorized, Unavailable
    from collab.seat import Seat
    from collab.settings import Settings, load_settings
    from collab.store import Entry, Store
    from collab.store.sqlite import SQLiteStore
    from collab.web import server
    from collab.web.app import App
    from collab.wire.messages import Stateless

    fails, slow, lies = (file.with_suffix(name) for name in (".fails", ".slow", ".lies"))

    late: set[asyncio.Task[None]] = set()

    class Troubled(SQLiteStore):
        async def append(self, entries: Sequence[Entry]) -> list[int]:
            if slow.exists():
                await asyncio.sleep(float(slow.read_text()))
            if fails.exists():
                raise Unavailable("the store")
            if lies.exists():
                late.add(asyncio.create_task(self._append_late(entries)))
                return list(range(len(entries)))
            return await super().append(entries)

        async def _append_late(self, entries: Sequence[Entry]) -> None:
            await asyncio.sleep(0.2)
            await super().append(entries)

    async def later(grant: Grant) -> Grant:
        await asyncio.sleep(0.5)
        return grant

    async def never() -> Grant:
        await asyncio.Event().wait()
        raise AssertionError

    def decide(knock: Knock) -> Grant | Awaitable[Grant]:
        shown = knock.token or ""
        if shown.startswith("wrong"):
            raise Unauthorized("this token is wrong")
        if shown == "never":
            return never()
        grant = Grant(Level.READ if shown == "reader" else Level.WRITE)
        return later(grant) if shown.startswith("slow") else grant

    def answer(room: str, text: str, seat: Seat) -> None:
        if text == "tidy":
            gc.collect()
            with contextlib.suppress(OSError, AttributeError):  # no glibc
                ctypes.CDLL("libc.so.6").malloc_trim(0)
        seat.say(Stateless(f"re:{text}"))

    class Watched(App):
        def __init__(self, settings: Settings, *, store: Store | None = None) -> None:
            super().__init__(settings, store=store)
            self.sockets.authorize = decide
            self.hub.stateless = answer

    server.App = Watched  # type: ignore[attr-defined, assignment]
    settings = load_settings({"server": {"port": port}, "store": {"url": f"sqlite:///{file}"}})
    log.configure(settings.log.level, settings.log.format)
    return server.run(settings, store=Troubled(file))


def _again(serve: functools.partial[int]) -> int:
    """Serve in a child; when it was killed, in a new one. `pid` of the child goes to stdout."""
    import collab.web.server  # noqa: F401  # so that no child has to

    while True:
        child = os.fork()
        if not child:
            os._exit(serve())
        print(f"child {child}", flush=True)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            return os.waitstatus_to_exitcode(status)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--again", action="store_true")
    options = parser.parse_args()
    serve = functools.partial(_serve, options.port, options.store)
    return _again(serve) if options.again else serve()


if __name__ == "__main__":
    sys.exit(main())
