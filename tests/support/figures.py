"""The figures that tests measured, printed at the end of the run; under `--abuse` as a table, case by case.

A conftest takes both names: `from tests.support.figures import figure, pytest_terminal_summary`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator

import pytest

from tests.support import cases

of_case: defaultdict[str, list[str]] = defaultdict(list)
"""What this run measured of each case of the catalogue."""


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """`figure("longest: 12 ms")` keeps a line for the summary."""
    marked = [str(case) for mark in request.node.iter_markers("case") for case in mark.args]

    def keep(line: str) -> None:
        for case in cases.meant(line, marked):
            of_case[case].append(line)
        request.node.user_properties.append(("figure", line))

    return keep


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    measured = [] if _shown else list(_measured(terminalreporter))
    if measured and not config.getoption("--abuse"):
        _shown.append(True)
        terminalreporter.section("figures")
        for test, line in measured:
            terminalreporter.write_line(f"{test}: {line}")
    elif config.getoption("--abuse") and not config.getoption("--collect-only") and not _shown:
        _shown.append(True)
        terminalreporter.section("abuse")
        failed = [line for _, line in _measured(terminalreporter, "failed")]
        for line in cases.table(of_case, failed):
            terminalreporter.write_line(line)
        if lacking := cases.missing(of_case):
            terminalreporter.write_line(f"FAILED: no figure for {', '.join(lacking)}", red=True)


def _measured(reporter: pytest.TerminalReporter, *outcomes: str) -> Iterator[tuple[str, str]]:
    """Each figure with its test's name, out of the reports: the tests themselves may have run in other processes."""
    for outcome in outcomes or ("passed", "failed"):
        for report in reporter.stats.get(outcome, []):
            for name, line in report.user_properties if report.when == "call" else ():
                if name == "figure":
                    yield report.nodeid.rpartition("::")[2], line


_shown: list[bool] = []
