"""The examples in the documentation, taken out of it."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of `page` in `language` ("" for those that name none), in order."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return [body for name, body in found if name == language]


def block(page: Path, language: str, having: str = "") -> str:
    """The one block of `page` in `language` that has the text `having`."""
    (found,) = [body for body in blocks(page, language) if having in body]
    return found


def at(text: str, port: int) -> str:
    """`text` with another port than the 1234 that all examples use."""
    assert "127.0.0.1:1234" in text or "127.0.0.1" not in text, "an example names another port than 1234"
    return text.replace("127.0.0.1:1234", f"127.0.0.1:{port}")


def table(page: Path, column: str) -> list[dict[str, str]]:
    """The rows of all tables of `page` that have a column of this name."""
    rows: list[dict[str, str]] = []
    head: list[str] | None = None
    for line in page.read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not cells:
            head = None
        elif head is None:
            head = cells
        elif column in head and not set(cells) <= {"---", "---|"}:
            rows.append(dict(zip(head, cells, strict=True)))
    return rows
