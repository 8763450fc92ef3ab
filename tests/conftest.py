"""What every test may ask for."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import pytest
import sniffio

from tests.support import cases
from tests.support.alone import pytest_runtest_protocol
from tests.support.figures import figure, of_case, pytest_terminal_summary

__all__ = ["figure", "pytest_runtest_protocol", "pytest_terminal_summary"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="run long loops in their long form; figures come from these")
    parser.addoption("--abuse", action="store_true", help="run the cases of the catalogue of abuse, and show each")
    parser.addoption("--screenshots", action="store_true", help="write the screenshots of the documentation anew")
    parser.addoption("--drill", action="store_true", help="run the drills of operations alone, and show their figures")


def pytest_make_parametrize_id(val: object) -> str | None:
    """Bytes are named by their length: masks and ids in them are drawn anew in each of the processes that run tests."""
    return f"{len(val)} bytes" if isinstance(val, bytes) else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Under `--abuse`: the tests that are marked with a case, and no others."""
    if config.getoption("--abuse"):
        others = [item for item in items if item.get_closest_marker("case") is None]
        items[:] = [item for item in items if item.get_closest_marker("case") is not None]
        config.hook.pytest_deselected(items=others)
    if config.getoption("--drill"):
        others = [item for item in items if item.get_closest_marker("drill") is None]
        items[:] = [item for item in items if item.get_closest_marker("drill") is not None]
        config.hook.pytest_deselected(items=others)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A required case without a figure is a failure, whatever the tests say."""
    if (
        session.config.getoption("--abuse")
        and not session.config.getoption("--collect-only")
        and cases.missing(of_case)
    ):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def full(request: pytest.FixtureRequest) -> bool:
    """Whether the long form is wanted."""
    return bool(request.config.getoption("--full"))


@pytest.fixture(autouse=True)
def _no_loop_runs_here(request: pytest.FixtureRequest) -> Iterator[None]:
    """anyio's plugin says "asyncio runs in this thread" for as long as any async fixture lives, be it of the session.

    A test that is not async may start a loop of its own all the same.
    """
    if inspect.iscoroutinefunction(request.function):
        yield
        return
    token = sniffio.current_async_library_cvar.set(None)
    yield
    sniffio.current_async_library_cvar.reset(token)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Async tests run on asyncio, as the server does."""
    return "asyncio"
