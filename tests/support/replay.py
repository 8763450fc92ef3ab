"""The recorded editing session of two people, replayed by two real y-websocket providers (tests/interop/replay.mjs).

The recording is not part of the repository: it is looked for where EDITING_TRACE says, else in `shared/data` beside
the repository.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
from pathlib import Path
from typing import Any

from .node import INTEROP, missing, node_binary
from .server import REPO


def trace_path() -> Path:
    """The recording; where there is none, the end of the test."""
    path = Path(os.environ.get("EDITING_TRACE") or REPO.parent / "shared" / "data" / "friendsforever.json.gz")
    if not path.is_file():
        missing(f"the editing trace {path.name} is not there (EDITING_TRACE names its path)")
    return path


def end_content() -> str:
    """The text that must come out."""
    return str(json.loads(gzip.decompress(trace_path().read_bytes()))["endContent"])


async def replay(
    url: str, room: str, *, versions: tuple[str, str] = ("3.1", "2.1"), field: str = "text", within: float = 300.0
) -> dict[str, Any]:
    """Replay it into a room: one author of each version.

    Returns: {ok, edits, seconds, agents: [{version, ok, length, edits, opens, waits, sent, received}], errors}.

    Raises:
        AssertionError: the result is not exact, a connection broke, or JavaScript errors were seen.
    """
    process = await asyncio.create_subprocess_exec(
        node_binary(), "replay.mjs", "--url", url, "--room", room, "--trace", str(trace_path()),
        "--versions", ",".join(versions), "--field", field, "--timeout", str(within),
        cwd=INTEROP, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with asyncio.timeout(within + 60):
            out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    result: dict[str, Any] = json.loads(out)
    assert process.returncode == 0 and result["ok"], f"the replay failed: {result}"
    return result
