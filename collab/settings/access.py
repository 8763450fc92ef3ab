"""The fields of the sections `auth` and `admin`: how the server knows who may do what."""

from __future__ import annotations

import re
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator

from .sections import Count, Seconds, Section, Size, _lower
from .values import MiB, check_secret_file

Word = BeforeValidator(_lower)
Algorithm = Literal[
    "HS256",
    "HS384",
    "HS512",
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
]
Span = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def is_loopback(host: str | None) -> bool:
    """Whether this names this machine alone."""
    try:
        return host == "localhost" or ip_address(host or "").is_loopback
    except ValueError:
        return False


def safe_url(url: str) -> str:
    """The URL itself, when what is sent there stays secret on its way, and nothing in it is; else raises ValueError."""
    parts = urlsplit(url)
    local = parts.scheme == "http" and is_loopback(parts.hostname)
    if not parts.hostname or not (parts.scheme == "https" or local):
        raise ValueError("it should begin with https:// (http:// is for this machine only)")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("it should have no user, query or fragment: it is shown in logs")
    return url


def _open_once(path: Path | None) -> Path | None:
    if path is not None:
        try:
            path.open("rb").close()
        except OSError as error:
            raise ValueError(f"it should be a file that this user can read ({error.strerror})") from None
    return path


class AuthSettings(Section):
    """Who may do what: docs/howto/access.md."""

    mode: Annotated[Literal["open", "jwt", "webhook"], Word] | None = Field(
        default=None,
        description="How access is decided: `jwt` (signed tokens), `webhook` (the application is asked) or `open` "
        "(everybody may read and write). Not set: what keys or URL below call for, else open, on this machine only.",
    )
    jwt_secret: SecretStr | None = Field(
        default=None, description="Secret that tokens are signed with (HS256), of at least 32 bytes."
    )
    jwt_secret_file: Path | None = Field(
        default=None, description="File that holds the secret instead; white space around it does not count."
    )
    jwt_public_key_file: Path | None = Field(
        default=None, description="File with public keys (PEM), one after another, for tokens of RS, PS, ES or EdDSA."
    )
    jwks_url: str | None = Field(
        default=None, description="URL of the key set (JWKS) that an identity provider publishes; https."
    )
    jwt_algorithm: (
        Literal[
            "HS256",
            "HS384",
            "HS512",
            "RS256",
            "RS384",
            "RS512",
            "PS256",
            "PS384",
            "PS512",
            "ES256",
            "ES384",
            "ES512",
            "EdDSA",
        ]
        | None
    ) = Field(
        default=None,
        description="Algorithm that tokens must be signed with. Not set: HS256 for the secret, RS256 for RSA keys that "
        "say no other; elliptic curves have one each.",
    )
    jwt_issuer: str | None = Field(default=None, min_length=1, description="What `iss` must be, exactly.")
    jwt_audience: str | None = Field(
        default=None,
        min_length=1,
        description="What `aud` must name, exactly; several by commas, of which one is enough. Not set: tokens that "
        "name an audience are meant for others, and refused.",
    )
    require_exp: bool = Field(default=True, description="Yes or no: refuse tokens that never expire (no `exp`).")
    leeway_seconds: Annotated[float, Field(ge=0, le=600)] = Field(
        default=30.0, description="How far the signer's clock may be from ours; a token counts so much longer."
    )
    default_level: Annotated[Literal["none", "read", "comment", "write"], Word] = Field(
        default="none",
        description="What a token allows that says nothing about rooms: `none`, `read`, `comment` or `write`.",
    )
    may_create: bool = Field(
        default=True, description="Yes or no: a token that does not say `create` may make a room by entering it."
    )
    jwks_fresh_seconds: Seconds = Field(default=600.0, description="Time for which a fetched key set is used.")
    jwks_retry_seconds: Seconds = Field(
        default=10.0, description="Least time between two fetches, also when tokens name keys that are not known."
    )
    jwks_timeout_seconds: Seconds = Field(default=5.0, description="Longest time for fetching the key set.")
    webhook_url: str | None = Field(
        default=None, description="URL that is asked about each client and room (POST); https, or this machine."
    )
    webhook_secret: SecretStr | None = Field(
        default=None, description="Secret that the questions are signed with, of at least 32 bytes."
    )
    webhook_secret_file: Path | None = Field(
        default=None, description="File that holds that secret instead; white space around it does not count."
    )
    webhook_timeout_seconds: Seconds = Field(default=5.0, description="Longest time until the answer is there.")
    webhook_cache_seconds: Span = Field(
        default=10.0, description="Time for which an answer counts for the next who asks the same; 0 for not at all."
    )
    webhook_concurrency: Count = Field(default=50, description="Number of questions that may be open at once.")
    webhook_failures: Count = Field(
        default=5, description="Number of failures in a row after which nobody is asked for a time."
    )
    webhook_pause_seconds: Seconds = Field(default=5.0, description="How long nobody is asked then.")
    cookie: str | None = Field(
        default=None, description="Name of a cookie that may hold the token; only pages that are allowed may use it."
    )

    @field_validator("jwt_secret_file", "jwt_public_key_file")
    @classmethod
    def _readable(cls, path: Path | None) -> Path | None:
        return _open_once(path)

    @field_validator("webhook_secret_file")
    @classmethod
    def _holds_secret(cls, path: Path | None) -> Path | None:
        return check_secret_file(path)

    @field_validator("jwks_url", "webhook_url")
    @classmethod
    def _safe_url(cls, url: str | None) -> str | None:
        return None if url is None else safe_url(url)

    @field_validator("cookie")
    @classmethod
    def _cookie_name(cls, name: str | None) -> str | None:
        if name is not None and not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
            raise ValueError("it should be the name of a cookie (RFC 6265)")
        return name

    @model_validator(mode="after")
    def _rules(self) -> Self:
        if self.jwt_secret is not None and self.jwt_secret_file is not None:
            raise ValueError("{jwt_secret} and {jwt_secret_file} are both set: leave one out")
        if self.webhook_secret is not None and self.webhook_secret_file is not None:
            raise ValueError("{webhook_secret} and {webhook_secret_file} are both set: leave one out")
        return self


class AdminSettings(Section):
    """The admin HTTP API: docs/reference/api.md."""

    token: SecretStr | None = Field(
        default=None,
        description="Token of at least 32 bytes that opens the admin API (`Authorization: Bearer ...`) and the "
        "console (`/console`).",
    )
    token_file: Path | None = Field(
        default=None, description="File that holds that token instead; white space around it does not count."
    )
    body_bytes: Size = Field(default=16 * MiB, description="Largest request body that the admin API takes, in bytes.")
    write_seconds: Seconds = Field(
        default=30.0,
        description="Longest time for waiting for a turn, then for reading a request, and then for what it asks for, "
        "up to its commit.",
    )
    concurrency: Count = Field(
        default=32, description="Number of requests that the admin API works on at once; others wait."
    )

    @field_validator("token_file")
    @classmethod
    def _can_be_read(cls, path: Path | None) -> Path | None:
        return _open_once(path)

    @model_validator(mode="after")
    def _one_token(self) -> Self:
        if self.token is not None and self.token_file is not None:
            raise ValueError("{token} and {token_file} are both set: leave one out")
        return self
