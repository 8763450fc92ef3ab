"""One Node process for all, one server for each module, one room for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest

from tests.support.node import VERSIONS, Node
from tests.support.server import Server


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """It must end without a complaint: stock clients give no reason for one."""
    with Server() as running:
        yield running
        assert not running.complaints()


@pytest.fixture(scope="session")
async def _node() -> AsyncIterator[Node]:
    async with Node() as running:
        yield running


@pytest.fixture
async def node(_node: Node) -> AsyncIterator[Node]:
    """Real editors. A JavaScript error in one of them fails the test, whatever else it looks at."""
    yield _node
    errors = await _node.reset()
    assert not errors, f"{len(errors)} JavaScript errors in stock clients: {errors[:3]}"


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    """Each generation of y-websocket in turn."""
    return str(request.param)


@pytest.fixture
def room() -> str:
    """A room that nobody has been in."""
    return f"room-{uuid4().hex[:12]}"
