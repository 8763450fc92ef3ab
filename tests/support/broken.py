"""Runs the contract suite over stores that break its promise: each of them must fail it, and no sound one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def broken_stores_are_found(source: str, folder: Path, *options: str) -> None:
    """Assert that of a test module's stores just those fail that it defines itself.

    Args:
        source: The module. Each of its classes is a broken store, tested as `Test<its name>`.
        folder: Where it may be written.
        options: More of pytest's.
    """
    module = folder / "test_broken.py"
    module.write_text(source)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=no", "-rf", f"--rootdir={folder}"]
    done = subprocess.run(
        [*command, *options, module], capture_output=True, text=True, cwd=Path(__file__).parents[2], timeout=100
    )
    broken = {line.split("::")[1] for line in done.stdout.splitlines() if line.startswith("FAILED")}
    expected = {line.split()[1].partition("(")[0] for line in source.splitlines() if line.startswith("class ")}
    assert broken == {f"Test{name}" for name in expected}, done.stdout
