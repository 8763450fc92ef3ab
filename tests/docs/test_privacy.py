"""docs/howto/privacy.md: its commands run, and nothing is found afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import anyio
import pytest
from pycrdt import Doc, Text

from collab.store import Entry, open_store
from collab.web.api.audit import KEPT
from tests.docs.blocks import DOCS, blocks
from tests.support.server import REPO, Server

PAGE = DOCS / "howto" / "privacy.md"
TOKEN = "a token that opens the admin interface"

pytestmark = pytest.mark.timeout(120)


async def fill(url: str) -> None:
    async with open_store(url) as store:
        for room in ("minutes", "plan"):
            update = Doc({"text": Text(f"the text of {room}")}).get_update()
            await store.append([Entry(room, update, 1.0, "ana"), Entry(room, b"\0\0", 2.0, "ben")])


def test_the_page(tmp_path):
    store = f"sqlite:///{tmp_path / 'rooms.db'}"
    anyio.run(fill, store)
    for word in (b"ana", b"the text of minutes"):
        assert word in (tmp_path / "rooms.db").read_bytes()
    env = {name: value for name, value in os.environ.items() if not name.startswith("COLLAB_")}
    env |= {"PYTHONPATH": str(REPO), "COLLAB_STORE__URL": store, "COLLAB_ADMIN__TOKEN": TOKEN}
    document, person, proof = blocks(PAGE, "sh")

    def run(commands: str, folder: Path = tmp_path) -> str:
        program = f'set -e\ncollab() {{ {sys.executable} -m collab "$@"; }}\n{commands}'
        done = subprocess.run(["bash", "-c", program], cwd=folder, env=env, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, (commands, done.stdout, done.stderr)
        return done.stdout

    with Server(store=store, env={"COLLAB_ADMIN__TOKEN": TOKEN}) as server:
        env["COLLAB_SERVER__PORT"] = str(server.port)
        said = run(document)
        assert "minutes is gone: 2 edits" in said and "1 rooms" in said
        said = run(person)
        assert "1 edits and 0 snapshots in all rooms name ana no more" in said
        assert '"author": "ben"' in said and '"author": null' in said
    assert run(proof) == "gone\n"
    assert b"the text of minutes" not in (tmp_path / "rooms.db").read_bytes()
    assert b"the text of plan" in (tmp_path / "rooms.db").read_bytes(), "what was written stays"


def test_what_it_says_of_records():
    assert f"the newest {KEPT:,} stay" in PAGE.read_text("utf-8")
