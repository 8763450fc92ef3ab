"""What a server in production must not be, each in one sentence with its remedy. Production is `server.production`.

`refused` keeps it from starting; `doubtful` is logged when it starts. `collab doctor --production` shows both.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from pathlib import Path

from ..settings import Problem, Settings, every_setting
from ..settings.access import is_loopback
from ..settings.values import parse_list, parse_networks, read_secret
from .app import spelled

KINDS = 12
"""Fewest different characters of a secret: of 32 random bytes in hexadecimal not one of 100,000 has fewer."""
WIDE = {4: 8, 6: 32}
"""Shortest prefix of a network of trusted proxies, by IP version: a shorter one trusts more than anybody owns."""
PLACEHOLDER = re.compile(r"change.?(me|this)|password|secret|example|default|insecure", re.IGNORECASE)
MEMORY = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
UNLIMITED = 1 << 60
"""What version 1 of cgroups says for "no limit" is near 2**63."""


def refused(settings: Settings) -> Iterator[Problem]:
    """What a server in production does not start with."""
    server, auth = settings.server, settings.auth
    keys = (auth.jwt_secret, auth.jwt_secret_file, auth.jwt_public_key_file, auth.jwks_url, auth.webhook_url)
    if auth.mode == "open" or (auth.mode is None and not any(keys)):
        yield Problem(
            "auth.mode",
            f"{spelled(settings, 'auth.mode')} is open, so whoever reaches the server may read and write every room: "
            "set it to jwt with JWT_SECRET_FILE, or to webhook",
        )
    if server.debug:
        name = spelled(settings, "server.debug")
        yield Problem("server.debug", f"{name} is on, which logs far too much about people: set it to no")
    if settings.store.url.startswith("memory:"):
        name = spelled(settings, "store.url")
        yield Problem("store.url", f"{name} keeps documents in memory, where a restart loses them: name a SQLite file")
    if not (server.certfile or server.trusted_proxies or is_loopback(server.host)):
        yield Problem(
            "server.host",
            f"{spelled(settings, 'server.host')} is {server.host} without TLS, so tokens and documents can be read on "
            "their way: set COLLAB_SERVER__CERTFILE and COLLAB_SERVER__KEYFILE, or name the proxy that does TLS in "
            "COLLAB_SERVER__TRUSTED_PROXIES",
        )
    for network in parse_networks(server.trusted_proxies):
        if network.prefixlen < WIDE[network.version]:
            yield Problem(
                "server.trusted_proxies",
                f"{spelled(settings, 'server.trusted_proxies')} trusts {network}, so anybody may claim any address: "
                "name your proxies alone",
            )
    yield from _secrets(settings)
    yield from _files(settings)


def doubtful(settings: Settings) -> Iterator[Problem]:
    """What a server in production should not be, though somebody may have a reason."""
    server, auth, limits = settings.server, settings.auth, settings.limits
    if not _memory_is_limited():
        yield Problem(
            None,
            "nothing limits the memory of this process, so it can take the whole machine with it: set a limit "
            "(deploy.resources in compose, resources in Kubernetes, MemoryMax in systemd)",
        )
    if limits.connections_per_address >= limits.connections:
        yield Problem(
            "limits.connections_per_address",
            f"{spelled(settings, 'limits.connections_per_address')} lets one address take all "
            f"{limits.connections} connections: set it lower than COLLAB_LIMITS__CONNECTIONS",
        )
    if settings.log.level == "debug" and not server.debug:
        yield Problem("log.level", f"{spelled(settings, 'log.level')} is debug, which is slow: set it to info")
    if not auth.require_exp:
        name = spelled(settings, "auth.require_exp")
        yield Problem("auth.require_exp", f"{name} is no, so a stolen token works for ever: set it to yes")
    if auth.mode != "webhook" and not auth.webhook_url and auth.jwt_issuer is None:
        yield Problem("auth.jwt_issuer", "JWT_ISSUER is not set, so tokens of every issuer with this key count: set it")
    if server.allowed_origins is None or "*" in parse_list(server.allowed_origins):
        name = spelled(settings, "server.allowed_origins")
        yield Problem("server.allowed_origins", f"{name} lets every page connect: name your own")
    open_to_all = read_secret(server.metrics_token, server.metrics_token_file) is None and server.internal_port is None
    if open_to_all and not (is_loopback(server.host) and server.trusted_proxies is None):
        yield Problem(
            "server.metrics_token",
            "/metrics tells everybody how many rooms and editors there are: set COLLAB_SERVER__INTERNAL_PORT or "
            "COLLAB_SERVER__METRICS_TOKEN_FILE",
        )


def _secrets(settings: Settings) -> Iterator[Problem]:
    for section, field in (
        ("auth", "jwt_secret"),
        ("auth", "webhook_secret"),
        ("server", "metrics_token"),
        ("admin", "token"),
    ):
        values = getattr(settings, section)
        file = getattr(values, f"{field}_file")
        secret = read_secret(getattr(values, field), file)
        name = f"{section}.{field}" + ("_file" if file else "")
        if secret is not None and (len(set(secret)) < KINDS or PLACEHOLDER.search(secret)):
            yield Problem(
                name,
                f"{spelled(settings, name)} holds a secret that can be guessed: make another with "
                "`openssl rand -hex 32`",
            )


def _files(settings: Settings) -> Iterator[Problem]:
    """Files with secrets that every user of the machine may read."""
    for setting in every_setting():
        if setting.name != "server.keyfile" and not setting.name.endswith(("secret_file", "token_file")):
            continue
        path = getattr(getattr(settings, setting.section), setting.field)
        if path is not None and path.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH):
            yield Problem(
                setting.name,
                f"{spelled(settings, setting.name)}: every user of this machine may read or write {path}: "
                f"chmod 400 {path}, and let the user that the server runs as own it",
            )


def _memory_is_limited() -> bool:
    for file in MEMORY:
        try:
            text = file.read_text().strip()
        except OSError:
            continue
        if text != "max" and int(text) < UNLIMITED:
            return True
    return False
