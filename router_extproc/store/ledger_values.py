"""What the ledger is told and what it tells: rows, what they add to counters, and how far the access log is settled."""

from __future__ import annotations

from typing import Literal

import msgspec

from router_extproc.account import Purpose
from router_extproc.store.counters import Release, Total

COLUMNS_OF_TEXT = (
    "request",
    "purpose",
    "tenant",
    "team",
    "user",
    "key",
    "session",
    "route",
    "model",
    "provider",
    "deployment",
    "cause",
    "usage_source",
)
UsageSource = Literal["provider", "events", "estimate", "price", "none"]


class LedgerRow(msgspec.Struct, frozen=True, kw_only=True):
    """One call to a provider and what it cost, in micro-dollars; unique by ``request``, ``attempt`` and ``purpose``.

    ``at`` is when it was made, in epoch seconds. ``usage_source`` says who counted the tokens: the provider, we by the events
    of its stream, the estimate, or nobody; ``price``: it is paid by the piece. ``cached_tokens`` are among ``prompt_tokens``.
    """

    request: str
    attempt: int
    purpose: Purpose = "answer"
    at: float
    tenant: str = ""
    team: str = ""
    user: str = ""
    key: str = ""
    session: str = ""
    tags: dict[str, str] = {}
    route: str = ""
    model: str = ""
    provider: str = ""
    deployment: str = ""
    status: int = 0
    cause: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    usage_source: UsageSource = "none"
    cost_micro_usd: int = 0


class Charge(msgspec.Struct, frozen=True):
    """What a call adds to a counter, in its unit, in the part of the window that begins at ``bucket``."""

    counter: str
    bucket: int
    amount: int
    expires_at: int


class Settlement(msgspec.Struct, frozen=True):
    """One row with what it adds to counters; nothing is added again for a row that is there already."""

    row: LedgerRow
    charges: tuple[Charge, ...] = ()


class Position(msgspec.Struct, frozen=True):
    """How far the access log is settled: everything before byte ``offset`` of the file that its reader knows by ``file``."""

    file: int
    offset: int


class Recorded(msgspec.Struct, frozen=True):
    """``fresh`` says for each settlement whether it was new; ``totals`` are those that changed, as they are now."""

    fresh: tuple[bool, ...]
    totals: tuple[Total, ...]


class Pending(msgspec.Struct, frozen=True):
    """What another store was not told yet; a counter's totals and releases always come together."""

    totals: tuple[Total, ...] = ()
    releases: tuple[Release, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.totals or self.releases)


class Spent(msgspec.Struct, frozen=True):
    """A sum over ledger rows; ``labels`` are the values of what was asked for, in that order."""

    labels: tuple[str, ...]
    calls: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    cost_micro_usd: int
