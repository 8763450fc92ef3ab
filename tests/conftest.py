"""What every test may ask for."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import pytest
import sniffio

from tests.support.figures import figure, pytest_terminal_summary

__all__ = ["figure", "pytest_terminal_summary"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="run long loops in their long form; figures come from these")


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
