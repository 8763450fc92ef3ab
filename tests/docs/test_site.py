"""The documentation as a site: it builds, a broken link fails it, and reading it asks nobody for anything."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from docs import site
from tests.docs.blocks import DOCS


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    done = site.build(folder / "site", folder / "pages")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"


def test_every_page_is_there(built):
    pages = {page.relative_to(DOCS).with_suffix(".html") for page in DOCS.rglob("*.md") if page.name != "README.md"}
    assert {page for page in pages if not (built / page).is_file()} == set()
    assert (built / "index.html").is_file()


def test_reading_asks_nobody(built):
    for page in built.rglob("*.html"):
        text = page.read_text("utf-8")
        loaded = re.findall(r"<(?:script|img|iframe|source)[^>]* src=\"?([^\s\">]+)", text)
        loaded += re.findall(r"<link[^>]* rel=\"?(?:stylesheet|preconnect|icon|preload)[^>]* href=\"?([^\s\">]+)", text)
        assert loaded
        assert [one for one in loaded if re.match(r"(https?:)?//", one)] == [], page.name
    for style in built.rglob("*.css"):
        assert not re.search(r"url\([\"']?(https?:)?//", style.read_text("utf-8")), style.name


@pytest.mark.parametrize(
    "broken", ["[a](howto/nothing.md)", "[a](howto/access.md#nothing)", "[a](#nothing)", "[a](../Makefile)"]
)
def test_a_broken_link_fails_it(broken, tmp_path, monkeypatch):
    docs = tmp_path / "docs"
    (docs / "howto").mkdir(parents=True)
    (docs / "README.md").write_text(f"# Start\n\n{broken}\n")
    shutil.copy(DOCS / "howto" / "access.md", docs / "howto" / "access.md")
    access = docs / "howto" / "access.md"
    access.write_text(re.sub(r"\]\([^)]*\)", "", access.read_text()))
    monkeypatch.setattr(site, "DOCS", docs)
    done = site.build(tmp_path / "site", tmp_path / "pages")
    assert done.returncode != 0
    assert "README.md" in done.stdout + done.stderr


def test_a_page_has_one_place():
    with pytest.raises(SystemExit, match=r"takes elsewhere/page\.md"):
        site.sections(["README.md", "elsewhere/page.md"])
    found = site.sections(["README.md", "howto/backup.md", "howto/zebra.md", "howto/access.md"])
    pages = {title: inside for one in found for title, inside in one.items()}
    assert pages["Operate"] == ["howto/backup.md", "howto/zebra.md"]
    assert pages["Deploy"] == ["howto/access.md"]


def test_figures(tmp_path):
    assert "`make bench`" in site.figures(tmp_path / "nothing.json")
    (tmp_path / "results.json").write_text(json.dumps({"W1": {"p99": 1.5, "raw": [1, 2]}}))
    assert site.figures(tmp_path / "results.json").splitlines()[2:] == ["| W1 p99 | 1.5 |"]
