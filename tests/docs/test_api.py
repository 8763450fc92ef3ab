"""The reference of the admin API: its examples run, in order, and print what it says they print."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import httpx
import pytest

from collab.content.formats import Format
from collab.web.api.audit import KEPT
from collab.web.api.document import WRITABLE
from tests.docs.blocks import DOCS, at, table
from tests.support.server import Server

PAGE = DOCS / "reference" / "api.md"
TOKEN = "a token that opens the admin interface"


def examples() -> list[tuple[str, str, str]]:
    """Language, program, and what it prints."""
    found = re.findall(
        r"^```(sh|python)\n(.*?)^```$(?:\n\n^```text\n(.*?)^```$)?", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    return [(language, program, printed) for language, program, printed in found]


@pytest.mark.skipif(shutil.which("curl") is None and not os.environ.get("CI"), reason="curl is missing")
def test_the_examples():
    programs = examples()
    assert [language for language, _, _ in programs].count("python") == 1 and len(programs) >= 7
    with Server(env={"COLLAB_ADMIN__TOKEN": TOKEN}) as server:
        env = os.environ | {"COLLAB_ADMIN__TOKEN": TOKEN}
        setup = "shopt -s expand_aliases\nset -e\n" + programs[0][1].splitlines()[0] + "\n"
        for language, program, printed in programs:
            text = at(program, server.port)
            command = [sys.executable, "-c", text] if language == "python" else ["bash", "-c", setup + text]
            done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=30, check=False)
            assert done.returncode == 0, (program, done.stdout, done.stderr)
            assert done.stdout.strip() == printed.strip(), program
        assert not server.complaints()


def test_every_operation_is_named():
    text = PAGE.read_text("utf-8")
    with Server() as server:
        paths = httpx.get(f"{server.http_url}/api/openapi.json").json()["paths"]
    for path, operations in paths.items():
        for method in operations:
            named = path.removeprefix("/v1").replace("{name}", "NAME").replace("{id}", "ID")
            assert f"`{method.upper()} {named}`" in text, f"{method.upper()} {named} is not on the page"


def test_what_it_says_of_formats():
    rows = table(PAGE, "written")
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row["format"])}
    assert named == {format.value for format in Format}
    writable = {name for row in rows if row["written"] for name in re.findall(r"`(\w+)`", row["format"])}
    assert writable == {format.value for format in WRITABLE}
    assert f"newest {KEPT:,}" in PAGE.read_text("utf-8")
