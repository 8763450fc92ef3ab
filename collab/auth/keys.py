"""Keys that tokens are checked with. Each has one algorithm, fixed here; a token's header never chooses it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt import PyJWTError
from jwt.algorithms import Algorithm, ECAlgorithm, OKPAlgorithm, RSAAlgorithm, get_default_algorithms

from ..errors import SettingsError

SECRET_BYTES = 32
"""Shortest secret: a key has at least as many bytes as its algorithm yields (RFC 7518, 3.2)."""
RSA_BITS = 2048
KEYS = 100
"""Most keys of one set; more is not a key set that somebody meant."""

HMAC = {"HS256": SECRET_BYTES, "HS384": 48, "HS512": 64}
"""The algorithms of shared secrets, with the bytes that a secret needs for each."""
RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
ALGORITHMS = (*HMAC, *RSA, *CURVES.values(), "EdDSA")

_algorithms = {name: algorithm for name, algorithm in get_default_algorithms().items() if name in ALGORITHMS}


@dataclass(frozen=True, slots=True)
class Key:
    """One key with its one algorithm.

    Attributes:
        algorithm: The only value of `alg` that it is used for.
        material: What the algorithm takes; not in the repr.
        kid: Its name in a key set; None for a key from a setting, which is tried for every token of its algorithm.
    """

    algorithm: str
    material: Any = field(repr=False)
    kid: str | None = None

    def verify(self, signed: bytes, signature: bytes) -> bool:
        """Whether the signature is this key's."""
        return self.implementation.verify(signed, self.material, signature)

    @property
    def implementation(self) -> Algorithm:
        return _algorithms[self.algorithm]


class KeyRing:
    """Keys by name and algorithm."""

    def __init__(self, keys: Iterable[Key] = ()) -> None:
        self.keys = tuple(keys)
        self._names = {key.kid for key in self.keys}
        self._anonymous = None in self._names

    def __len__(self) -> int:
        return len(self.keys)

    def knows(self, kid: str | None) -> bool:
        """Whether there can be a key for a token that names `kid`, or names none."""
        return kid in self._names or self._anonymous or (kid is None and bool(self.keys))

    def fitting(self, algorithm: str, kid: str | None) -> list[Key]:
        """The keys that a token may have been signed with. `kid` is compared, never looked up anywhere else."""
        return [
            key
            for key in self.keys
            if key.algorithm == algorithm and (key.kid is None or kid is None or key.kid == kid)
        ]


def from_secret(secret: str | bytes, algorithm: str | None = None) -> Key:
    """A shared secret, for HS256 unless told otherwise.

    Raises:
        SettingsError: It is too short, or it is a public key, which everybody may have.
    """
    raw = secret.encode() if isinstance(secret, str) else secret
    name = algorithm if algorithm in HMAC else "HS256"
    if len(raw) < HMAC[name]:
        raise SettingsError(
            f"the secret for tokens has {len(raw)} bytes, and a short one can be found by trying: give "
            f"COLLAB_AUTH__JWT_SECRET at least {HMAC[name]} for {name}, for example from `openssl rand -base64 48`"
        )
    try:
        return Key(name, _algorithms[name].prepare_key(raw))
    except PyJWTError:
        raise SettingsError(
            "the secret for tokens is a public key, so everybody could sign with it: put it into a file and name that "
            "with COLLAB_AUTH__JWT_PUBLIC_KEY_FILE"
        ) from None


def from_pem(text: bytes, algorithm: str | None = None) -> list[Key]:
    """Every public key of a PEM file; RSA keys are for RS256 unless told otherwise, the others have no choice.

    Raises:
        SettingsError: There is none, or one cannot be used.
    """
    if b"PRIVATE KEY-----" in text:
        raise SettingsError(
            "the file of public keys holds a private key, which only the signer should have: make its public key with "
            "`openssl pkey -in FILE -pubout`"
        )
    blocks = re.findall(rb"-----BEGIN (?:RSA )?PUBLIC KEY-----.+?-----END (?:RSA )?PUBLIC KEY-----", text, re.DOTALL)
    if not blocks:
        raise SettingsError("the file of public keys holds none: it should have PEM blocks `BEGIN PUBLIC KEY`")
    try:
        return [_from_public(load_pem_public_key(block), algorithm, None) for block in blocks[:KEYS]]
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SettingsError(f"a key of the file of public keys cannot be used ({error}): replace it") from None


def from_jwks(document: object, algorithm: str | None = None) -> list[Key]:
    """The usable keys of a JWK set (RFC 7517). Those for other purposes, of unknown types, or secret (`oct`) are left.

    Raises:
        ValueError: It is no key set, or none of its keys can be used.
    """
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list) or len(listed) > KEYS:
        raise ValueError(f"it should be a JWK set of at most {KEYS} keys")
    keys = []
    for entry in listed:
        try:
            keys.append(_from_jwk(entry, algorithm))
        except (ValueError, TypeError, KeyError, PyJWTError, UnsupportedAlgorithm):
            continue  # a set may hold keys that are not meant for us
    if not keys:
        raise ValueError("none of its keys can check a token")
    return keys


def _from_jwk(jwk: object, algorithm: str | None) -> Key:
    if not isinstance(jwk, dict) or jwk.get("use", "sig") != "sig" or "d" in jwk:
        raise ValueError("not a public key for signatures")
    if "verify" not in jwk.get("key_ops", ["verify"]):
        raise ValueError("not a key to verify with")
    kid = jwk.get("kid")
    if kid is not None and not isinstance(kid, str):
        raise ValueError("its name is no text")
    readers: dict[object, type[Algorithm]] = {"RSA": RSAAlgorithm, "EC": ECAlgorithm, "OKP": OKPAlgorithm}
    reader = readers[jwk.get("kty")]
    named = jwk.get("alg")
    key = _from_public(reader.from_jwk(jwk), named if named is not None else algorithm, kid or "")
    if named is not None and key.algorithm != named:
        raise ValueError("its algorithm is not for its type")
    return key


def _from_public(public: object, algorithm: str | None, kid: str | None) -> Key:
    if isinstance(public, rsa.RSAPublicKey):
        if public.key_size < RSA_BITS:
            raise ValueError(f"RSA with {public.key_size} bits; at least {RSA_BITS} are needed")
        return Key(algorithm if algorithm in RSA else RSA[0], public, kid)
    if isinstance(public, ec.EllipticCurvePublicKey) and public.curve.name in CURVES:
        return Key(CURVES[public.curve.name], public, kid)
    if isinstance(public, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
        return Key("EdDSA", public, kid)
    raise ValueError("its type is not RSA, EC (P-256, P-384, P-521) or Ed25519")


def check_algorithm(keys: Sequence[Key], algorithm: str | None) -> None:
    """Raise `SettingsError` when the algorithm asked for is none that these keys can have."""
    if algorithm is not None and keys and all(key.algorithm != algorithm for key in keys):
        had = ", ".join(sorted({key.algorithm for key in keys}))
        raise SettingsError(
            f"COLLAB_AUTH__JWT_ALGORITHM is {algorithm}, but the keys are for {had}: unset it, or change the keys"
        )
