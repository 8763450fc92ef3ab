"""What a window says when the server does not let it in, or not write."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from playwright.sync_api import expect

from tests.browser.demo import SAMPLER, demo_url, saved, text
from tests.support.server import FOREIGN, REPO, Server

KEYS = {"JWT_SECRET": "a secret of the tests, and long enough for them"}
PROTOCOLS = ["hocuspocus", "y-websocket"]


def token(rule: str) -> str:
    """What `collab token` prints."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(FOREIGN)}
    command = [sys.executable, "-m", "collab", "token", "--sub", "ana", "--room", rule]
    done = subprocess.run(command, cwd=REPO, env=env | KEYS, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.strip()


@pytest.fixture(scope="module")
def guarded():
    with Server(env={**KEYS}) as running:
        yield running


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_without_a_token_it_says_no_access_and_takes_no_typing(guarded, window, protocol):
    page = window(demo_url(guarded, "team", protocol))
    expect(page.locator("#indicator")).to_have_text(re.compile("^No access: .+"), timeout=15_000)
    expect(page.locator("#notice")).to_be_visible()
    expect(page.locator(".ProseMirror")).to_have_attribute("contenteditable", "false")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_token_in_the_address_opens_the_room(guarded, window, protocol):
    asked: list[str] = []
    page = window("about:blank")
    page.on("request", lambda request: asked.append(request.url))
    page.goto(demo_url(guarded, "team", protocol) + f"#token={token('team=write')}")
    saved(page)
    page.click(".ProseMirror")
    page.keyboard.type(protocol)
    saved(page)
    assert protocol in text(page)
    assert asked and not any("token" in url for url in asked if url.startswith("http"))


def writer_and_reader(guarded, window, room, protocol):
    """The second one may only read."""
    writer = window(demo_url(guarded, room) + f"#token={token(f'{room}=write')}")
    saved(writer)
    writer.click(".ProseMirror")
    writer.keyboard.type("first")
    saved(writer)
    reader = window(demo_url(guarded, room, protocol) + f"#token={token(f'{room}=read')}")
    expect(reader.locator(".ProseMirror")).to_contain_text("first")
    return writer, reader


def test_who_may_read_cannot_type(guarded, window):
    _, reader = writer_and_reader(guarded, window, "read-hocuspocus", "hocuspocus")
    expect(reader.locator("#indicator")).to_have_text("Read only")
    expect(reader.locator(".ProseMirror")).to_have_attribute("contenteditable", "false")


def test_who_may_read_is_not_told_over_y_websocket_that_it_is_saved(guarded, window):
    """That provider is not told that it may only read: it learns it when it writes."""
    writer, reader = writer_and_reader(guarded, window, "read-y-websocket", "y-websocket")
    reader.click(".ProseMirror")
    reader.evaluate(SAMPLER)
    reader.keyboard.type("x")
    reader.wait_for_timeout(1000)  # long enough for a wrong answer to come
    said = [words for words, used in reader.evaluate("samples") if used]
    assert text(writer) == "first"
    assert said and "Saved" not in said
