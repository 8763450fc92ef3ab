"""`python -m tests.bench`: run every module of this folder, or those named: `python -m tests.bench store`."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

folder = Path(__file__).parent
found = sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith("_"))

for name in sys.argv[1:] or found:
    if name not in found:
        sys.exit(f"no bench {name!r}; there are: {', '.join(found)}")
    importlib.import_module(f"tests.bench.{name}").main()
