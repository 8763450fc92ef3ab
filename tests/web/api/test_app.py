"""The API as its own description has it: whatever that allows is asked, and every answer is one that it names."""

from __future__ import annotations

from collections import Counter
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from collab.settings import Settings
from collab.store.memory import MemoryStore
from collab.web.app import App
from tests.support.server import Server
from tests.web.api.conftest import BEARER, TOKEN, is_problem

SPARED = {"/v1/server/drain"}
"""After it the server would answer nothing but 503; its own test asks it."""
CHECKS = [not_a_server_error, status_code_conformance, response_schema_conformance]


@pytest.fixture(scope="module")
def asked():
    with Server(env={"COLLAB_ADMIN__TOKEN": TOKEN, "COLLAB_ADMIN__BODY_BYTES": "64KiB"}) as server:
        yield server
        assert server.running and not server.complaints()


@pytest.mark.timeout(900)
def test_whatever_the_description_allows(asked, full, figure):
    description = httpx.get(f"{asked.http_url}/api/openapi.json").json()
    schema = schemathesis.openapi.from_dict(description)
    schema.config.base_url = f"{asked.http_url}/api"
    statuses: Counter[int] = Counter()
    rounds = 60 if full else 8
    operations = [result.ok() for result in schema.get_all_operations() if isinstance(result, Ok)]
    for operation in operations:
        if operation.path in SPARED:
            continue

        @settings(
            max_examples=rounds,
            deadline=None,
            derandomize=not full,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def ask(case: Any) -> None:
            answer = case.call(headers=BEARER)
            statuses[answer.status_code] += 1
            case.validate_response(answer, checks=CHECKS)
            if answer.status_code >= 400:
                assert answer.headers["content-type"] == ["application/problem+json"], answer.text

        ask()
    asked_in_all = sum(statuses.values())
    assert len(operations) >= 16 and asked_in_all > rounds * 10
    assert not [status for status in statuses if status >= 500]
    figure(f"requests made from the description: {asked_in_all}, answers: {dict(sorted(statuses.items()))}")


def test_the_description(asked):
    description = httpx.get(f"{asked.http_url}/api/openapi.json").json()
    assert description["openapi"].startswith("3.1") and description["servers"] == [{"url": "/api"}]
    names = [one["operationId"] for path in description["paths"].values() for one in path.values()]
    assert len(set(names)) == len(names)
    for path, operations in description["paths"].items():
        for operation in operations.values():
            assert operation["security"] == [{"HTTPBearer": []}] and operation["summary"]
            answers = operation["responses"]
            assert "4XX" in answers and "5XX" in answers, path
            for status in ("4XX", "422"):
                if status in answers:
                    assert list(answers[status]["content"]) == ["application/problem+json"], (path, status)


@pytest.mark.anyio
@pytest.mark.parametrize("in_path", [True, False])
async def test_inside_another_app(in_path):
    """Below a path of somebody else's, which some servers leave in the path, and some do not."""
    async with App(Settings(store={"url": "memory:"}, admin={"token": TOKEN}), store=MemoryStore()) as app:

        async def outer(scope: Any, receive: Any, send: Any) -> None:
            prefix = "/über"
            if not in_path:
                scope = scope | {"path": scope["path"].removeprefix(prefix)}
                scope |= {"raw_path": scope["raw_path"].removeprefix(quote(prefix).encode())}
            await app(scope | {"root_path": prefix}, receive, send)

        transport = httpx.ASGITransport(outer)
        async with httpx.AsyncClient(transport=transport, base_url="http://server/über", headers=BEARER) as http:
            path = "/api/v1/rooms/a%2Fb/document"
            answer = await http.put(path, content="x", headers={"content-type": "text/plain"})
            assert answer.status_code == 200, answer.text
            assert (await http.get(path)).json() == {"text": "x"}
            assert [one["name"] for one in (await http.get("/api/v1/rooms")).json()["items"]] == ["a/b"]
            assert (await http.get("/api/docs")).status_code == 200
            assert (await http.get("/live")).status_code == 200 or not in_path


def test_it_is_where_it_is(asked):
    assert is_problem(httpx.get(f"{asked.http_url}/api/"), 401)
    assert is_problem(httpx.get(f"{asked.http_url}/api/", headers=BEARER), 404)
    assert is_problem(httpx.get(f"{asked.http_url}/api/v1/rooms/", headers=BEARER), 404)
    assert "/api/docs" in httpx.get(f"{asked.http_url}/elsewhere").text
