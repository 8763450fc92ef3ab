"""The guide to snapshots: its examples run, in order, and print what it says they print."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import pytest

from collab.history.returns import KEYS
from tests.docs.blocks import DOCS, at
from tests.support.server import Server

PAGE = DOCS / "howto" / "snapshots.md"
TOKEN = "a token that opens the admin interface"


@pytest.mark.skipif(shutil.which("curl") is None and not os.environ.get("CI"), reason="curl is missing")
def test_the_examples():
    found = re.findall(
        r"^```sh\n(.*?)^```$(?:\n\n^```text\n(.*?)^```$)?", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    assert len(found) == 5
    with Server(env={"COLLAB_ADMIN__TOKEN": TOKEN}) as server:
        setup = "shopt -s expand_aliases\nset -e\n" + at(found[0][0], server.port)
        for program, printed in found[1:]:
            command = ["bash", "-c", setup + at(program, server.port)]
            env = os.environ | {"COLLAB_ADMIN__TOKEN": TOKEN}
            done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=30, check=False)
            assert done.returncode == 0, (program, done.stdout, done.stderr)
            assert done.stdout.strip() == printed.strip(), program
        assert not server.complaints()


def test_what_it_says_of_keys():
    assert f"the newest {KEYS:,}" in PAGE.read_text("utf-8")
