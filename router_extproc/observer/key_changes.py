"""Virtual keys as they are made, rotated and revoked. Pure: randomness and time come in as arguments.

Rules of this file
- The text of a key exists here for a moment, and goes to whoever asked for it; what is kept is a salted digest.
- A key is described in the words of ``keys`` in router.yaml, and read by the same schema.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec.structs import replace
from pydantic import ValidationError

from router_extproc.config.messages import describe
from router_extproc.config.source import Path, Source, dotted
from router_extproc.config.tenants import Key
from router_extproc.config.values import is_duration, read_duration
from router_extproc.errors import BadRequestError
from router_extproc.limits.identity import KEY_PREFIX, digest_of
from router_extproc.registry.compile_spending import compile_key
from router_extproc.registry.snapshot import Registry
from router_extproc.registry.spending import KeyGrant
from router_extproc.request import BY_PATH

# Of a secret 32 bytes: nobody guesses it, so no slow hash is needed. An id of 16 letters and digits is 80 bits.
ID_BYTES, SECRET_BYTES, SALT_BYTES = 10, 32, 16
_MILLISECONDS = 1_000
# What an instance decides by itself, and no caller of the admin API.
_NOT_TO_BE_WRITTEN = ("digest", "digests", "revoked")


class Randomness(msgspec.Struct, frozen=True):
    """The random bytes of one key: ``id`` is what it will be called by."""

    id: bytes
    secret: bytes
    salt: bytes

    @property
    def key_id(self) -> str:
        """16 lower-case letters and digits."""
        return base64.b32encode(self.id).decode().lower()

    def shown(self, key_id: str) -> str:
        """The key as its owner is to show it."""
        return f"{KEY_PREFIX}{key_id}.{base64.urlsafe_b64encode(self.secret).decode().rstrip('=')}"

    def digest(self, key_id: str) -> str:
        """What is kept of it."""
        return digest_of(self.shown(key_id), self.salt)


def new_key(written: Mapping[str, Any], randomness: Randomness, now: float) -> KeyGrant:
    """The grant that is described as in router.yaml; ``expires`` may also be a duration from ``now`` (epoch seconds) on.

    Raises:
        BadRequestError: the description is wrong; the message says where.
    """
    for name in _NOT_TO_BE_WRITTEN:
        if name in written:
            raise BadRequestError(f"{name}: unknown key")
    for name in ("tenant", "team", "user"):
        if KEY_PREFIX in str(written.get(name)):
            raise BadRequestError(f"{name}: this is a key; labels end in logs, so take it out of use")
    key_id = randomness.key_id
    described = {**written, "digest": randomness.digest(key_id)}
    if isinstance(expires := written.get("expires"), str | int | float):
        described["expires"] = moment_of(expires, now, "expires")
    try:
        key = Key.model_validate(described)
    except ValidationError as error:
        raise BadRequestError(problems_of(error, ("keys", key_id))) from None
    grant = compile_key(key_id, key)
    if grant.expires_at is not None and grant.expires_at <= now:
        raise BadRequestError("expires: that is over already")
    return grant


def rotated(grant: KeyGrant, randomness: Randomness, now: float, overlap_ms: int) -> KeyGrant:
    """The grant with another secret; what was accepted before is so for ``overlap_ms`` more, and never longer than before."""
    ends = now + overlap_ms / _MILLISECONDS
    kept = tuple((digest, ends if end is None else min(end, ends)) for digest, end in grant.digests if end is None or end > now)
    before = kept if overlap_ms else ()
    return replace(grant, digests=(*before, (randomness.digest(grant.id), None)))


def revoked(grant: KeyGrant, now: float) -> KeyGrant:
    """The grant without effect from ``now`` on; one that was revoked before stays so since then."""
    since = now if grant.revoked_at is None else min(now, grant.revoked_at)
    return replace(grant, revoked_at=since)


def state_of(grant: KeyGrant, now: float) -> str:
    """``active``, ``expired`` or ``revoked``."""
    if grant.revoked_at is not None and grant.revoked_at <= now:
        return "revoked"
    return "expired" if grant.expires_at is not None and grant.expires_at <= now else "active"


def unknown_names(grant: KeyGrant, registry: Registry) -> list[str]:
    """What the key would be allowed that does not exist, in words; names that end in ``*`` may match what is to come."""
    permissions = grant.permissions
    models = set(registry.models)
    regions = {deployment.region for deployment in registry.deployments() if deployment.region is not None}
    asked = (
        ("model", permissions.models, models),
        ("route", permissions.routes, models.union(registry.routes, registry.aliases, (BY_PATH,))),
        ("region", permissions.regions, regions),
    )
    wildcards = tuple(name[:-1] for name in models if name.endswith("*"))
    return [
        f"permissions.{what}s: there is no {what} {name}"
        for what, names, known in asked
        for name in names or ()
        if name not in known and not name.endswith("*") and not (what != "region" and name.startswith(wildcards))
    ]


def moment_of(written: str | float, now: float, name: str) -> str | float:
    """A duration (``30d``) as the moment so long after ``now``; anything else as it is, to be judged by the schema.

    Raises:
        BadRequestError: a duration of ``name`` is too short or too long.
    """
    if isinstance(written, str) and (not written[:1].isdigit() or not written[-1:].isalpha() or ":" in written):
        return written
    try:
        milliseconds = read_duration(written)
    except ValueError as problem:
        if is_duration(str(written)):
            raise BadRequestError(f"{name}: {problem} (write something between 1ms and ten years)") from None
        return written
    return datetime.fromtimestamp(now + float(str(milliseconds)) / _MILLISECONDS, UTC).isoformat()


def problems_of(error: ValidationError, home: Path) -> str:
    """What is wrong, each with its place, as it is told of router.yaml. ``home`` is where such a thing stands there."""
    found = []
    for one in error.errors(include_url=False):
        problem = describe({**one, "loc": (*home, *one["loc"])}, Source(""))
        place = problem.key.removeprefix(dotted(home)).removeprefix(".")
        found.append(f"{place + ': ' if place else ''}{problem.message}{f' ({problem.fix})' if problem.fix else ''}")
    return "; ".join(found)
