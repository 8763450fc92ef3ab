"""The routes of the demo editor, without a browser: what is sent, with which headers, and where there is nothing."""

from __future__ import annotations

import gzip

import anyio
import httpx
import pytest
from starlette.applications import Starlette

from collab import Settings, create_app
from collab.web.demo import FOREVER, NOT_BUILT, POLICY, Demo
from tests.support.server import Server

SCRIPT = b"// a script\n" * 1000


@pytest.fixture
def built(tmp_path):
    """As Vite leaves it."""
    (tmp_path / "assets").mkdir()
    (tmp_path / "demo.html").write_text("<!doctype html><title>demo</title>")
    (tmp_path / "assets" / "demo-Ab3_x-9Z.js").write_bytes(SCRIPT)
    (tmp_path / "assets" / "theme.js").write_text("// short")
    (tmp_path / "assets" / "secret.pem").write_text("not for browsers")
    (tmp_path / "outside.js").write_text("// beside the assets")
    return tmp_path


def get(built, path, **headers):
    async def ask():
        transport = httpx.ASGITransport(Starlette(routes=Demo(built).routes))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.get(path, headers={"accept-encoding": "identity"} | headers)

    return anyio.run(ask)


def test_the_page_is_asked_for_anew_and_may_load_nothing_from_elsewhere(built):
    answer = get(built, "/demo")
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-cache")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"] == POLICY
    assert "unsafe" not in POLICY and "frame-ancestors 'none'" in POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"


def test_what_has_a_hash_in_its_name_is_kept_for_ever(built):
    assert get(built, "/assets/demo-Ab3_x-9Z.js").headers["cache-control"] == FOREVER
    assert get(built, "/assets/theme.js").headers["cache-control"] == "no-cache"


def test_gzip_for_those_who_take_it(built):
    plain = get(built, "/assets/demo-Ab3_x-9Z.js")
    assert plain.content == SCRIPT and "content-encoding" not in plain.headers
    zipped = get(built, "/assets/demo-Ab3_x-9Z.js", **{"accept-encoding": "gzip, br"})
    assert zipped.headers["content-encoding"] == "gzip" and zipped.headers["vary"] == "accept-encoding"
    assert zipped.content == SCRIPT
    assert int(zipped.headers["content-length"]) == len(gzip.compress(SCRIPT, mtime=0)) < len(SCRIPT)


@pytest.mark.parametrize(
    "path", ["secret.pem", "outside.js", "demo.html", "nothing.js", "..%2foutside.js", "%2e%2e/demo.html", ""]
)
def test_nothing_else_is_given_away(built, path):
    assert get(built, f"/assets/{path}").status_code == 404


def test_where_it_is_not_built_the_page_says_how_to_get_it(tmp_path):
    answer = get(tmp_path, "/demo")
    assert (answer.status_code, answer.text) == (503, NOT_BUILT)
    assert "make install" in answer.text and "npm ci" in answer.text
    assert answer.headers["cache-control"] == "no-store"
    (tmp_path / "demo.html").write_text("now")
    assert get(tmp_path, "/demo").text == "now"


def test_it_is_there_once_it_is_built_without_a_restart(tmp_path):
    async def ask():
        transport = httpx.ASGITransport(Starlette(routes=Demo(tmp_path).routes))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            before = (await client.get("/demo")).status_code
            (tmp_path / "demo.html").write_text("now")
            return before, (await client.get("/demo")).status_code

    assert anyio.run(ask) == (503, 200)


@pytest.mark.parametrize(("production", "status"), [(True, 404), (False, 200)])
def test_not_in_production(production, status):
    async def ask():
        settings = Settings(server={"production": production}, store={"url": "memory://"})
        async with create_app(settings) as app:
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                return {path: (await client.get(path)).status_code for path in ("/demo", "/assets/theme.js")}

    found = anyio.run(ask)
    if production:
        assert set(found.values()) == {404}
    else:
        assert found["/demo"] in (status, 503)  # 503: not built here


def test_the_option_of_the_command_line():
    with Server(args=["--production"], env={"JWT_SECRET": "0f3a9b7c5d1e8264" * 4}) as server:
        assert server.get("/demo")[0] == 404
    with Server(env={"COLLAB_AUTH__MODE": "open"}) as server:
        assert server.get("/demo")[0] in (200, 503)
