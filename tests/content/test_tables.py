"""Tables that say they are wide: as wide as they are, and no document grows beyond measure by it."""

from __future__ import annotations

from typing import Any

import pytest

from collab.content.html import to_html
from collab.content.markdown import to_markdown
from collab.content.tables import PER_CELL, WIDEST, Spare, columns


def cell(span: Any = None, text: str = "") -> dict[str, Any]:
    inside = [{"type": "paragraph", "content": [{"type": "text", "text": text}]}] if text else []
    return {"type": "tableCell", "attrs": {"colspan": span}, "content": inside}


def row(*cells: dict[str, Any]) -> dict[str, Any]:
    return {"type": "tableRow", "content": list(cells)}


def doc(*tables: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "doc", "content": [{"type": "table", "content": rows} for rows in tables]}


@pytest.mark.parametrize(
    ("span", "wide"), [(None, 1), ("9", 1), (2.0, 1), (1, 1), (3, 3), (10**9, WIDEST), (-5, -5), (True, 1)]
)
def test_columns(span, wide):
    assert columns(cell(span)) == wide


def test_spare():
    spare = Spare([row(cell(), cell()), row(), {"type": "tableRow"}])
    assert [spare.take(wanted) for wanted in (-3, 0, PER_CELL, 5, PER_CELL, 1)] == [0, 0, PER_CELL, 5, PER_CELL - 5, 0]


def test_spare_has_a_top():
    assert Spare([row(*[cell()] * 100)], 7).take(100) == 7
    assert Spare([row(cell())], 1_000).take(100) == PER_CELL


def test_wide_cells_are_as_wide_as_they_say():
    rows = [row(cell(3, "a"), cell(12, "b")), *(row(*(cell(text="c") for _ in range(15))) for _ in range(3))]
    assert to_html(doc(rows)).count("<col ") == 15
    assert "\n| a |  |  | b |" + "  |" * 11 in to_markdown(doc(rows))


def test_a_table_has_so_many_columns_in_all():
    """Beside those that have a cell of their own."""
    assert to_html(doc([row(*(cell(1_000) for _ in range(500)))])).count("<col ") == 500 + WIDEST


HUGE = {
    "one row of wide cells": [[row(*(cell(1_000) for _ in range(2_000)))]],
    "many small tables": [[row(cell(1_000))]] * 2_000,
    "one wide row and many short ones": [[row(*(cell() for _ in range(2_000))), *(row() for _ in range(2_000))]],
    "one wide cell and many short rows": [[row(cell(1_000)), *(row(cell()) for _ in range(2_000))]],
}


@pytest.mark.parametrize("name", HUGE)
@pytest.mark.parametrize("write", [to_html, to_markdown])
def test_the_whole_is_no_larger_than_its_cells_allow(write, name):
    """Without the bound the first two are 60 MB of HTML and 24 MB of Markdown, and so is the third in Markdown."""
    assert len(write(doc(*HUGE[name]))) < 2_000 * (PER_CELL + 1) * 40
