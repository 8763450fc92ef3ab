"""What becomes a key, with which algorithm, and what does not."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from collab.auth.keys import KeyRing, check_algorithm, from_jwks, from_pem, from_secret
from collab.errors import SettingsError

from .conftest import SECRET, Pair


def test_secrets(pairs):
    assert from_secret("s" * 32).algorithm == "HS256"
    assert from_secret(SECRET.encode(), "HS512").algorithm == "HS512"
    assert from_secret(SECRET, "RS256").algorithm == "HS256"
    assert SECRET not in repr(from_secret(SECRET))
    with pytest.raises(SettingsError, match="openssl rand") as caught:
        from_secret("s" * 31)
    assert "sss" not in str(caught.value)
    with pytest.raises(SettingsError, match="at least 64"):
        from_secret("s" * 63, "HS512")
    with pytest.raises(SettingsError, match="PUBLIC_KEY_FILE"):
        from_secret(pairs["RSA"].pem)


def test_pem(pairs):
    several = b"# ours\n" + b"".join(pair.pem for pair in pairs.values())
    assert [key.algorithm for key in from_pem(several)] == ["RS256", "ES256", "ES384", "ES512", "EdDSA"]
    assert [key.algorithm for key in from_pem(several, "PS384")] == ["PS384", "ES256", "ES384", "ES512", "EdDSA"]


def test_pem_refused(pairs):
    private = pairs["RSA"].private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    small = Pair(rsa.generate_private_key(public_exponent=65537, key_size=1024))
    other = Pair(ec.generate_private_key(ec.SECP256K1()))
    for text, said in (
        (private, "private key"),
        (b"", "holds none"),
        (small.pem, "1024 bits"),
        (other.pem, "P-256"),
        (pairs["RSA"].pem[:60] + b"AAAA" + pairs["RSA"].pem[64:], "cannot be used"),
    ):
        with pytest.raises(SettingsError, match=said):
            from_pem(text)


def test_jwks(pairs):
    listed = [
        pairs["RSA"].jwk(kid="a"),
        pairs["RSA"].jwk(kid="b", alg="PS512", use="sig"),
        pairs["ES384"].jwk(kid="c", alg="ES384", key_ops=["verify"]),
        pairs["EdDSA"].jwk(),
    ]
    keys = from_jwks({"keys": listed})
    assert [(key.kid, key.algorithm) for key in keys] == [
        ("a", "RS256"),
        ("b", "PS512"),
        ("c", "ES384"),
        ("", "EdDSA"),
    ]
    assert from_jwks({"keys": listed}, "RS384")[0].algorithm == "RS384"


def test_jwks_leaves_what_is_not_for_us(pairs):
    rsa_ = pairs["RSA"]
    unfit = [
        {"kty": "oct", "k": "c2VjcmV0" * 6, "alg": "HS256", "kid": "a"},
        rsa_.jwk(alg="HS256"),
        rsa_.jwk(alg="none"),
        rsa_.jwk(alg="RSA-OAEP"),
        rsa_.jwk(alg="ES256"),
        rsa_.jwk(alg=7),
        rsa_.jwk(use="enc"),
        rsa_.jwk(key_ops=["encrypt"]),
        rsa_.jwk(key_ops=7),
        rsa_.jwk(d="AQAB"),
        rsa_.jwk(kid=7),
        rsa_.jwk(n="!"),
        rsa_.jwk(kty=["RSA"]),
        pairs["ES256"].jwk(crv="secp256k1"),
        pairs["ES256"].jwk(alg="ES384"),
        {"kty": "RSA"},
        "key",
    ]
    for entry in unfit:
        with pytest.raises(ValueError, match="none of its keys"):
            from_jwks({"keys": [entry]})
    assert len(from_jwks({"keys": [*unfit, rsa_.jwk()]})) == 1


@pytest.mark.parametrize("document", [None, [], {}, {"keys": {}}, {"keys": []}, {"keys": [{}] * 101}])
def test_no_key_set(document):
    with pytest.raises(ValueError, match="key"):
        from_jwks(document)


def test_ring(pairs):
    named = from_jwks({"keys": [pairs["RSA"].jwk(kid="a"), pairs["RSA"].jwk(kid="b")]})
    ring = KeyRing(named)
    assert [key.kid for key in ring.fitting("RS256", "a")] == ["a"]
    assert [key.kid for key in ring.fitting("RS256", None)] == ["a", "b"]
    assert ring.fitting("RS512", "a") == ring.fitting("RS256", "c") == []
    assert ring.knows("a") and ring.knows(None) and not ring.knows("c")
    assert KeyRing([from_secret(SECRET)]).knows("anything")
    assert not KeyRing().knows(None)


def test_an_algorithm_that_no_key_has():
    check_algorithm([], "RS256")
    check_algorithm([from_secret(SECRET)], None)
    with pytest.raises(SettingsError, match="RS256, but the keys are for HS256"):
        check_algorithm([from_secret(SECRET)], "RS256")
