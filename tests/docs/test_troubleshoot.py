"""The page of symptoms knows every close code and exit code that there is."""

from __future__ import annotations

import re

from collab.errors import CollabError
from docs.generate import tree
from tests.docs.blocks import DOCS, table

PAGE = DOCS / "howto" / "troubleshoot.md"
ERRORS = [error for _, error in tree(CollabError)]


def codes(page, *columns: str) -> set[int]:
    found = [row[column] for column in columns for row in table(page, column)]
    return {int(code) for cell in found for code in re.findall(r"\b\d{4}\b", cell)}


def test_every_close_code():
    wanted = codes(DOCS / "reference" / "protocol.md", "code") | {error.close_code for error in ERRORS} | {1009}
    assert {1012, 4401} < wanted
    assert codes(PAGE, "close code", "close code or status") == wanted


def test_every_exit_code():
    rows = [row["code"] for row in table(PAGE, "meaning")]
    assert {int(code) for code in rows} == {0} | {error.exit_code for error in ERRORS}
