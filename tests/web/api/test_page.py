"""The page about the API: everything is on it, and it loads nothing."""

from __future__ import annotations

import re

import httpx

from collab.web.api.page import page


def test_it_loads_nothing(server):
    answer = httpx.get(f"{server.http_url}/api/docs")
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert not re.search(r"<script|<link|<img|@import|src=|url\(|https?:", answer.text)


def test_every_operation_is_on_it(server):
    schema = httpx.get(f"{server.http_url}/api/openapi.json").json()
    text = httpx.get(f"{server.http_url}/api/docs").text
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            assert f"<b>{method.upper()}</b> {path}<" in text
            assert operation["summary"] in text


def test_what_is_in_it_is_escaped():
    operation = {"summary": "<script>", "tags": ["<a>"], "responses": {"200": {"description": "<b>"}}}
    schema = {"info": {"title": "<i>", "description": "&"}, "paths": {"/<x>": {"get": operation}}}
    text = page(schema, '"><script>')
    assert not re.search(r"<(script|a>|i>|x>)", text)
