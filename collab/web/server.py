"""From settings to a running process: hypercorn, signals, the order of a shutdown."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import signal
import socket
import sys
import threading
from contextlib import AsyncExitStack, suppress

import anyio
from hypercorn.asyncio import serve as serve_asgi
from hypercorn.config import Config, Sockets

from ..errors import SettingsError
from ..log import get_logger
from ..settings import Settings
from ..store import Store
from ..transport import insides
from .app import App
from .turns import take_turns
from .underneath import calmed

log = get_logger(__name__)

COLLECT_AFTER = (25_000, 25, 25)
"""How many new objects the garbage collector waits for, and how many young collections before older ones. Little here
is garbage in circles. With 500 editors and 3,000 edits/s Python's own (700, 10, 10) took 1.1 of 8 s, up to 240 ms at
once; these take 0.2 s."""
STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
HEADROOM = 2
"""hypercorn's own message limit, as a multiple of ours: it acts only where ours could not be put in its place."""


def run(settings: Settings, *, store: Store | None = None) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code of the process.

    0 when everything was saved. When a shutdown does not come to its end in `shutdown_seconds` (a store that hangs),
    the process ends by itself with code 1: nothing that was not committed was ever reported as saved.

    Raises:
        SettingsError: The store or the address cannot be used.
        StoreLocked: Another process has the store.
    """
    sys.setswitchinterval(settings.server.switch_interval_seconds)
    gc.freeze()  # what was imported stays for ever: no need to look at it again and again
    gc.set_threshold(*COLLECT_AFTER)
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # macOS says "unlimited" and does not mean it
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # the usual 1,024 would be the limit of connections
    config = _config(settings)
    insides.http1_only()
    return anyio.run(_serve, settings, config, store, backend="asyncio", backend_options={"use_uvloop": True})


async def _serve(settings: Settings, config: Config, store: Store | None) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def told_to_stop() -> None:
        if not stop.is_set():
            stop.set()
            # Once is enough. A second one, when the loop is closed and Python's own handlers are back, would make the
            # exit code of a clean end 130.
            signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
            _end_by_all_means(settings.server.shutdown_seconds)

    for number in STOPS:
        loop.add_signal_handler(number, told_to_stop)
    failure: SettingsError | None = None
    async with App(settings, store=store) as app, AsyncExitStack() as stack:
        stack.enter_context(calmed(app.hub.floods))
        take_turns(app.hub.metrics)

        async def shutdown() -> None:
            await stop.wait()
            # Here and not in the lifespan's shutdown: that comes after hypercorn has cut the connections, and from
            # Python 3.12 on hypercorn waits for them to end by themselves first.
            await app.drain()

        try:
            # A task of its own: hypercorn leaves the one it runs in marked as cancelled, which would end the hub early.
            await asyncio.create_task(
                serve_asgi(app, config, shutdown_trigger=shutdown, mode="asgi")  # type: ignore[arg-type]
            )
        except OSError as error:
            failure = _cannot_listen(settings, error)
    if failure is not None:
        raise failure
    return 0


def _end_by_all_means(seconds: float) -> None:
    """Whatever hangs: in `seconds` the process is gone. A thread, since the event loop may be what hangs."""

    def end() -> None:
        log.error("shutdown timed out", seconds=seconds, consequence="edits that were not committed are lost here")
        logging.shutdown()
        os._exit(1)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()


def _cannot_listen(settings: Settings, error: OSError) -> SettingsError:
    server = settings.server
    where = f"{server.host}:{server.port}"
    names = "COLLAB_SERVER__HOST or COLLAB_SERVER__PORT"
    if server.internal_port is not None:
        where += f" or {server.internal_host}:{server.internal_port}"
        names += " (or COLLAB_SERVER__INTERNAL_HOST or _PORT)"
    return SettingsError(f"cannot listen on {where} ({error.strerror}); set {names}, or stop what listens there")


class _Config(Config):
    """hypercorn's, with what it has no setting for."""

    tcp_timeout_seconds = 30.0

    def create_sockets(self) -> Sockets:
        sockets: Sockets = super().create_sockets()
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            for listener in (*sockets.secure_sockets, *sockets.insecure_sockets):
                if listener.family in (socket.AF_INET, socket.AF_INET6):  # what it accepts inherits the option
                    milliseconds = max(1, round(1000 * self.tcp_timeout_seconds))
                    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        return sockets


def _bind(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _config(settings: Settings) -> Config:
    server = settings.server
    config = _Config()
    config.tcp_timeout_seconds = server.tcp_timeout_seconds
    config.bind = [_bind(server.host, server.port)]
    if server.internal_port is not None:
        internal = _bind(server.internal_host, server.internal_port)
        if server.certfile is None:
            config.bind = [*config.bind, internal]
        else:
            config.insecure_bind = internal
    config.backlog = server.backlog
    config.alpn_protocols = ["http/1.1"]  # browsers would else carry WebSockets over HTTP/2, past the fast path
    if server.certfile is not None and server.keyfile is not None:
        config.certfile, config.keyfile = str(server.certfile), str(server.keyfile)
        config.keyfile_password = ""  # else it is asked for on the terminal
        try:
            config.create_ssl_context()
        except (OSError, ValueError) as error:
            raise SettingsError(
                f"{server.certfile} and {server.keyfile} are no certificate and its key ({error}); set "
                "COLLAB_SERVER__CERTFILE and COLLAB_SERVER__KEYFILE to PEM files that belong together, the key without "
                "a passphrase"
            ) from error
    config.websocket_max_message_size = HEADROOM * settings.limits.message_bytes
    config.include_server_header = False
    config.accesslog = None
    config.errorlog = logging.getLogger("hypercorn.error")
    config.graceful_timeout = 1.0
    # hypercorn holds a connection for so long that says nothing, that has not finished its request, and also one that
    # its client has closed after an answer: each costs a file descriptor meanwhile.
    config.keep_alive_timeout = server.handshake_seconds
    config.ssl_handshake_timeout = server.handshake_seconds
    return config
