"""The rules of the section `auth`."""

from __future__ import annotations

import pytest
from pydantic import SecretStr, ValidationError

from collab.settings.access import AdminSettings, AuthSettings, is_loopback


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mode", "closed"),
        ("jwt_secret_file", "/no/such/file"),
        ("jwt_public_key_file", "/no/such/file"),
        ("jwt_algorithm", "none"),
        ("jwt_algorithm", "hs256"),
        ("leeway_seconds", -1),
        ("leeway_seconds", 601),
        ("leeway_seconds", float("nan")),
        ("default_level", "admin"),
        ("jwks_url", "http://id.example/keys"),
        ("jwks_url", "http://127.0.0.1.evil.example/"),
        ("jwks_url", "ftp://127.0.0.1/keys"),
        ("jwks_url", "https://"),
        ("webhook_url", "https://user:hush@app.example/"),
        ("webhook_url", "https://app.example/?key=hush"),
        ("webhook_url", "https://app.example/#x"),
        ("webhook_cache_seconds", -1),
        ("webhook_concurrency", 0),
        ("cookie", ""),
        ("cookie", "a=b"),
    ],
)
def test_refused(field, value):
    with pytest.raises(ValidationError):
        AuthSettings(**{field: value})


@pytest.mark.parametrize(
    "url", ["https://id.example/keys", "http://127.0.0.1:1/keys", "http://[::1]/", "http://localhost/"]
)
def test_urls(url):
    assert AuthSettings(jwks_url=url).jwks_url == url


def test_one_secret(tmp_path):
    file = tmp_path / "secret"
    file.touch()
    with pytest.raises(ValidationError, match="leave one out"):
        AuthSettings(jwt_secret=SecretStr("x"), jwt_secret_file=file)


def test_one_webhook_secret(tmp_path):
    file = tmp_path / "secret"
    file.write_text(" \n")
    with pytest.raises(ValidationError, match="this one is empty"):
        AuthSettings(webhook_secret_file=file)
    file.write_text("x\n")
    assert AuthSettings(webhook_secret_file=file).webhook_secret_file == file
    with pytest.raises(ValidationError, match="leave one out"):
        AuthSettings(webhook_secret=SecretStr("x"), webhook_secret_file=file)


def test_one_admin_token(tmp_path):
    file = tmp_path / "token"
    with pytest.raises(ValidationError, match="this user can read"):
        AdminSettings(token_file=file)
    file.touch()
    assert AdminSettings(token_file=file).token_file == file
    with pytest.raises(ValidationError, match="leave one out"):
        AdminSettings(token=SecretStr("x"), token_file=file)
    assert "hush" not in repr(AdminSettings(token=SecretStr("hush")))


def test_words_in_any_case():
    assert AuthSettings(mode="JWT").mode == "jwt"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        (None, False),
        ("localhost.evil.example", False),
    ],
)
def test_loopback(host, loopback):
    assert is_loopback(host) is loopback
