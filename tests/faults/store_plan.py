"""One fixed plan for a store: appends, and a compaction after every 15th. strace says when to die.

    python store_plan.py PLAN.json FILE BEGIN END

The plan is a list of updates in hex. After each append that returned, its number is written to standard output.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from collab import recovery
from collab.store import Entry
from collab.store.sqlite import SQLiteStore


async def main(updates: list[bytes], file: Path, begin: int, end: int) -> None:
    async with SQLiteStore(file) as store:
        for number, update in enumerate(updates[begin:end], begin + 1):
            await store.append([Entry("room", update, 1e9)])
            os.write(1, f"{number}\n".encode())
            if number % 15 == 0:
                await recovery.compact(store, "room")


if __name__ == "__main__":
    plan = [bytes.fromhex(one) for one in json.loads(Path(sys.argv[1]).read_text())]
    asyncio.run(main(plan, Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
