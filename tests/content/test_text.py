"""Documents as plain text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from collab.content.text import to_text

CASES = {c["name"]: c for c in json.loads(Path(__file__).with_name("documents.json").read_text("utf-8"))["cases"]}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("paragraphs", "One\n\nGrüße 😀 <b>&amp;</b>\n\n"),
        ("lists", "- a\n  3. x\n  4. y\n- b"),
        ("tasks", "[x] done\n    [ ] inner\n[ ] open"),
        ("quote", "> first\n>\n> > inner"),
        ("breaks", "a\nb\n\n---\n\nc"),
        ("table", "A\tB|C\n1\t2\nwide"),
        ("image", 'An "A"'),
        ("mention", "hi @Ana!"),
    ],
)
def test_text(name, text):
    assert to_text(CASES[name]["json"]) == text


def test_of_what_is_not_known_the_content_stays():
    inside = {"type": "paragraph", "content": [{"type": "text", "text": "x", "marks": [{"type": "odd"}]}]}
    assert to_text({"type": "doc", "content": [{"type": "panel", "content": [inside]}]}) == "x"
