"""What a production start refuses, what it warns about, and what it takes."""

from __future__ import annotations

import json
import secrets

import pytest

from collab.cli import production
from collab.cli.production import doubtful, refused
from collab.settings import Settings
from tests.support.server import Server

GOOD = "0f3a9b7c5d1e8264" * 4


@pytest.fixture
def good(tmp_path, monkeypatch):
    """The variables of a server that may go into production, as compose.production.yml sets them."""
    certificate = tmp_path / "secret"
    certificate.write_text(GOOD + "\n")
    certificate.chmod(0o400)
    limit = tmp_path / "memory.max"
    limit.write_text("2147483648\n")
    monkeypatch.setattr(production, "MEMORY", (limit,))
    return {
        "WS_HOST": "0.0.0.0",
        "DEBUG": "no",
        "JWT_SECRET_FILE": str(certificate),
        "JWT_ISSUER": "https://app.example.com",
        "COLLAB_AUTH__MODE": "jwt",
        "COLLAB_SERVER__PRODUCTION": "yes",
        "COLLAB_SERVER__ALLOWED_ORIGINS": "https://app.example.com",
        "COLLAB_SERVER__TRUSTED_PROXIES": "172.30.91.2",
        "COLLAB_SERVER__INTERNAL_PORT": "9464",
    }


@pytest.fixture
def found(good, monkeypatch):
    """What is refused and what is doubted, by setting; a variable that is None is not set."""

    def look(**changed: str | None):
        for name, value in (good | changed).items():
            if value is not None:
                monkeypatch.setenv(name, value)
        settings = Settings()
        return {one.name: one.sentence for one in refused(settings)}, {
            one.name: one.sentence for one in doubtful(settings)
        }

    return look


def test_nothing_against_what_compose_sets(found):
    assert found() == ({}, {})


@pytest.mark.parametrize(
    ("changed", "name", "remedy"),
    [
        ({"COLLAB_AUTH__MODE": "open"}, "auth.mode", "set it to jwt"),
        ({"COLLAB_AUTH__MODE": None, "JWT_SECRET_FILE": None}, "auth.mode", "set it to jwt"),
        ({"DEBUG": "yes"}, "server.debug", "DEBUG is on, which logs far too much about people: set it to no"),
        ({"COLLAB_STORE__URL": "memory:"}, "store.url", "name a SQLite file"),
        ({"COLLAB_SERVER__TRUSTED_PROXIES": None}, "server.host", "WS_HOST is 0.0.0.0 without TLS"),
        ({"COLLAB_SERVER__TRUSTED_PROXIES": "0.0.0.0/0"}, "server.trusted_proxies", "name your proxies alone"),
        ({"COLLAB_SERVER__TRUSTED_PROXIES": "::/0"}, "server.trusted_proxies", "name your proxies alone"),
        ({"JWT_SECRET_FILE": None, "JWT_SECRET": "a" * 40}, "auth.jwt_secret", "JWT_SECRET holds a secret that can"),
        (
            {"JWT_SECRET_FILE": None, "JWT_SECRET": "please-change-me-before-production"},
            "auth.jwt_secret",
            "openssl rand -hex 32",
        ),
        ({"COLLAB_ADMIN__TOKEN": "0123" * 10}, "admin.token", "COLLAB_ADMIN__TOKEN holds"),
        ({"COLLAB_SERVER__METRICS_TOKEN": "0"}, "server.metrics_token", "COLLAB_SERVER__METRICS_TOKEN holds"),
        ({"COLLAB_AUTH__WEBHOOK_SECRET": "password" * 5}, "auth.webhook_secret", "COLLAB_AUTH__WEBHOOK_SECRET holds"),
    ],
)
def test_refused(found, changed, name, remedy):
    problems, _ = found(**changed)
    assert list(problems) == [name]
    assert remedy in problems[name]
    assert "\n" not in problems[name]
    assert (changed.get("JWT_SECRET") or GOOD) not in problems[name]


@pytest.mark.parametrize(("mode", "kept"), [(0o404, False), (0o402, False), (0o440, True), (0o600, True)])
def test_secret_files_of_everybody(found, good, tmp_path, mode, kept):
    (tmp_path / "secret").chmod(mode)
    problems, _ = found()
    assert list(problems) == ([] if kept else ["auth.jwt_secret_file"])
    assert kept or problems["auth.jwt_secret_file"].startswith("JWT_SECRET_FILE: every user of this machine may read")


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"COLLAB_LIMITS__CONNECTIONS_PER_ADDRESS": "10000", "COLLAB_LIMITS__CONNECTIONS": "10000"},
         "limits.connections_per_address"),
        ({"COLLAB_LOG__LEVEL": "debug"}, "log.level"),
        ({"COLLAB_AUTH__REQUIRE_EXP": "no"}, "auth.require_exp"),
        ({"JWT_ISSUER": None}, "auth.jwt_issuer"),
        ({"COLLAB_SERVER__ALLOWED_ORIGINS": None}, "server.allowed_origins"),
        ({"COLLAB_SERVER__ALLOWED_ORIGINS": "*"}, "server.allowed_origins"),
        ({"COLLAB_SERVER__INTERNAL_PORT": None}, "server.metrics_token"),
    ],
)  # fmt: skip
def test_doubted(found, changed, name):
    problems, doubts = found(**changed)
    assert problems == {}
    assert list(doubts) == [name]


@pytest.mark.parametrize("said", ["max", str((1 << 63) - 4096)])
def test_memory_without_a_limit(found, tmp_path, said):
    (tmp_path / "memory.max").write_text(said)
    _, doubts = found()
    assert list(doubts) == [None]
    assert "set a limit" in doubts[None]


def test_random_secrets_are_taken():
    for _ in range(2_000):
        for made in (secrets.token_hex(32), secrets.token_urlsafe(48)):
            assert list(refused(Settings(auth={"jwt_secret": made}))) == []


def test_doctor_tells(collab, good):
    told = json.loads(
        collab("doctor", "--production", "--json", **good | {"DEBUG": "yes", "COLLAB_LOG__LEVEL": "info"}).stdout
    )
    assert not told["ok"]
    assert "server.debug" in [line["name"] for line in told["problems"]]
    told = json.loads(collab("doctor", "--json", **good | {"JWT_ISSUER": ""}).stdout)
    assert [line["name"] for line in told["warnings"]] == ["auth.jwt_issuer"]


def test_a_server_in_production_does_not_start_open(tmp_path):
    with pytest.raises(AssertionError, match="ended with code 2") as stopped:
        Server(folder=tmp_path, args=["--production"], env={"COLLAB_AUTH__MODE": "open", "DEBUG": "yes"}).start()
    assert "COLLAB_AUTH__MODE is open" in str(stopped.value)
    assert "DEBUG is on" in str(stopped.value)


def test_a_server_in_production_warns_and_starts():
    with Server(args=["--production"], env={"JWT_SECRET": GOOD}) as server:
        doubted = {line["setting"] for line in server.json_logs() if line["event"] == "not fit for production"}
    assert {"auth.jwt_issuer", "server.allowed_origins"} <= doubted
