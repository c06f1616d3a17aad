"""Who calls, from what was proved: a shown key, the claims of a verified token, the name in a verified certificate.

Rules of this file
- A shown key is compared in constant time and appears in no error. Unknown, wrong, expired and revoked keys are told apart
  by nobody outside: one message for all.
- A tenant that the configuration does not describe is one without permissions of its own: keys may be made for new ones.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from router_extproc.caller import INTERACTIVE, Caller
from router_extproc.errors import AuthenticationError
from router_extproc.limits.bounded_names import bounded
from router_extproc.limits.permissions import narrower
from router_extproc.registry.spending import Jwt, KeyGrant, Mesh, Tenant

KEY_PREFIX = "sk-router-"
# Longer ones are nobody's, and not worth hashing.
_LONGEST_KEY = 512
_key = re.compile(rf"{KEY_PREFIX}([A-Za-z0-9_-]{{1,60}})\.[!-~]+", re.ASCII)
_digest = re.compile(r"sha256:((?:[0-9a-fA-F]{2})+):([0-9a-fA-F]{64})", re.ASCII)
# What tokens, certificates and trusted headers say; longer names are cut, and told apart by a hash.
_LONGEST_NAME = 256
_UNKNOWN_TENANT = Tenant()

_NO_KEY = "You did not provide an API key. Send it in the header Authorization: Bearer YOUR_KEY."
_WRONG_KEY = "Incorrect API key provided. It is unknown, or it has expired or been revoked."


def bearer_of(headers: Mapping[str, str]) -> str | None:
    """The key that a client shows: ``authorization: Bearer``, ``api-key`` or ``x-api-key``, in this order; None without one."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    candidates = (token if scheme.lower() == "bearer" else "", headers.get("api-key", ""), headers.get("x-api-key", ""))
    return next((found for one in candidates if (found := one.strip())), None)


def key_id(shown: str) -> str | None:
    """The id in a shown key, ``sk-router-ID.SECRET``; None when it has another form."""
    found = _key.fullmatch(shown) if len(shown) <= _LONGEST_KEY else None
    return None if found is None else found[1]


def digest_of(shown: str, salt: bytes) -> str:
    """What is kept of a key: ``sha256:SALT_HEX:HEX(SHA256(salt + key))``.

    Secrets of keys are 32 random bytes: there is nothing to guess, and so nothing to slow down. Salts are random too.
    """
    return f"sha256:{salt.hex()}:{hashlib.sha256(salt + shown.encode()).hexdigest()}"


def is_digest_of(digest: str, shown: str) -> bool:
    """Whether the digest is that of the shown key, compared in constant time; a malformed digest is nobody's."""
    parts = _salt_and_hash(digest)
    if parts is None:
        return False
    salt, expected = parts
    return hmac.compare_digest(hashlib.sha256(salt + shown.encode(errors="surrogateescape")).digest(), expected)


# Keys in use are shown with every request.
@functools.lru_cache(maxsize=4_096)
def _salt_and_hash(digest: str) -> tuple[bytes, bytes] | None:
    """The two parts of a digest; None where it is malformed."""
    found = _digest.fullmatch(digest)
    return None if found is None else (bytes.fromhex(found[1]), bytes.fromhex(found[2]))


def proves(grant: KeyGrant, shown: str, now: float) -> bool:
    """Whether the shown key stands for the grant at ``now`` (epoch seconds): a digest that still holds, not expired or revoked.

    What is revoked for a later moment holds until then.
    """
    if grant.expires_at is not None and now >= grant.expires_at:
        return False
    if grant.revoked_at is not None and now >= grant.revoked_at:
        return False
    return any((ends is None or now < ends) and is_digest_of(digest, shown) for digest, ends in grant.digests)


def caller_of_key(shown: str | None, grant: KeyGrant | None, tenants: Mapping[str, Tenant], now: float) -> Caller:
    """The caller that a shown key proves. ``grant`` is what is known for its id, None when nothing is.

    Raises:
        AuthenticationError: no key, or one that is unknown, wrong, expired or revoked.
    """
    if shown is None:
        raise AuthenticationError(_NO_KEY)
    if grant is None or not proves(grant, shown, now):
        raise AuthenticationError(_WRONG_KEY)
    return caller_of_grant(grant, tenants)


def caller_of_grant(grant: KeyGrant, tenants: Mapping[str, Tenant]) -> Caller:
    """The caller that a key stands for, whoever shows it."""
    tenant = tenants.get(grant.tenant, _UNKNOWN_TENANT)
    return Caller(
        tenant=grant.tenant,
        team=grant.team,
        user=grant.user,
        key=grant.id,
        tier=grant.tier or tenant.tier,
        features=tuple(dict.fromkeys((*tenant.features, *grant.features))),
        tags={**tenant.tags, **grant.tags},
        priority=grant.priority or tenant.priority,
        permissions=narrower(tenant.permissions, grant.permissions),
    )


def caller_of_claims(claims: Mapping[str, Any], jwt: Jwt, tenants: Mapping[str, Tenant]) -> Caller:
    """The caller that a verified token's claims name. Numbers count as text; anything else is no name.

    Raises:
        AuthenticationError: the token names no tenant.
    """
    tenant = _claim(claims, jwt.tenant)
    if not tenant:
        raise AuthenticationError(f"The token has no claim '{jwt.tenant}' that names a tenant.")
    tags = {name: value for name, path in jwt.tags.items() if (value := _claim(claims, path))}
    caller = caller_of_tenant(tenant, tenants)
    return replace(
        caller, user=_claim(claims, jwt.user), team=_claim(claims, jwt.team) if jwt.team else "", tags={**caller.tags, **tags}
    )


def caller_of_peer(peer: str, mesh: Mesh, tenants: Mapping[str, Tenant]) -> Caller:
    """The caller that a verified certificate names; ``peer`` is its URI name, ``spiffe://…``, of several the first known.

    Raises:
        AuthenticationError: no tenant belongs to the name.
    """
    for name in filter(None, (part.strip() for part in peer.split(","))):
        patterns = [one for one in mesh.identities if one == name or (one.endswith("*") and name.startswith(one[:-1]))]
        if patterns:
            # An exact name is longer than any of its prefixes, but for the star.
            best = name if name in patterns else max(patterns, key=len)
            return replace(caller_of_tenant(mesh.identities[best], tenants), user=_name(name))
    raise AuthenticationError("The client certificate names nobody who may call.")


def believed(caller: Caller, headers: Mapping[str, str], tenants: Mapping[str, Tenant]) -> Caller:
    """The caller with what the client's own headers claim, for a listener that is marked trusted, and for no other.

    ``x-router-tenant``, ``x-router-team``, ``x-router-user``; ``x-router-tags`` holds ``name=value`` pairs parted by commas.
    A proved tenant stays what it is.
    """
    tenant = _name(headers.get("x-router-tenant", ""))
    if tenant and not caller.tenant:
        caller = caller_of_tenant(tenant, tenants)
    tags = dict(caller.tags)
    for pair in headers.get("x-router-tags", "").split(","):
        name, is_pair, value = pair.partition("=")
        if is_pair and name.strip():
            tags[_name(name)] = _name(value)
    return replace(
        caller,
        team=_name(headers.get("x-router-team", "")) or caller.team,
        user=_name(headers.get("x-router-user", "")) or caller.user,
        tags=tags,
    )


def caller_of_tenant(name: str, tenants: Mapping[str, Tenant]) -> Caller:
    """Somebody of a tenant, of whom nothing else is known."""
    tenant = tenants.get(name, _UNKNOWN_TENANT)
    return Caller(
        tenant=name,
        tier=tenant.tier,
        features=tenant.features,
        tags=dict(tenant.tags),
        priority=tenant.priority or INTERACTIVE,
        permissions=tenant.permissions,
    )


def _claim(claims: Mapping[str, Any], path: str) -> str:
    """The claim that a path with dots leads to; a name that holds dots itself is found first."""
    found: Any = claims.get(path)
    if found is None:
        found = claims
        for step in path.split("."):
            found = found.get(step) if isinstance(found, Mapping) else None
    if isinstance(found, bool) or not isinstance(found, str | int):
        return ""
    return _name(str(found))


def _name(text: str) -> str:
    return bounded(text, _LONGEST_NAME)
