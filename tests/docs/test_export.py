"""docs/reference/export.md: an export is read as it says, without this server, by the program on the page."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys

import pytest

from collab.bundle import MEDIA_TYPE, VERSION
from collab.store.memory import MemoryStore
from tests.docs.blocks import DOCS, block, table
from tests.support.rooms import fill
from tests.test_bundle import exported, records

PAGE = DOCS / "reference" / "export.md"


@pytest.fixture(scope="module")
def stream() -> bytes:
    async def make() -> bytes:
        async with MemoryStore() as store:
            await fill(store, "minutes", 25, forgotten=12)
            return await exported(store)

    return asyncio.run(make())  # anyio's own refuses where a fixture of the session is async


def test_the_program(stream, tmp_path):
    (tmp_path / "all.export").write_bytes(stream)
    command = [sys.executable, "-c", block(PAGE, "python", "import json"), "all.export"]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.splitlines()
    assert said == [f"{one['record']} {one.get('name', '')} {len(blob)}" for one, blob in records(stream)]
    assert said[0] == "export  0" and said[1] == "room minutes 0" and said[-1] == "end  0"


def test_every_field_is_on_the_page(stream):
    rows = {row["record"].strip("`"): row["fields"] for row in table(PAGE, "what follows")}
    for said, _ in records(stream):
        named = set(re.findall(r"`(\w+)`", rows[said["record"]])) | {"record", "bytes"}
        assert set(said) <= named, said["record"]
        assert said["record"] in ("export", "end") or named - {"record", "bytes"} <= set(said), said["record"]
    assert MEDIA_TYPE in PAGE.read_text("utf-8") and f"This is version {VERSION};" in PAGE.read_text("utf-8")
