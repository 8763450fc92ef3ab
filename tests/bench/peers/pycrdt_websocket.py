"""pycrdt-websocket on hypercorn with uvloop, as its documentation starts it: python pycrdt_websocket.py PORT"""

from __future__ import annotations

import asyncio
import sys

import uvloop
from hypercorn.asyncio import serve
from hypercorn.config import Config
from pycrdt.websocket import ASGIServer, WebsocketServer


async def main(port: int) -> None:
    """Serve until killed."""
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.loglevel = "ERROR"
    async with WebsocketServer(auto_clean_rooms=False) as rooms:
        await serve(ASGIServer(rooms), config, mode="asgi")  # type: ignore[arg-type]


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(int(sys.argv[1])))
