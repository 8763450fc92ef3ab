"""Gathers the pages of the documentation site and has MkDocs build it, with every broken link as an error.

python docs/site.py [FOLDER]    into FOLDER; build/site without

The pages are those of docs/, which must read well on their own, too. So this changes only what a site needs: links to
files outside docs/ lead to copies of these, and the capacity page gets the figures of docs/benchmarks/results.json.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
PAGES = ROOT / "build" / "site-pages"
FIGURES = re.compile(r"<!-- figures: benchmarks -->\n.*?<!-- /figures -->", re.DOTALL)

SECTIONS = {
    "Start": ["README", "tutorial/*", "howto/demo"],
    "Write clients": ["howto/clients/*", "howto/content", "howto/embed"],
    "Migrate": ["howto/migrate/*"],
    "Deploy": ["howto/deploy", "howto/kubernetes", "howto/access", "security", "howto/capacity", "checklist"],
    "Operate": [
        *(
            "howto/operate",
            "howto/console",
            "howto/monitor",
            "howto/logs",
            "howto/runbook",
            "howto/incident",
            "howto/troubleshoot",
        ),
        *("howto/backup", "howto/crashes", "howto/snapshots", "howto/webhooks", "howto/upgrade", "howto/*"),
    ],
    "Reference": ["reference/*", "limits"],
    "Design": ["design/architecture", "design/*", "benchmarks/*", "CHANGELOG", "CONTRIBUTING", "SECURITY"],
}
"""In the order in which readers need them. A pattern takes what is not taken yet; all pages are in one of them."""


def sections(pages: list[str]) -> list[dict[str, list[str]]]:
    """The navigation over `pages` (paths in the folder of pages)."""
    named = {part for parts in SECTIONS.values() for part in parts if "*" not in part}
    taken: set[str] = set()
    found = []
    for title, parts in SECTIONS.items():
        inside: list[str] = []
        for part in parts:
            for page in pages:
                stem = page.removesuffix(".md")
                # A page with a place of its own is not swept up before that.
                fits = Path(stem).match(part) and (
                    stem == part or (stem not in named and stem.count("/") == part.count("/"))
                )
                if fits and page not in taken:
                    taken.add(page)
                    inside.append(page)
        found.append({title: inside})
    if left := set(pages) - taken:
        raise SystemExit(f"no section of docs/site.py takes {', '.join(sorted(left))}")
    return found


def figures(results: Path) -> str:
    """The table that `make bench` wrote beside its numbers, as the page shows it; a sentence where there is none."""
    if not results.exists():
        return "No figures of this version are kept here yet: `make bench` makes them for your machine."
    found = json.loads(results.read_text("utf-8"))
    lines = ["| figure | value |", "| --- | --- |"]
    lines += [f"| {name} | {value} |" for name, value in flat(found) if isinstance(value, int | float | str)]
    return "\n".join(lines)


def flat(found: object, name: str = "") -> list[tuple[str, object]]:
    if isinstance(found, dict):
        return [pair for key, value in found.items() for pair in flat(value, f"{name} {key}".strip())]
    if isinstance(found, list):
        return []
    return [(name, found)]


def gather(pages: Path) -> list[str]:
    """Copy what the site shows; returns the pages."""
    shutil.rmtree(pages, ignore_errors=True)
    shutil.copytree(DOCS, pages, ignore=shutil.ignore_patterns("*.py", "__pycache__", ".*"))
    for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"):
        shutil.copy(ROOT / name, pages / name)
    for page in sorted(pages.rglob("*.md")):
        text = page.read_text("utf-8")
        outside = page.parent == pages and page.name != "README.md" and not (DOCS / page.name).exists()
        up = "../" * len(page.relative_to(pages).parent.parts)
        if outside:
            text = re.sub(r"\]\(docs/", "](", text)
        else:
            text = re.sub(rf"\]\({re.escape(up)}\.\./(CHANGELOG|CONTRIBUTING|SECURITY)\.md", rf"]({up}\1.md", text)
        page.write_text(FIGURES.sub(lambda _: figures(DOCS / "benchmarks" / "results.json"), text), "utf-8")
    return sorted(str(page.relative_to(pages)) for page in pages.rglob("*.md"))


def build(site: Path, pages: Path = PAGES) -> subprocess.CompletedProcess[str]:
    """Build it; what MkDocs says of broken links is in the output, and its exit code is not 0 then."""
    nav = yaml.safe_dump({"nav": sections(gather(pages))}, sort_keys=False)
    own = (ROOT / "mkdocs.yml").read_text("utf-8").replace("docs_dir: build/site-pages", f"docs_dir: {pages}")
    config = pages.with_suffix(".yml")
    config.write_text(f"{own}\n{nav}", "utf-8")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(config)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}  # its advertisement for what comes after it
    return subprocess.run(
        [*command, "--site-dir", str(site.absolute())], capture_output=True, text=True, check=False, env=environment
    )


def main(arguments: list[str]) -> int:
    site = Path(arguments[0]) if arguments else ROOT / "build" / "site"
    done = build(site)
    if done.returncode:
        sys.stderr.write(done.stdout + done.stderr)
    if done.returncode == 0:
        print(f"the site is in {site}: open {site}/index.html, or serve it with python -m http.server -d {site}")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
