"""Somebody who is told what happens: a real HTTP server that checks signatures, and can be away."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from tests.support.server import free_port

SECRET = "a secret that receivers and this server share"


class Receiver:
    """Keeps what it was told, in the order in which it came.

    Args:
        answer: What it answers to an event: a status.

    Attributes:
        told: The bodies of what it said 2xx to.
        asked: How many requests came.
        wrong: What was not as it should be.
    """

    def __init__(self, answer: Callable[[dict[str, Any]], int] = lambda event: 204) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/hooks"
        self.answer = answer
        self.told: list[dict[str, Any]] = []
        self.asked = 0
        self.wrong: list[str] = []
        self._server: ThreadingHTTPServer | None = None
        self._lock = threading.Lock()

    def start(self) -> Self:
        """Be there (again)."""
        receiver = self

        class Answers(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                with receiver._lock:
                    status = receiver._heard({name.lower(): value for name, value in self.headers.items()}, body)
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Nothing."""

        class Listens(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 100

        self._server = Listens(("127.0.0.1", self.port), Answers)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def stop(self) -> None:
        """Be away: nobody listens."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def _heard(self, headers: dict[str, str], body: bytes) -> int:
        self.asked += 1
        event = json.loads(body)
        digest = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        if headers.get("x-hocuspocus-signature-256") != f"sha256={digest}":
            self.wrong.append("Hocuspocus' signature")
        id, moment = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "0")
        signed = hmac.new(SECRET.encode(), f"{id}.{moment}.".encode() + body, hashlib.sha256).digest()
        if headers.get("webhook-signature") != "v1," + base64.b64encode(signed).decode() or id != event["id"]:
            self.wrong.append("Standard Webhooks' signature")
        if abs(time.time() - int(moment)) > 60:
            self.wrong.append(f"time {moment}")
        status = self.answer(event)
        if 200 <= status < 300:
            self.told.append(event)
        return status

    def first(self, room: str | None = None) -> list[dict[str, Any]]:
        """What it was told (of a room), each event once: when it first came."""
        found: dict[str, dict[str, Any]] = {}
        for event in list(self.told):
            if room in (None, event["room"]):
                found.setdefault(event["id"], event)
        return list(found.values())
