"""Notes beside the store: small files in a folder, written at once and in whole, which a running server follows.

So a command can tell something to a server that runs, to one that will, and to none, all in the same way.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

from .log import get_logger
from .store import Store

log = get_logger(__name__)

LOOK_SECONDS = 1.0
"""How often a running server looks whether something has changed."""
COARSE_NS = 2_000_000_000
"""How exactly a folder knows when it was changed, at the worst: two changes within that may look like one."""
ELSEWHERE = "_COLLAB_NOTES"
"""Where a supervisor says that the notes go when the store has no file."""


def folder_beside(store: Store, kind: str) -> Path | None:
    """Where the notes of one kind about what is in `store` are kept: beside its file, or where a supervisor says."""
    path = getattr(store, "path", None)
    if isinstance(path, Path):
        return path.with_name(f"{path.name}.{kind}")
    return Path(notes) / kind if (notes := os.environ.get(ELSEWHERE)) else None


def write(file: Path, content: object) -> None:
    """At once and in whole: the process may die next."""
    draft = file.with_suffix(".new")
    with draft.open("w", encoding="utf-8") as stream:
        json.dump(content, stream, indent=1)
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(file)


def name_of(kind: str, key: object) -> str:
    """The name of the file for the note of this kind about `key`, which is anything that JSON can say."""
    return f"{kind}-{blake2b(json.dumps(key).encode(), digest_size=8).hexdigest()}.json"


def files(folder: Path, kinds: Iterable[str]) -> Iterator[Path]:
    """The files of the notes of these kinds."""
    for kind in kinds:
        yield from folder.glob(f"{kind}-*.json")


def read(file: Path) -> Any:
    """What stands in a note.

    Raises:
        OSError, ValueError: It is gone, or nobody of us wrote it.
    """
    return json.loads(file.read_text("utf-8"))


class Followed:
    """Tells when a folder has changed: a file more, or less, or another one in its place."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen = -1
        self._looked_at = float("-inf")

    def changed(self, now: float) -> bool:
        """Whether it is time to read the folder again; looks once a second, with `now` in monotonic seconds."""
        if now - self._looked_at < LOOK_SECONDS:
            return False
        self._looked_at = now
        try:
            stamp = self._folder.stat().st_mtime_ns
        except OSError:
            return False
        known, self._seen = self._seen, stamp
        return stamp != known or time.time_ns() - stamp < COARSE_NS
