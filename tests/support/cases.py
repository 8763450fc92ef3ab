"""The cases of the catalogue of abuse that `make abuse` shows, each with the figure that this run measured.

    @pytest.mark.case("A05")
    def test_a_reader_changes_nothing(figure): ...
        figure(f"A05: ... 0 changes")

A figure counts for those of its test's cases that it names, and for all of them when it names none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

REQUIRED = (
    *(f"A{number:02}" for number in (*range(1, 13), 15, 16, 17)),
    *(f"F{number:02}" for number in (*range(1, 13), 14, *range(16, 21))),
    *(f"S{number:02}" for number in (1, 2, 3, 4, 5, 7, 8, 9, 10, 13, 14)),
    *("R01", "R07", "R10", "R11", "D21", "O04"),
)


def meant(line: str, cases: Iterable[str]) -> list[str]:
    """Those of a test's `cases` that a figure is about."""
    cases = list(cases)
    return [case for case in cases if re.search(rf"\b{case}\b", line)] or cases


def missing(figures: Mapping[str, Sequence[str]]) -> list[str]:
    """The required cases without a figure."""
    return [case for case in REQUIRED if not figures.get(case)]


def table(figures: Mapping[str, Sequence[str]], failed: Iterable[str] = ()) -> list[str]:
    """A line for each figure of each case, required ones without any included; `failed` are those of failed tests."""
    failed = set(failed)
    lines = ["case | figure", "---- | ------"]
    for case in sorted({*REQUIRED, *figures}):
        for line in figures.get(case) or ["NO FIGURE: its test is missing, was skipped, or failed before it measured"]:
            said = re.sub(rf"^{case}\b[:,]? ?", "", line)
            lines.append(f"{case}  | {'FAILED: ' if line in failed else ''}{said}")
    return lines
