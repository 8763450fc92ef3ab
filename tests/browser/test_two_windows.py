"""Two windows, one on each protocol, in one room."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.demo import content, demo_url, saved, text, words


@pytest.fixture
def pair(server, window, room):
    ana = window(demo_url(server, room, "hocuspocus"), "Ana Berg")
    ben = window(demo_url(server, room, "y-websocket"), "Ben Ito")
    saved(ana)
    saved(ben)
    return ana, ben


def begin(ana, ben):
    """A paragraph for each."""
    ana.click(".ProseMirror")
    ana.keyboard.type("A: ")
    ana.keyboard.press("Enter")
    ana.keyboard.type("B: ")
    expect(ben.locator(".ProseMirror p")).to_have_count(2)
    expect(ben.locator(".ProseMirror p").nth(1)).to_have_text(re.compile("^B:"))
    ana.click(".ProseMirror p >> nth=0")
    ana.keyboard.press("End")
    ben.click(".ProseMirror p >> nth=1")
    ben.keyboard.press("End")


def test_both_type_at_once_and_see_the_same(pair):
    ana, ben = pair
    begin(ana, ben)
    for number in range(25):
        ana.keyboard.type(f"a{number} ")
        ben.keyboard.type(f"b{number} ")
    saved(ana)
    saved(ben)
    expect(ben.locator(".ProseMirror")).to_contain_text("a24")
    expect(ana.locator(".ProseMirror")).to_contain_text("b24")
    assert content(ana) == content(ben)
    for page in pair:
        assert words(page, "a") == words(page, "b") == list(range(25))


def test_each_sees_the_others_caret_name_and_going(pair):
    ana, ben = pair
    begin(ana, ben)
    expect(ana.locator(".caret")).to_have_text("Ben Ito")
    expect(ben.locator(".caret")).to_have_text("Ana Berg")
    expect(ana.get_by_role("img", name="Ben Ito")).to_be_visible()

    ben.click("#self")
    ben.fill("#me-name", "Benedikt")
    ben.click("#me-colours input >> nth=0")
    ben.click("#me button[type=submit]")
    expect(ana.get_by_role("img", name="Benedikt")).to_be_visible()
    ben.click(".ProseMirror p >> nth=1")
    expect(ana.locator(".caret")).to_have_text("Benedikt")
    ben.reload()
    expect(ben.locator("#self")).to_have_attribute("title", re.compile("^Benedikt"))

    ben.close()
    expect(ana.locator("#people li:not(.self)")).to_have_count(0)
    expect(ana.locator(".caret")).to_have_count(0)


def test_the_protocol_is_changed_without_losing_what_is_there(pair):
    ana, ben = pair
    begin(ana, ben)
    ana.get_by_text("y-websocket").click()
    saved(ana)
    ana.click(".ProseMirror p >> nth=0")
    ana.keyboard.press("End")
    ana.keyboard.type("still here")
    saved(ana)
    expect(ben.locator(".ProseMirror")).to_contain_text("still here")
    ana.reload()
    expect(ana.locator(".ProseMirror")).to_contain_text("still here")
    assert ana.evaluate("collabDemo.connection.protocol") == "y-websocket"
    assert text(ana) == text(ben)


@pytest.mark.parametrize("protocol", ["hocuspocus", "y-websocket"])
def test_what_is_undone_is_ones_own(pair, protocol):
    ana, ben = pair
    begin(ana, ben)
    mine, other = (ana, ben) if protocol == "hocuspocus" else (ben, ana)
    other.keyboard.type("theirs")
    saved(other)
    expect(mine.locator(".ProseMirror")).to_contain_text("theirs")
    mine.wait_for_timeout(600)  # what is typed within half a second is undone at once
    mine.keyboard.type("mine")
    mine.keyboard.press("Control+z")
    expect(mine.locator(".ProseMirror")).not_to_contain_text("mine")
    expect(other.locator(".ProseMirror")).not_to_contain_text("mine")
    expect(other.locator(".ProseMirror")).to_contain_text("theirs")
    saved(mine)
