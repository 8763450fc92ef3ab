"""Which way access is decided, from the settings: `open`, `jwt` or `webhook`, behind one callable.

async with authorizer(settings.auth, host=settings.server.host) as authorize:
    grant = authorize(knock)
    if isinstance(grant, Awaitable):
        grant = await grant
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal, Self

import httpx

from ..errors import Forbidden, SettingsError, Unauthorized
from ..log import get_logger
from ..settings.access import AuthSettings, is_loopback
from ..settings.values import parse_list, read_secret
from . import Grant, Knock, everyone, tokens
from .jwks import PublishedKeys
from .keys import SECRET_BYTES, Key, KeyRing, check_algorithm, from_pem, from_secret
from .outside import open_client
from .webhook import Webhook
from .where import Shown, find_token

log = get_logger(__name__)

Mode = Literal["open", "jwt", "webhook"]
Clock = Callable[[], float]

NOT_BY_NAME = (
    "this concerns every room, and who decides about access here is asked about one room at a time: it needs the "
    "server's own token (COLLAB_ADMIN__TOKEN)"
)


def authorizer(
    auth: AuthSettings,
    *,
    host: str = "127.0.0.1",
    wall: Clock = time.time,
    monotonic: Clock = time.monotonic,
) -> Authorizer:
    """What decides about clients. Reads the key files; opens nothing until it is entered.

    Args:
        auth: The settings.
        host: Where the server listens: beyond this machine, `open` must be asked for by name.
        wall: Seconds since the epoch.
        monotonic: A clock, in seconds.

    Raises:
        SettingsError: The settings do not make an entrance that keeps anybody out, or contradict each other.
    """
    mode = _mode(auth, host)
    keys = local_keys(auth) if mode == "jwt" else []
    if mode == "webhook":
        name = "COLLAB_AUTH__WEBHOOK_SECRET" + ("_FILE" if auth.webhook_secret_file else "")
        long_enough(name, read_secret(auth.webhook_secret, auth.webhook_secret_file) or "")
    return Authorizer(auth, mode, keys, host, wall, monotonic)


def local_keys(auth: AuthSettings) -> list[Key]:
    """The keys that the settings hold themselves: the secret and the public keys.

    Raises:
        SettingsError: One of them cannot be used.
    """
    keys = []
    if auth.jwt_secret is not None:
        keys.append(from_secret(auth.jwt_secret.get_secret_value(), auth.jwt_algorithm))
    if auth.jwt_secret_file is not None:
        keys.append(from_secret(auth.jwt_secret_file.read_bytes().strip(), auth.jwt_algorithm))
    if auth.jwt_public_key_file is not None:
        keys.extend(from_pem(auth.jwt_public_key_file.read_bytes(), auth.jwt_algorithm))
    check_algorithm(keys, auth.jwt_algorithm)
    return keys


def to_terms(auth: AuthSettings) -> tokens.Terms:
    """What the settings want a token to say."""
    return tokens.Terms(
        issuer=auth.jwt_issuer,
        audiences=tuple(parse_list(auth.jwt_audience)),
        leeway=auth.leeway_seconds,
        require_exp=auth.require_exp,
        default_level=tokens.LEVELS[auth.default_level],
        may_create=auth.may_create,
    )


class Authorizer:
    """Decides about each client; an `Authorize`. Made by `authorizer`.

    A token that can be checked with keys at hand is answered at once: no await on that road. The rest (a key set to
    fetch, an application to ask) is answered later.

    Attributes:
        mode: `open`, `jwt` or `webhook`.
    """

    def __init__(
        self,
        auth: AuthSettings,
        mode: Mode,
        keys: list[Key],
        host: str,
        wall: Clock,
        monotonic: Clock,
    ) -> None:
        self.mode = mode
        self._auth, self._host, self._wall, self._monotonic = auth, host, wall, monotonic
        self._local = KeyRing(keys)
        self._terms = to_terms(auth)
        self._client: httpx.AsyncClient | None = None
        self._published: PublishedKeys | None = None
        self._webhook: Webhook | None = None

    async def __aenter__(self) -> Self:
        auth = self._auth
        if self.mode == "open" and not is_loopback(self._host):
            log.warning("no access control", consequence="whoever reaches this server may read and write every room")
        secret = read_secret(auth.webhook_secret, auth.webhook_secret_file)
        if self.mode == "webhook" and auth.webhook_url is not None and secret is not None:
            self._client = open_client(auth.webhook_concurrency)
            self._webhook = Webhook(
                auth.webhook_url,
                secret.encode(),
                self._client,
                timeout=auth.webhook_timeout_seconds,
                cache_seconds=auth.webhook_cache_seconds,
                concurrency=auth.webhook_concurrency,
                failures=auth.webhook_failures,
                pause_seconds=auth.webhook_pause_seconds,
                wall=self._wall,
                monotonic=self._monotonic,
            )
        if self.mode == "jwt" and auth.jwks_url is not None:
            self._client = open_client(1)
            self._published = PublishedKeys(
                auth.jwks_url,
                self._client,
                algorithm=auth.jwt_algorithm,
                timeout=auth.jwks_timeout_seconds,
                fresh_seconds=auth.jwks_fresh_seconds,
                retry_seconds=auth.jwks_retry_seconds,
                monotonic=self._monotonic,
            )
            self._published.now(None)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._published is not None:
            await self._published.aclose()
        if self._client is not None:
            await self._client.aclose()

    def __call__(self, knock: Knock) -> Grant | Awaitable[Grant]:
        """Decide about one client; what is raised is in the words of `Authorize`."""
        if self.mode == "open":
            return everyone(knock)
        if self.mode == "webhook":
            return self._asked(knock)
        if not knock.token:
            raise Unauthorized(tokens.MISSING)
        return self._of_token(knock.token, knock.room)

    def everywhere(self, token: str) -> Grant | Awaitable[Grant]:
        """What a token allows in every room there is and may ever be: what concerns the whole server needs that.

        A signed token is asked for its patterns. The application behind a webhook, or one that decides by itself, can
        only be asked about a room by its name; what it says of one proves nothing of the others, so it is not asked.

        Raises:
            Forbidden: Some room is left out, or nobody can say that none is.
            Unauthorized, Unavailable: As when somebody knocks.
        """
        if self.mode != "jwt":
            raise Forbidden(NOT_BY_NAME)
        return self._of_token(token, None)

    def _of_token(self, token: str, room: str | None) -> Grant | Awaitable[Grant]:
        if self._published is None:
            return self._judge(room, token, self._local)
        return self._with_published(room, token, self._published)

    def find_token(
        self,
        query: bytes,
        headers: Sequence[tuple[bytes, bytes]],
        subprotocols: Sequence[str] = (),
        *,
        allowed: Callable[[str], bool],
    ) -> Shown:
        """Where a request shows its token, as `where.find_token` tells, with the cookie that the settings name."""
        return find_token(query, headers, subprotocols, cookie=self._auth.cookie, allowed=allowed)

    def _judge(self, room: str | None, token: str, ring: KeyRing) -> Grant:
        return self._allow(room, tokens.verify(token, ring))

    def _allow(self, room: str | None, claims: Mapping[str, object]) -> Grant:
        return tokens.to_grant(claims, room, self._terms, self._wall())

    def _with_published(self, room: str | None, token: str, published: PublishedKeys) -> Grant | Awaitable[Grant]:
        if len(self._local):
            try:
                claims = tokens.verify(token, self._local)
            except Unauthorized:
                pass  # then one of the others may have signed it
            else:
                return self._allow(room, claims)
        kid = tokens.key_name(token)
        ring = published.now(kid)
        return self._fetched(room, token, kid, published) if ring is None else self._judge(room, token, ring)

    async def _fetched(self, room: str | None, token: str, kid: str | None, published: PublishedKeys) -> Grant:
        return self._judge(room, token, await published.fetched(kid))

    async def _asked(self, knock: Knock) -> Grant:
        if self._webhook is None:
            raise RuntimeError("enter the authorizer first: async with")
        return await self._webhook.grant(knock)


def _mode(auth: AuthSettings, host: str) -> Mode:
    keys = [
        f"COLLAB_AUTH__{name.upper()}"
        for name in ("jwt_secret", "jwt_secret_file", "jwt_public_key_file", "jwks_url")
        if getattr(auth, name) is not None
    ]
    mode = auth.mode or ("jwt" if keys else "webhook" if auth.webhook_url else "open")
    if mode == "jwt" and not keys:
        raise SettingsError(
            "COLLAB_AUTH__MODE is jwt, but there is no key to check tokens with: set COLLAB_AUTH__JWT_SECRET, "
            "COLLAB_AUTH__JWT_PUBLIC_KEY_FILE or COLLAB_AUTH__JWKS_URL"
        )
    if mode == "webhook" and not auth.webhook_url:
        raise SettingsError("COLLAB_AUTH__MODE is webhook, but there is nobody to ask: set COLLAB_AUTH__WEBHOOK_URL")
    if mode == "open" and (keys or auth.webhook_url):
        used = keys[0] if keys else "COLLAB_AUTH__WEBHOOK_URL"
        raise SettingsError(
            f"COLLAB_AUTH__MODE is open, but {used} is set and would mean nothing: set the mode to "
            f"{'jwt' if keys else 'webhook'}, or unset the other"
        )
    if keys and auth.webhook_url and auth.mode is None:
        raise SettingsError(
            f"{keys[0]} and COLLAB_AUTH__WEBHOOK_URL are both set: say with COLLAB_AUTH__MODE which one decides"
        )
    if mode == "open" and auth.mode is None and not is_loopback(host):
        raise SettingsError(
            f"whoever reaches {host} could read and write every room: set COLLAB_AUTH__JWT_SECRET (or another key, or "
            "COLLAB_AUTH__WEBHOOK_URL), or say COLLAB_AUTH__MODE=open if that is what you want"
        )
    return mode


def long_enough(name: str, secret: str) -> None:
    """Raise `SettingsError` when the secret that the setting `name` holds could be found by trying."""
    size = len(secret.encode())
    if size < SECRET_BYTES:
        raise SettingsError(
            f"{name} has {size} bytes, and a short one can be found by trying: give it at least {SECRET_BYTES}, for "
            "example from `openssl rand -base64 48`"
        )
