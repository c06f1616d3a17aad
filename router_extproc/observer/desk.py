"""What the admin API needs to speak of money and keys, as one value; and the words that its parts share."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from starlette.requests import Request

from router_extproc.errors import BadRequestError
from router_extproc.observer.identities import Identities
from router_extproc.observer.key_changes import ID_BYTES, SALT_BYTES, SECRET_BYTES, Randomness
from router_extproc.registry.snapshot import Registry
from router_extproc.store.alerts import AlertOutbox
from router_extproc.store.counters import CounterStore
from router_extproc.store.identities import AuditEntry

LARGEST_LIMIT = 1_000
_DEFAULT_LIMIT = 100
_LARGEST_BODY = 1 << 20


def fresh_randomness() -> Randomness:
    """Randomness of the operating system."""
    return Randomness(secrets.token_bytes(ID_BYTES), secrets.token_bytes(SECRET_BYTES), secrets.token_bytes(SALT_BYTES))


@dataclass(frozen=True)
class Desk:
    """``store`` and ``outbox`` are None while they cannot be opened; ``token`` reads ``admin.token`` where it lies."""

    identities: Identities
    registry: Callable[[], Registry]
    store: Callable[[], CounterStore | None]
    outbox: Callable[[], AlertOutbox | None]
    ledger: Path
    clock: Callable[[], float]
    token: Callable[[], str | None]
    randomness: Callable[[], Randomness] = fresh_randomness

    def entry(self, request: Request, action: str, subject: str, detail: Mapping[str, str]) -> AuditEntry:
        """The audit entry of a change that this request makes."""
        actor = request.state.actor
        return AuditEntry(secrets.token_hex(8), self.clock(), actor, action, subject, dict(detail))


async def body_of(request: Request) -> dict[str, Any]:
    """The JSON object that a change is described by; none is an empty one.

    Raises:
        BadRequestError: it is too large or no JSON object.
    """
    read = bytearray()
    async for piece in request.stream():
        read += piece
        if len(read) > _LARGEST_BODY:
            raise BadRequestError(f"the body is larger than {_LARGEST_BODY} bytes")
    try:
        return msgspec.json.decode(bytes(read) or b"{}", type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        raise BadRequestError("the body is no JSON object") from None


def limit_of(request: Request) -> int:
    """How many are asked for.

    Raises:
        BadRequestError: that is no number of ours.
    """
    return number_of(request, "limit", _DEFAULT_LIMIT, LARGEST_LIMIT) or _DEFAULT_LIMIT


def number_of(request: Request, name: str, default: int | None, most: int) -> int | None:
    """A positive whole number of the query.

    Raises:
        BadRequestError: it is something else.
    """
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(most)) and 1 <= int(text) <= most):
        raise BadRequestError(f"{name} must be a number from 1 to {most}")
    return int(text)


def show_time(epoch_seconds: float | None) -> str | None:
    """RFC 3339 in UTC; None, and what lies beyond all calendars, is null."""
    if epoch_seconds is None:
        return None
    try:
        moment = datetime.fromtimestamp(epoch_seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    text = moment.isoformat(timespec="milliseconds" if moment.microsecond else "seconds")
    return text.replace("+00:00", "Z")
