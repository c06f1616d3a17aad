"""What is stored of identities: keys, raises, and who changed them."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from router_extproc.registry.spending import KeyGrant, Raise


class AuditEntry(msgspec.Struct, frozen=True):
    """Who changed what: ``actor`` did ``action`` (``key.create``) to ``subject`` at ``at`` (epoch seconds)."""

    id: str
    at: float
    actor: str
    action: str
    subject: str
    detail: dict[str, str] = {}


class StoredRaise(msgspec.Struct, frozen=True):
    """A raise of the budget named ``budget``; ``id`` tells it from others."""

    id: str
    budget: str
    granted: Raise


KeyChange = Callable[[KeyGrant | None], tuple[KeyGrant, AuditEntry | None]]
"""What becomes of a key, from what it is at that moment (None: there is none); without an entry nothing is changed.

It is asked again where another change came first, and may raise: then nothing is changed either.
"""


class Changes(msgspec.Struct, frozen=True):
    """Keys as they are now, raises and audit entries; ``sequence`` is how far whoever made them has come."""

    keys: tuple[KeyGrant, ...] = ()
    raises: tuple[StoredRaise, ...] = ()
    audit: tuple[AuditEntry, ...] = ()
    sequence: int = 0
