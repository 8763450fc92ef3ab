"""HTML from documents: readable for every kind of node, and nothing in it can run."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest

from collab.content.html import safe_url, to_html

CASES = json.loads(Path(__file__).with_name("documents.json").read_text("utf-8"))["cases"]


class Words(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def words(html: str) -> str:
    parser = Words()
    parser.feed(html)
    return "".join(parser.words)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_says_what_the_editor_says(case):
    assert words(to_html(case["json"])) == words(case["html"])


@pytest.mark.parametrize("case", [case for case in CASES if case["name"] != "comments"], ids=lambda case: case["name"])
def test_is_what_the_editor_renders(case):
    """Comments are a mark of an application's own: only it knows how they look."""
    assert to_html(case["json"]) == case["html"]


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", " JaVa\tScript:x", "\x01javascript:x", "vbscript:x", "data:text/html,x", None, 3]
)
def test_what_could_run_is_no_address(url):
    assert safe_url(url) is None


@pytest.mark.parametrize("url", ["https://a/b:c", "/a:b", "a", "#x:y", "mailto:a@b", "?q=javascript:x"])
def test_other_addresses_stay(url):
    assert safe_url(url) == url


def test_everything_is_escaped():
    bad = '"><script>alert(1)</script>'
    marks = [{"type": kind, "attrs": {"href": bad, "color": bad}} for kind in ("link", "textStyle", "highlight", bad)]
    text = {"type": "text", "text": bad, "marks": marks}
    attrs = {key: bad for key in ("src", "alt", "id", "label", "textAlign", "language", "start", "level", "colspan")}
    kinds = ["paragraph", "heading", "orderedList", "codeBlock", "image", "mention", "tableCell", bad]
    nodes = [{"type": kind, "attrs": attrs, "content": [text]} for kind in kinds]
    assert "<script" not in to_html({"type": "doc", "content": nodes})


def test_what_is_measured_is_a_number():
    cell = {"type": "tableCell", "attrs": {"colwidth": ['1"', True, -3, 1e9, 40], "colspan": 10**9}}
    html = to_html(
        {"type": "doc", "content": [{"type": "table", "content": [{"type": "tableRow", "content": [cell]}]}]}
    )
    assert 'colwidth="40"' in html and html.count("<col ") == 1 + 20


@pytest.mark.parametrize(("color", "shown"), [("#fc0", "rgb(255, 204, 0)"), ("red", "red"), ("#12345", "#12345")])
def test_colours(color, shown):
    text = {"type": "text", "text": "x", "marks": [{"type": "textStyle", "attrs": {"color": color}}]}
    assert to_html({"type": "doc", "content": [text]}) == f'<span style="color: {shown};">x</span>'
