"""The figures that tests measured, printed at the end of the run.

A conftest takes both names: `from tests.support.figures import figure, pytest_terminal_summary`.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

_measured: list[tuple[str, str]] = []


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """`figure("longest: 12 ms")` keeps a line for the summary."""

    def keep(line: str) -> None:
        _measured.append((request.node.name, line))
        request.node.user_properties.append(("figure", line))

    return keep


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _measured:
        terminalreporter.section("figures")
        for test, line in _measured:
            terminalreporter.write_line(f"{test}: {line}")
        _measured.clear()
