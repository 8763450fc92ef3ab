"""Markdown from documents, read again by a CommonMark parser."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from collab.content.html import to_html
from collab.content.markdown import to_markdown

CASES = {c["name"]: c for c in json.loads(Path(__file__).with_name("documents.json").read_text("utf-8"))["cases"]}
PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
MARKS = {"strong": "bold", "em": "italic", "s": "strike", "del": "strike", "code": "code", "u": "underline"}


def text(words: str, *marks: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, "marks": [{"type": m} if isinstance(m, str) else m for m in marks]}


def node(kind: str, *content: Any, **attrs: Any) -> dict[str, Any]:
    return {"type": kind, "content": [text(one) if isinstance(one, str) else one for one in content], "attrs": attrs}


def p(*content: Any) -> dict[str, Any]:
    return node("paragraph", *content)


def link(href: str, title: str | None = None) -> dict[str, Any]:
    return {"type": "link", "attrs": {"href": href, "title": title}}


def markdown(*content: Any) -> str:
    return to_markdown({"type": "doc", "content": list(content)})


class Letters(HTMLParser):
    """Each letter with its marks; white space does not count."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, frozenset[str]]] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        if tag in MARKS:
            self.open.append(MARKS[tag])

    def handle_endtag(self, tag: str) -> None:
        if tag in MARKS:
            assert self.open.pop() == MARKS[tag]

    def handle_data(self, data: str) -> None:
        self.found += [(letter, frozenset(self.open)) for letter in data if not letter.isspace()]


def letters(texts: list[dict[str, Any]]) -> list[tuple[str, frozenset[str]]]:
    return [
        (letter, frozenset(mark["type"] for mark in one["marks"]))
        for one in texts
        for letter in one["text"]
        if not letter.isspace()
    ]


tricky = st.text("ab*_~`[]()<>!#&;|\\.1-+=\"' é😀€\n:", min_size=1, max_size=5)
marked = st.builds(text, tricky)
for mark in ("bold", "italic", "strike", "underline", "code"):
    marked |= st.builds(text, tricky, st.just(mark))
marked |= st.builds(text, tricky, st.just("bold"), st.just("italic"))
marked |= st.builds(text, tricky, st.just("strike"), st.just("bold"), st.just("code"))


@settings(deadline=None)
@given(st.lists(marked, min_size=1, max_size=5))
def test_every_letter_keeps_its_marks(content):
    html = PARSER.render(markdown(p(*content)))
    assert Letters(html).found == letters(content), markdown(p(*content))
    assert set(Letters(html).tags) <= {"p", *MARKS}, "nothing is read as a sign that is none"


names = ["paragraph", "heading", "blockquote", "bulletList", "orderedList", "taskList", "listItem", "taskItem", "table"]
names += ["tableRow", "tableHeader", "tableCell", "codeBlock", "horizontalRule", "image", "mention", "hardBreak", "odd"]
values: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
)
values |= st.text(max_size=4) | st.just("https://x.org/a b(")
known = ["level", "start", "checked", "language", "src", "alt", "title", "colspan", "label", "id", "href"]
attributes = st.dictionaries(st.sampled_from(known), values.filter(lambda v: not isinstance(v, int) or abs(v) < 2**53))
marks: st.SearchStrategy[Any] = st.lists(
    st.builds(dict, type=st.sampled_from(["link", "bold", "code", "x"]), attrs=attributes), max_size=2
)
leaves: st.SearchStrategy[Any] = st.builds(
    dict, type=st.just("text"), text=st.text(min_size=1, max_size=6), marks=marks
)
nodes: st.SearchStrategy[Any] = st.recursive(
    leaves,
    lambda inner: st.builds(
        dict, type=st.sampled_from(names), attrs=attributes, marks=marks, content=st.lists(inner, max_size=3)
    ),
    max_leaves=10,
)


@settings(deadline=None)
@given(st.lists(nodes, max_size=3))
def test_any_document_has_some(content):
    PARSER.render(markdown(*content))


@pytest.mark.parametrize("name", CASES)
def test_what_the_parser_reads_is_what_was_written(name):
    html = PARSER.render(to_markdown(CASES[name]["json"]).replace("[x] ", "").replace("[ ] ", ""))
    said = [letter for letter, _ in Letters(html).found]
    assert said == [letter for letter, _ in Letters(to_html(CASES[name]["json"])).found]


def li(*content: Any) -> dict[str, Any]:
    return node("listItem", *content)


@pytest.mark.parametrize(
    ("content", "html"),
    [
        ([node("bulletList", li(p("a"), node("orderedList", li(p("b")), start=3)), li(p("c")))],
         "ul li p ol li li p"),
        ([node("bulletList", li(p("a"), node("bulletList", li(p("b"))))), p("c")], "ul li ul li p"),
        ([node("bulletList", li(p("a"))), node("bulletList", li(p("b")))], "ul li ul li"),
        ([node("orderedList", li(p("a"))), node("orderedList", li(p("b")), start=7)], "ol li ol li"),
        ([node("bulletList", li(node("codeBlock", "x\n\n  y"), p("z")))], "ul li pre code p"),
        ([node("bulletList", li(node("horizontalRule")), li())], "ul li hr li"),
        ([node("bulletList", li(p("a"), p("b")), li(p("c")))], "ul li p p li p"),
        ([node("bulletList", li(p("a"), node("bulletList", li())))], "ul li p ul li"),
        ([node("blockquote", p("a"), node("bulletList", li(p("b")))), node("blockquote", p("c"))],
         "blockquote p ul li blockquote p"),
        ([p("a"), node("horizontalRule"), p("b")], "p hr p"),
        ([node("bulletList", li(node("bulletList", li(node("bulletList", li())))), li(p("a")))],
         "ul li ul li ul li li p"),
        ([node("heading", "a", node("hardBreak"), "b #", level=2), p("c")], "h2 p"),
        ([p("a", node("hardBreak"), "- b", node("hardBreak"))], "p br"),
        ([p("a", node("hardBreak"), "|-|"), p("| b |"), p("1. c"), p("# d"), p("> e"), p("===")], "p br p p p p p"),
        ([p(text("a", link("https://x/(b) <c>\"d\"&copy;", 'T "x"'))), node("image", src="https://x/a b", alt="]")],
         "p a p img"),
        ([p(text("a", link("javascript:x"))), node("image", src="javascript:x", alt="alt")], "p p"),
        ([node("table", node("tableRow", node("tableCell", p("a|b"), p("c")), node("tableCell", text("|", "code"))))],
         "table thead tr th th tbody tr td br td code"),
    ],
)  # fmt: skip
def test_blocks(content, html):
    assert Letters(PARSER.render(markdown(*content))).tags == html.split(), markdown(*content)


SIGNS = ["alpha", "- x", "1. y", "# h", "> q", "```", "|a|b|", "---", "===", "a*b", "    four", "+ +", "<div>", "~~~"]
STRUCTURE = {"ul", "ol", "li", "blockquote", "pre", "hr", "h1", "h2", "h3"}
lines = st.lists(st.sampled_from(SIGNS).map(text) | st.just(node("hardBreak")), max_size=3)
flat = lines.map(lambda line: p(*line)) | st.sampled_from(SIGNS).map(lambda code: node("codeBlock", code))
flat |= st.just(node("horizontalRule")) | st.builds(
    lambda level, line: node("heading", *line, level=level), st.integers(1, 3), lines
)


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    several = st.lists(inner, min_size=1, max_size=3)
    items = st.lists(st.lists(inner, max_size=3).map(lambda content: li(*content)), min_size=1, max_size=3)
    return (
        several.map(lambda content: node("blockquote", *content))
        | items.map(lambda content: node("bulletList", *content))
        | st.builds(lambda start, content: node("orderedList", *content, start=start), st.integers(0, 3), items)
    )


@settings(deadline=None)
@given(st.lists(st.recursive(flat, nested, max_leaves=8), min_size=1, max_size=4))
def test_blocks_stay_what_they_are(content):
    """In whatever order they stand in each other, and whatever is written in them."""
    read, meant = Letters(PARSER.render(markdown(*content))), Letters(to_html({"type": "doc", "content": content}))
    assert [letter for letter, _ in read.found] == [letter for letter, _ in meant.found], markdown(*content)
    assert [t for t in read.tags if t in STRUCTURE] == [t for t in meant.tags if t in STRUCTURE], markdown(*content)


def test_addresses():
    html = PARSER.render(markdown(p(text("a", link("https://x/(b)?c=1&copy;\\", 'T "x"')))))
    assert 'href="https://x/(b)?c=1&amp;copy;%5C"' in html and 'title="T &quot;x&quot;"' in html


def test_fences_are_longer_than_what_they_hold():
    code = "```\n````\n`````x"
    assert f"<code>{code}\n</code>" in PARSER.render(markdown(node("codeBlock", code)))


def test_tasks():
    tasks = CASES["tasks"]["json"]
    assert to_markdown(tasks) == "- [x] done\n  - [ ] inner\n- [ ] open"
    assert markdown(node("taskList", node("taskItem", node("codeBlock", "x")))) == "- [ ]\n\n  ```\n  x\n  ```"


def test_a_table():
    assert to_markdown(CASES["table"]["json"]) == "| A | B\\|C |\n| --- | --- |\n| 1 | 2 |\n| wide |  |"
