"""The figures that tests measured, printed at the end of the run; under `--abuse` as a table, case by case.

A conftest takes both names: `from tests.support.figures import figure, pytest_terminal_summary`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import pytest

from tests.support import cases

_measured: list[tuple[str, str]] = []
of_case: defaultdict[str, list[str]] = defaultdict(list)
"""What this run measured of each case of the catalogue."""


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """`figure("longest: 12 ms")` keeps a line for the summary."""
    marked = [str(case) for mark in request.node.iter_markers("case") for case in mark.args]

    def keep(line: str) -> None:
        _measured.append((request.node.name, line))
        for case in cases.meant(line, marked):
            of_case[case].append(line)
        request.node.user_properties.append(("figure", line))

    return keep


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if _measured and not config.getoption("--abuse"):
        terminalreporter.section("figures")
        for test, line in _measured:
            terminalreporter.write_line(f"{test}: {line}")
        _measured.clear()
    elif config.getoption("--abuse") and not config.getoption("--collect-only") and not _shown:
        _shown.append(True)
        terminalreporter.section("abuse")
        failed = [
            str(line)
            for report in terminalreporter.stats.get("failed", [])
            for name, line in report.user_properties
            if name == "figure"
        ]
        for line in cases.table(of_case, failed):
            terminalreporter.write_line(line)
        if lacking := cases.missing(of_case):
            terminalreporter.write_line(f"FAILED: no figure for {', '.join(lacking)}", red=True)


_shown: list[bool] = []
