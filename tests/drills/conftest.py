"""What the drills share: real editors that trust the authority of a drill, and nobody else for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import jwt
import pytest

from tests.drills.front import Front
from tests.support.server import Server

SECRET = "0f3a9b7c5d1e8264" * 4


@pytest.fixture
def production() -> dict[str, str | None]:
    """The variables that docker/compose.production.yml sets, as far as they do not speak of places."""
    return {
        "JWT_SECRET": SECRET,
        "JWT_ISSUER": "https://app.example.com",
        "COLLAB_SERVER__PRODUCTION": "yes",
        "COLLAB_SERVER__TRUSTED_PROXIES": "127.0.0.1",
        "COLLAB_SERVER__ALLOWED_ORIGINS": "https://app.example.com",
    }


@pytest.fixture
def token() -> str:
    """Lets its bearer write everywhere."""
    claims = {"sub": "drill", "iss": "https://app.example.com", "exp": 4_000_000_000, "rooms": {"**": "write"}}
    return jwt.encode(claims, SECRET, "HS256")


@pytest.fixture
def front(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Front]]:
    """`front(server, ...)` runs nginx before these servers; Node trusts its authority from then on."""
    running: list[Front] = []

    def start(*servers: Server) -> Front:
        made = Front(tmp_path, [server.port for server in servers])
        made.check()
        monkeypatch.setenv("NODE_EXTRA_CA_CERTS", str(made.authority.file))
        running.append(made.__enter__())
        return made

    yield start
    for one in running:
        one.__exit__()
