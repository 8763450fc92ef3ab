"""The files under docker/ that watch a server, and whether the programs that read them are here."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"


@dataclass(frozen=True)
class Panel:
    """One query of one dashboard."""

    board: str
    title: str
    expr: str


def rules(kind: str | None = None) -> list[dict[str, Any]]:
    """All rules, or those that `record` or `alert`."""
    files = sorted((DOCKER / "prometheus" / "rules").glob("*.yml"))
    found = [group["rules"] for file in files for group in yaml.safe_load(file.read_text("utf-8"))["groups"]]
    return [rule for some in found for rule in some if kind is None or kind in rule]


def panels() -> list[Panel]:
    """All queries of all dashboards."""
    return [
        Panel(file.stem, panel["title"], target["expr"])
        for file in sorted((DOCKER / "grafana" / "dashboards").glob("*.json"))
        for panel in json.loads(file.read_text("utf-8"))["panels"]
        for target in panel["targets"]
    ]


def needs(*programs: str) -> pytest.MarkDecorator:
    """Skip where one of them is missing, except where CI is set (`make debian` installs them)."""
    missing = [program for program in programs if shutil.which(program) is None]
    return pytest.mark.skipif(bool(missing) and not os.environ.get("CI"), reason=f"missing: {', '.join(missing)}")
