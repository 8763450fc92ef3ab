"""The routes of the pages, without a browser: what is sent, with which headers, and where there is nothing."""

from __future__ import annotations

import gzip

import anyio
import httpx
import pytest
from starlette.applications import Starlette

from collab import Settings, create_app
from collab.web.pages import CONSOLE_POLICY, FOREVER, NOT_BUILT, POLICY, Pages
from tests.support.server import Server

SCRIPT = b"// a script\n" * 1000


@pytest.fixture
def built(tmp_path):
    """As Vite leaves it."""
    (tmp_path / "assets").mkdir()
    (tmp_path / "demo.html").write_text("<!doctype html><title>demo</title>")
    (tmp_path / "console.html").write_text("<!doctype html><title>console</title>")
    (tmp_path / "assets" / "demo-Ab3_x-9Z.js").write_bytes(SCRIPT)
    (tmp_path / "assets" / "theme.js").write_text("// short")
    (tmp_path / "assets" / "secret.pem").write_text("not for browsers")
    (tmp_path / "outside.js").write_text("// beside the assets")
    return tmp_path


def get(built, path, **headers):
    async def ask():
        transport = httpx.ASGITransport(Starlette(routes=Pages(demo=True, console=True, built=built).routes))
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


def test_the_console_may_talk_to_its_own_server_alone_and_make_no_markup_out_of_text(built):
    answer = get(built, "/console")
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-cache")
    assert "<title>console" in answer.text
    policy = answer.headers["content-security-policy"]
    assert policy == CONSOLE_POLICY
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'" and rules["connect-src"] == rules["script-src"] == "'self'"
    assert rules["require-trusted-types-for"] == "'script'" and rules["trusted-types"] == "'none'"
    assert rules["frame-ancestors"] == "'none'" and "unsafe" not in policy and "ws" not in policy
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
    "path",
    ["secret.pem", "outside.js", "demo.html", "console.html", "nothing.js", "..%2foutside.js", "%2e%2e/demo.html", ""],
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
        transport = httpx.ASGITransport(Starlette(routes=Pages(demo=True, built=tmp_path).routes))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            before = (await client.get("/demo")).status_code
            (tmp_path / "demo.html").write_text("now")
            return before, (await client.get("/demo")).status_code

    assert anyio.run(ask) == (503, 200)


TOKEN = "a token that opens the admin interface"


@pytest.mark.parametrize("path", ["/demo", "/console"])
def test_each_page_is_there_only_where_it_is_wanted(built, path):
    for wanted in ({}, {"demo": True}, {"console": True}):
        routes = Pages(**wanted, built=built).routes
        assert any(route.path == path for route in routes) == bool(wanted.get(path[1:]))
        assert any(route.path.startswith("/assets") for route in routes) == bool(wanted)


@pytest.mark.parametrize(
    ("settings", "ports"),
    [
        ({}, []),
        ({"admin": {"token": TOKEN}}, [1234, 9000]),
        ({"admin": {"token": TOKEN}, "server": {"production": True}}, [1234, 9000]),
        ({"admin": {"token": TOKEN}, "server": {"internal_port": 9000}}, [9000]),
    ],
    ids=["without a token", "with one", "in production", "at the internal port"],
)
def test_the_console_is_where_the_admin_api_is_opened_by_a_token(settings, ports):
    async def ask():
        auth = {"mode": "jwt", "jwt_secret": "0f3a9b7c5d1e8264" * 4}
        given = Settings(**{"store": {"url": "memory://"}, "auth": auth} | settings)
        async with create_app(given) as app:
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport) as client:
                return [
                    port
                    for port in (1234, 9000)
                    if (await client.get(f"http://localhost:{port}/console")).status_code
                    in (200, 503)  # 503: not built
                ]

    assert anyio.run(ask) == ports


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
