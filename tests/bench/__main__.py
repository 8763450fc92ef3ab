"""`python -m tests.bench`: this server beside its peers. `python -m tests.bench store`: the store alone."""

from __future__ import annotations

import sys

from . import compare, store

if sys.argv[1:2] == ["store"]:
    store.main()
else:
    compare.main(sys.argv[1:])
