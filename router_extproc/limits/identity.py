"""Who calls, from what was proved: a shown key, the claims of a verified token, the name in a verified certificate.

Rules of this file
- A shown key is compared in constant time and appears in no error. Unknown, wrong, expired and revoked keys are told apart
  by nobody outside: one message for all.
- A tenant that the configuration does not describe is a tenant without special permissions: keys may be made for new ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from router_extproc.caller import Caller
from router_extproc.errors import AuthenticationError
from router_extproc.registry.spending import Jwt, KeyGrant, Mesh, Tenant

KEY_PREFIX = "sk-router-"


def bearer_of(headers: Mapping[str, str]) -> str | None:
    """The key that a client shows: ``authorization: Bearer``, ``api-key`` or ``x-api-key``, in this order; None without one."""
    raise NotImplementedError


def key_id(shown: str) -> str | None:
    """The id in a shown key, ``sk-router-ID.SECRET``; None when it has another form."""
    raise NotImplementedError


def digest_of(shown: str, salt: bytes) -> str:
    """What is kept of a key: ``sha256:SALT_HEX:HEX(SHA256(salt + key))``. Salts are random, sixteen bytes or more."""
    raise NotImplementedError


def is_digest_of(digest: str, shown: str) -> bool:
    """Whether the digest is that of the shown key, compared in constant time; a malformed digest is nobody's."""
    raise NotImplementedError


def proves(grant: KeyGrant, shown: str, now: float) -> bool:
    """Whether the shown key stands for the grant at ``now`` (epoch seconds): a digest that still holds, not expired or revoked."""
    raise NotImplementedError


def caller_of_key(shown: str | None, grant: KeyGrant | None, tenants: Mapping[str, Tenant], now: float) -> Caller:
    """The caller that a shown key proves. ``grant`` is what is known for its id, None when nothing is.

    Raises:
        AuthenticationError: no key, or one that is unknown, wrong, expired or revoked.
    """
    raise NotImplementedError


def caller_of_claims(claims: Mapping[str, Any], jwt: Jwt, tenants: Mapping[str, Tenant]) -> Caller:
    """The caller that a verified token's claims name.

    Raises:
        AuthenticationError: the token names no tenant.
    """
    raise NotImplementedError


def caller_of_peer(peer: str, mesh: Mesh, tenants: Mapping[str, Tenant]) -> Caller:
    """The caller that a verified certificate names; ``peer`` is its URI name, ``spiffe://…``.

    Raises:
        AuthenticationError: no tenant belongs to the name.
    """
    raise NotImplementedError


def believed(caller: Caller, headers: Mapping[str, str], tenants: Mapping[str, Tenant]) -> Caller:
    """The caller with what the client's own headers claim, for a listener that is marked trusted, and for no other.

    ``x-router-tenant``, ``x-router-team``, ``x-router-user``; ``x-router-tags`` holds ``name=value`` pairs parted by commas.
    """
    raise NotImplementedError
