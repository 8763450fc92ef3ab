"""Large work in a process of its own: the thread of the event loop never waits for the interpreter lock meanwhile.

The document library holds that lock for as long as it works, seconds with ten megabytes, so another thread helps
nobody. What is done here are the same functions, pickled, one process for each call: a crash inside the library, or
memory that runs out, is an error of that call and of nothing else (docs/design/0010).
"""

from __future__ import annotations

import inspect
import os
import pickle
import resource
import struct
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import anyio
import anyio.to_thread
from anyio.abc import ByteReceiveStream, Process

from .errors import Crashed
from .log import get_logger

log = get_logger(__name__)

T = TypeVar("T")

LARGE = 256 * 1024
"""Bytes of documents from which on work on them is done apart: there it takes about as long as a process does to begin,
and holds the lock for some 50 ms."""
NICENESS = 10
"""How much the process stands back behind the server's own."""
MEMORY_BYTES = 4 * 2**30
"""Address space that it gets: a restore of 11 MB, the worst there is, takes a fifth of it."""
CPU_SECONDS = 600
"""After so much work it ends, should nobody be there any more to end it."""
PIECE = 256 * 1024

_HEAD = struct.Struct(">Q")
_BEGIN = "import sys; sys.path[:] = sys.argv[1:]; from collab.apart import main; main()"


class Apart:
    """Does one piece of large work after the other, each in a process of its own."""

    def __init__(self) -> None:
        self._turn: anyio.Semaphore | None = None

    async def run(self, call: Callable[[], Awaitable[T]] | Callable[[], T]) -> T:
        """`call()`, or what it comes to when it is awaited. The process ends when this is cancelled.

        Args:
            call: A function of a module, or a `partial` of one: both it and what it gives can be pickled.

        Raises:
            Crashed: The process died of it, or its memory ran out.
            Exception: What `call` raises.
        """
        self._turn = self._turn or anyio.Semaphore(1)
        asked = await anyio.to_thread.run_sync(pickle.dumps, call, pickle.HIGHEST_PROTOCOL)
        async with self._turn:
            answer = await _answered(asked)
        good, found = await anyio.to_thread.run_sync(pickle.loads, answer)
        if isinstance(found, MemoryError) and not good:
            raise Crashed("out of memory")
        if not good:
            raise found
        return cast(T, found)


async def _answered(asked: bytes) -> bytes:
    command = [sys.executable, "-P", "-c", _BEGIN, *sys.path]
    process = await anyio.open_process(command, stderr=None, start_new_session=True)
    try:
        answer = await _talk(process, asked)
        await process.wait()
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        with anyio.CancelScope(shield=True):  # a killed process ends at once
            await process.aclose()
    if answer is None:
        log.warning("work apart died", code=process.returncode, bytes=len(asked))
        code = process.returncode or 0
        raise Crashed(f"signal {-code}" if code < 0 else f"exit code {code}")
    return answer


async def _talk(process: Process, asked: bytes) -> bytes | None:
    """What the process answers; None when it dies before it has said all."""
    assert process.stdin is not None and process.stdout is not None
    try:
        await process.stdin.send(_HEAD.pack(len(asked)))
        for start in range(0, len(asked), PIECE):
            await process.stdin.send(asked[start : start + PIECE])
        (size,) = _HEAD.unpack(await _read(process.stdout, _HEAD.size))
        return bytes(await _read(process.stdout, size))
    except (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream, OSError):
        return None


async def _read(stream: ByteReceiveStream, size: int) -> bytearray:
    found = bytearray()
    while len(found) < size:
        found += await stream.receive(min(size - len(found), PIECE))
    return found


# ---------------------------------------------------------------------- inside the process


def main() -> None:
    """Do what comes in, and answer it."""
    into = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints does not print into the answer
    os.nice(NICENESS)
    for kind, limit in ((resource.RLIMIT_AS, MEMORY_BYTES), (resource.RLIMIT_CPU, CPU_SECONDS)):
        _, most = resource.getrlimit(kind)
        resource.setrlimit(kind, (limit if most == resource.RLIM_INFINITY else min(limit, most), most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # it would hold documents
    with suppress(OSError):  # if memory runs out it is this that goes, not the server
        Path("/proc/self/oom_score_adj").write_text("1000")
    (size,) = _HEAD.unpack(sys.stdin.buffer.read(_HEAD.size))
    answer = _done(sys.stdin.buffer.read(size))
    into.write(_HEAD.pack(len(answer)))
    into.write(answer)
    into.flush()
    os._exit(0)  # taking large documents to pieces is no use to anybody


def _done(asked: bytes) -> bytes:
    try:
        call: Callable[[], Any] = pickle.loads(asked)  # noqa: S301  it comes from the server, which began this process
        found = call()
        if inspect.iscoroutine(found):
            found = anyio.run(partial(_awaited, found))
        return pickle.dumps((True, found), pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        error.__cause__ = error.__context__ = None
        return pickle.dumps((False, error), pickle.HIGHEST_PROTOCOL)


async def _awaited(found: Awaitable[T]) -> T:
    return await found
