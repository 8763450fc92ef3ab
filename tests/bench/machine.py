"""What the figures were taken on."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .servers import NODE, PEERS, cores

PACKAGES = ("pycrdt", "pycrdt-websocket", "hypercorn", "uvloop", "picows")
NPM = ("@hocuspocus/server", "@hocuspocus/extension-sqlite", "better-sqlite3", "y-websocket", "yjs", "ws")


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _npm(name: str) -> str | None:
    path = PEERS / "node_modules" / name / "package.json"
    return str(json.loads(path.read_text())["version"]) if path.is_file() else None


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def _says(*command: str) -> str | None:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def describe() -> dict[str, Any]:
    """Machine, system and versions; nothing that names the machine or its owner."""
    server, generator = cores()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return {
        "date": time.strftime("%Y-%m-%d"),
        "commit": _says("git", "rev-parse", "--short", "HEAD"),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_GB": round(memory, 1),
        "kernel": platform.release(),
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", platform.system()),
        "python": platform.python_version(),
        "node": _says(str(NODE), "--version"),
        "server_core": server,
        "generator_core": generator,
        "load_before": round(os.getloadavg()[0], 2),
        "versions": {name: found for name in PACKAGES if (found := _installed(name))}
        | {name: found for name in NPM if (found := _npm(name))},
    }
