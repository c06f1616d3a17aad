"""Who asks: what a key, a token or a mesh identity proved about a caller, and what that caller may do.

Rules of this file
- Values only. How an identity is proved is the business of ``extproc`` and Envoy; what follows from it that of ``limits``.
- Nothing here is a secret: a key is named by its id.
"""

from __future__ import annotations

import msgspec

INTERACTIVE, BATCH = "interactive", "batch"
PRIORITIES = (INTERACTIVE, BATCH)


class Permissions(msgspec.Struct, frozen=True):
    """What a caller may use; None allows everything. Names that end in ``*`` match by prefix.

    ``tiers`` are tier labels. A request of more than ``max_context_tokens`` is refused; an answer is cut to
    ``max_output_tokens``.
    """

    routes: tuple[str, ...] | None = None
    models: tuple[str, ...] | None = None
    tiers: tuple[str, ...] | None = None
    regions: tuple[str, ...] | None = None
    max_context_tokens: int | None = None
    max_output_tokens: int | None = None


EVERYTHING = Permissions()


class Caller(msgspec.Struct, frozen=True):
    """One caller as proved; an empty ``tenant`` means that nobody was asked to prove anything.

    ``key`` is the id of a virtual key, empty where another proof was given. ``tier`` is the customer's class of service
    (``premium``), not a model's tier. ``features`` are flags that are on. ``tags`` are further labels by name.
    """

    tenant: str = ""
    team: str = ""
    user: str = ""
    key: str = ""
    tier: str = ""
    features: tuple[str, ...] = ()
    tags: dict[str, str] = {}
    priority: str = INTERACTIVE
    permissions: Permissions = EVERYTHING


NOBODY = Caller()
