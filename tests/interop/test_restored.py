"""Restores in Yjs itself: it shows what the server's library shows."""

from __future__ import annotations

import base64
import json
import random
import subprocess

from pycrdt import Text

from collab.history.restore import restore
from tests.history.histories import crowds, seen
from tests.support.histories import applied, clocks
from tests.support.node import INTEROP, node_binary


def encoded(update: bytes) -> str:
    return base64.b64encode(update).decode()


def test_yjs_shows_the_snapshot(full, figure):
    node = node_binary()
    cases, expected = [], []
    for seed, crowd in enumerate(crowds(full)):
        updates = [row.update for row in crowd.rows]
        snapshot = applied(updates[: random.Random(seed).randint(0, len(updates))]).get_update()
        state = applied(updates).get_update()
        edit = restore(state, snapshot)
        here = applied([state])
        known = here.get_state()
        here.get("text", type=Text).insert(0, "typed meanwhile")
        typed = here.get_update(known)
        cases.append({"snapshot": snapshot, "state": state, "edit": edit, "typed": typed})
        here.apply_update(edit)
        expected.append((seen(here), clocks(here)))
    told = json.dumps([{name: encoded(update) for name, update in case.items()} for case in cases])
    answer = subprocess.run(
        [node, "restored.mjs"], cwd=INTEROP, input=told.encode(), capture_output=True, check=True, timeout=300
    )
    results = json.loads(answer.stdout)
    for seed, (result, wanted) in enumerate(zip(results, expected, strict=True)):
        assert result["same"], seed
        assert result["converged"], seed
        theirs = applied([base64.b64decode(result["state"])])
        # Deletions may differ: Yjs tidies up marks that say nothing (YText.js, `cleanupYTextAfterTransaction`).
        assert (seen(theirs), clocks(theirs)) == wanted, seed
    figure(f"{len(results)} of {len(results)} restores look the same in Yjs, also beside what was typed meanwhile")
