"""docs/howto/backup.md: its commands run, and the drill succeeds, beside a server in which somebody types."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.docs.blocks import DOCS, block
from tests.support.server import REPO, Server

PAGE = DOCS / "howto" / "backup.md"
TOKEN = "a token that opens the admin interface"
TEXT = {"content-type": "text/plain"}

pytestmark = pytest.mark.timeout(120)


def run(commands: str, folder: Path, env: dict[str, str]) -> list[str]:
    """What each command of a block prints; all have to end with 0."""
    said = []
    for line in commands.splitlines():
        command, *arguments = line.split()
        assert command == "collab"
        done = subprocess.run(
            [sys.executable, "-m", "collab", *arguments],
            cwd=folder,
            env=env,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        said.append(done.stdout)
    return said


def test_the_page(tmp_path):
    store = f"sqlite:///{tmp_path / 'rooms.db'}"
    with Server(store=store, env={"COLLAB_ADMIN__TOKEN": TOKEN}) as server:
        env = {name: value for name, value in os.environ.items() if not name.startswith("COLLAB_")}
        env |= {"PYTHONPATH": str(REPO), "COLLAB_STORE__URL": store, "COLLAB_ADMIN__TOKEN": TOKEN}
        env["COLLAB_SERVER__PORT"] = str(server.port)
        http = httpx.Client(base_url=f"{server.http_url}/api/v1", headers={"authorization": f"Bearer {TOKEN}"})
        with http:
            assert http.put("/rooms/minutes/document", content="first", headers=TEXT).is_success
            assert http.post("/rooms/minutes/snapshots", json={}).is_success
            assert http.put("/rooms/minutes/document", content="second", headers=TEXT).is_success
            (said,) = run(block(PAGE, "sh", "collab backup rooms-backup.db"), tmp_path, env)
            said = said.replace(f"{tmp_path}/", "")
            shown = block(PAGE, "text", "saved in")
            assert re.sub(r"[\d.]+ (kB|s)\b", r"_ \1", said) == re.sub(r"[\d.]+ (kB|s)\b", r"_ \1", shown)
            *_, verified, rooms = run(block(PAGE, "sh", "drill.db"), tmp_path, env)
            assert "none damaged" in verified and "minutes" in rooms
            assert http.put("/rooms/minutes/document", content="third", headers=TEXT).is_success
    run(block(PAGE, "sh", "collab restore-backup rooms-backup.db"), tmp_path, env)
    (said,) = run("collab export minutes --format text", tmp_path, env)
    assert said == "second\n"
    assert len(list(tmp_path.glob("rooms.db.replaced-*"))) == 1
