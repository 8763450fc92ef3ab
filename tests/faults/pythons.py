"""Every supported Python that this machine has, each with the server's dependencies in a folder of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.server import REPO

VERSIONS = ("3.11", "3.12", "3.13")
RUNNING = f"{sys.version_info[0]}.{sys.version_info[1]}"


def _candidates(version: str) -> Iterator[str]:
    if version == RUNNING:
        yield sys.executable
    yield from filter(None, (os.environ.get(f"PYTHON{version.replace('.', '')}"), shutil.which(f"python{version}")))
    homes = [
        Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions",
        Path("/opt/hostedtoolcache/Python"),
    ]
    for home in homes:
        for folder in sorted(home.glob(f"{version}.*"), reverse=True):
            yield from map(str, (folder / "bin" / "python", folder / "x64" / "bin" / "python"))
    yield from (f"/usr/local/bin/python{version}", f"/usr/bin/python{version}", f"/opt/python{version}/bin/python")
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    if uv is not None:
        found = subprocess.run([uv, "python", "find", "--offline", version], capture_output=True, text=True)
        if found.returncode == 0:
            yield found.stdout.strip()


def find(version: str) -> str | None:
    """An interpreter of that version which runs and can make a venv. (A pyenv shim may be there and not run.)"""
    for candidate in _candidates(version):
        check = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
        try:
            tried = subprocess.run([candidate, "-c", check], capture_output=True, text=True)
        except OSError:
            continue
        if tried.stdout.strip() == version:
            return candidate
    return None


def with_dependencies(version: str) -> str:
    """An interpreter of that version that can run the server; its venv (`.venv-3.12`, ...) is kept for the next time.

    Skips the test where there is no such Python; fails it when there is one and the dependencies cannot be installed.
    """
    if version == RUNNING:
        return sys.executable
    interpreter = find(version)
    if interpreter is None:
        pytest.skip(f"Python {version} is not on this machine")
    venv = f".venv-{version}"
    made = subprocess.run(
        ["make", "--no-print-directory", f"{venv}/.server", f"VENV={venv}", f"PYTHON={interpreter}"],
        cwd=REPO, capture_output=True, text=True,
    )  # fmt: skip
    if made.returncode:
        pytest.fail(f"{venv} could not be made: {made.stdout[-500:]}{made.stderr[-2000:]}", pytrace=False)
    return str(REPO / venv / "bin" / "python")
