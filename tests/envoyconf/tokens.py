"""Tokens and the keys of their issuer, made for a test."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

ISSUER = "https://issuer.example"
AUDIENCE = "router"


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


class Issuer:
    """Signs tokens with a key of its own."""

    def __init__(self, key_id: str = "first") -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._key_id = key_id

    @property
    def keys(self) -> str:
        """Its public key as a JSON Web Key Set."""
        numbers = self._key.public_key().public_numbers()
        modulus, exponent = (_encoded(value.to_bytes((value.bit_length() + 7) // 8)) for value in (numbers.n, numbers.e))
        return json.dumps(
            {"keys": [{"kty": "RSA", "alg": "RS256", "use": "sig", "kid": self._key_id, "n": modulus, "e": exponent}]}
        )

    def token(self, **claims: Any) -> str:
        """A token that holds for a minute, unless the claims say otherwise; it lacks those that are None."""
        written = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "exp": int(time.time()) + 60, **claims}
        content = {name: value for name, value in written.items() if value is not None}
        head = {"alg": "RS256", "kid": self._key_id, "typ": "JWT"}
        signed = ".".join(_encoded(json.dumps(part).encode()) for part in (head, content))
        return f"{signed}.{_encoded(self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def signed_with_the_public_key(issuer: Issuer, **claims: Any) -> str:
    """A token that takes the issuer's public key, which everybody knows, for a secret that it shares."""
    content = {"iss": ISSUER, "aud": AUDIENCE, "exp": int(time.time()) + 60, **claims}
    key = json.loads(issuer.keys)["keys"][0]
    signed = ".".join(_encoded(json.dumps(part).encode()) for part in ({"alg": "HS256", "kid": key["kid"]}, content))
    secret = base64.urlsafe_b64decode(key["n"] + "==")
    return f"{signed}.{_encoded(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"


def unsigned_token(**claims: Any) -> str:
    """A token that says it needs no signature."""
    content = {"iss": ISSUER, "aud": AUDIENCE, "exp": int(time.time()) + 60, **claims}
    return ".".join(_encoded(json.dumps(part).encode()) for part in ({"alg": "none", "typ": "JWT"}, content)) + "."


def payload(header: str) -> dict[str, Any]:
    """What stands in the header by which Envoy passes a verified token's payload on."""
    content: dict[str, Any] = json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))
    return content
