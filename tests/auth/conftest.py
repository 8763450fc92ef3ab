"""Keys, tokens as a forger may write them, and a real HTTP server that answers as it is told."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import Algorithm, ECAlgorithm, OKPAlgorithm, RSAAlgorithm, get_default_algorithms

NOW = 1_760_000_000.0
SECRET = "a secret of this test, long enough for each algorithm that there is"


class Clock:
    """Both clocks of a test: seconds that pass when the test says so."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def sign(claims: Any, key: Any, algorithm: str, **header: Any) -> str:
    """A token, signed by what PyJWT has, with any header: `alg` in it may say something else."""
    head = {"typ": "JWT", "alg": algorithm} | header
    signed = f"{b64(json.dumps(head).encode())}.{b64(json.dumps(claims).encode())}"
    implementation: Algorithm = get_default_algorithms()[algorithm]
    prepared = key if algorithm == "none" else implementation.prepare_key(key)
    return f"{signed}.{b64(implementation.sign(signed.encode(), prepared))}"


@dataclass
class Pair:
    """A private key and the forms its public half comes in."""

    private: Any

    @property
    def pem(self) -> bytes:
        return self.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def jwk(self, **more: Any) -> dict[str, Any]:
        public = self.private.public_key()
        if isinstance(public, rsa.RSAPublicKey):
            made = RSAAlgorithm.to_jwk(public, as_dict=True)
        elif isinstance(public, ec.EllipticCurvePublicKey):
            made = ECAlgorithm.to_jwk(public, as_dict=True)
        else:
            made = OKPAlgorithm.to_jwk(public, as_dict=True)
        made.pop("key_ops", None)
        return made | more


@pytest.fixture(scope="session")
def pairs() -> dict[str, Pair]:
    return key_pairs()


def key_pairs() -> dict[str, Pair]:
    """A key pair for each family."""
    return {
        "RSA": Pair(rsa.generate_private_key(public_exponent=65537, key_size=2048)),
        "ES256": Pair(ec.generate_private_key(ec.SECP256R1())),
        "ES384": Pair(ec.generate_private_key(ec.SECP384R1())),
        "ES512": Pair(ec.generate_private_key(ec.SECP521R1())),
        "EdDSA": Pair(ed25519.Ed25519PrivateKey.generate()),
    }


Answer = tuple[int, bytes]


@dataclass
class Endpoint:
    """An HTTP server on a free port.

    Attributes:
        answer: What it says; may wait. Bytes go out as they are, so an answer can be as wrong as one likes.
        asked: Headers and body of every request.
        open: How many are being answered right now, and the most there ever were.
    """

    answer: Callable[[dict[str, str], bytes], Awaitable[bytes]]
    url: str = ""
    asked: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    open: int = 0
    most: int = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
            headers = {"": head[0]} | {k.lower(): v for k, _, v in (line.partition(": ") for line in head[1:] if line)}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            self.asked.append((headers, body))
            self.open += 1
            self.most = max(self.most, self.open)
            writer.write(await self.answer(headers, body))
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open -= 1
            writer.close()


def http(status: int, body: Any = b"", **headers: str) -> bytes:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} X\r\ncontent-length: {len(raw)}\r\nconnection: close\r\n{lines}\r\n".encode() + raw


@asynccontextmanager
async def served(answer: Callable[[dict[str, str], bytes], Awaitable[bytes]]) -> AsyncIterator[Endpoint]:
    """An endpoint while it is served."""
    endpoint = Endpoint(answer)
    server = await asyncio.start_server(endpoint, "127.0.0.1", 0)
    endpoint.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/there"
    try:
        yield endpoint
    finally:
        server.close()
