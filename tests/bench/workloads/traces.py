"""W9: a recorded session of two people. W10: bytes on the wire, with and without compression."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
from pathlib import Path

from tests.support.node import INTEROP
from tests.support.raw import var_bytes
from tests.support.server import REPO

from ..client import Broken, Client, now
from ..documents import prose
from ..plan import Figures, Plan
from ..pump import Pump
from ..servers import Kind, Running, cores, token
from ..wire import Author, frame

BROWSERS_OFFER = "permessage-deflate; client_max_window_bits"
REPLAY_SECONDS = 120


def trace() -> Path | None:
    """The recording, where EDITING_TRACE says or in `shared/data` beside the repository."""
    path = Path(os.environ.get("EDITING_TRACE") or REPO.parent / "shared" / "data" / "friendsforever.json.gz")
    return path if path.is_file() else None


def w9(plan: Plan, kind: Kind) -> Figures:
    """26,078 keystrokes of two people, typed by two real y-websocket providers as fast as their order allows."""
    node, path = shutil.which("node"), trace()
    if kind.dialect.name != "y-websocket":
        return {}
    if node is None or path is None or not (INTEROP / "node_modules").is_dir():
        plan.say("W9 is left out: it needs Node, `make node` and the recording (EDITING_TRACE)")
        return {}
    edits = len(json.loads(gzip.decompress(path.read_bytes()))["txns"])

    def measure() -> Figures:
        # Two people who type 26,000 keystrokes in a few seconds are over the rate that one client may send.
        with plan.running(kind, {"COLLAB_LIMITS__MESSAGES_PER_SECOND": "1000000"}) as server:
            arguments = ["--url", server.server.url, "--room", "trace", "--trace", str(path)]
            arguments += ["--token", token(0)] if kind.ours else []
            before = server.cpu()
            replay = subprocess.Popen(
                [node, "replay.mjs", *arguments, "--timeout", str(REPLAY_SECONDS)],
                cwd=INTEROP, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                preexec_fn=lambda: os.sched_setaffinity(0, {cores()[1]}),
            )  # fmt: skip
            out, _ = replay.communicate(timeout=REPLAY_SECONDS + 60)
            result = json.loads(out)
            figures = {"exact": float(result["ok"])}
            if result["ok"]:
                figures["seconds"] = result["seconds"]
                figures["server_us_per_edit"] = (server.cpu() - before) * 1e6 / edits
            return figures

    return plan.repeat("W9", kind, measure, runs=1)


def quiet(pump: Pump, clients: list[Client]) -> None:
    """Until nothing has come for 0.3 s."""
    total, since = -1, now()
    deadline = now() + 20
    while now() - since < 0.3:
        pump.turn(0.01)
        received = sum(client.received for client in clients)
        if received != total:
            total, since = received, now()
        if now() > deadline:
            raise Broken("it never falls silent")


def w10(plan: Plan, kind: Kind) -> Figures:
    """Bytes that one client receives: a document of prose, pastes of 2 KB, keystrokes; and the server's CPU."""
    size, pastes, keys, readers = (200_000, 20, 100, 5) if plan.quick else (1_000_000, 200, 1_000, 20)
    text = prose(pastes * 2_000, seed=5)

    def part(server: Running, room: str, offer: str) -> Figures:
        with server.pump() as pump:
            clients = server.clients(pump, [room] * (readers + 1), typing=1)
            writer, spoken = clients[0], server.kind.dialect
            assert writer.author is not None
            for client in clients[1:]:
                client.close()
            pump.join([writer])
            author = Author(4_000, spoken.address(room))
            content = prose(size)
            for at in range(0, size, 10_000):
                writer.send(frame(writer.address + b"\x00\x02" + var_bytes(author.edit(content[at : at + 10_000]))))
            quiet(pump, [writer])
            shown = token(1) if server.kind.ours else ""
            watching = [Client(pump, room, spoken, shown, extensions=offer) for _ in range(readers)]
            before = server.cpu()
            pump.join(watching, together=True)
            quiet(pump, watching)
            figures = {"document_bytes": watching[0].received, "compressed": float(bool(watching[0].extensions))}
            for name, count, more in (("paste", pastes, 2_000), ("keystroke", keys, 0)):
                started = [client.received for client in watching]
                for number in range(count):
                    writer.sent.append(now())
                    writer.send(writer.author.edit_frame(text[number * more : (number + 1) * more]))
                    pump.wait(lambda: False, 0.002)
                quiet(pump, watching)
                got = sum(c.received - s for c, s in zip(watching, started, strict=True))
                figures[f"{name}_bytes"] = got / readers / count
                if not offer and any(client.others < count for client in watching):
                    raise Broken(f"not every {name} arrived")
            figures["cpu_s"] = server.cpu() - before
            return figures

    def measure() -> Figures:
        with plan.running(kind) as server:
            plain, small = part(server, "plain", ""), part(server, "small", BROWSERS_OFFER)
        figures = {f"{name}_plain": value for name, value in plain.items() if name != "compressed"}
        if small["compressed"]:
            figures |= {f"{name}_deflated": value for name, value in small.items() if name != "compressed"}
        figures["negotiates"] = small["compressed"]
        return figures

    return plan.repeat("W10", kind, measure, runs=1)
