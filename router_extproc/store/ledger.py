"""The ledger: what every call cost and who pays, and the totals that budgets go by, settled in one transaction.

Rules of this file
- Rows are only ever added, and forgotten when they are old: a call is settled once, by request, attempt and purpose.
- How far the access log is settled is stored together with what was settled: nothing is lost or counted twice.
- Where counters live elsewhere, what they were not told yet is stored here too.
- One ``Ledger`` a file, used by one thread at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from router_extproc.account import Purpose
from router_extproc.store.counters import Release, Total

UsageSource = Literal["provider", "events", "estimate", "none"]


class LedgerRow(msgspec.Struct, frozen=True, kw_only=True):
    """One call to a provider and what it cost, in micro-dollars; unique by ``request``, ``attempt`` and ``purpose``.

    ``at`` is when it was made, in epoch seconds. ``usage_source`` says who counted the tokens: the provider, we by the events
    of its stream, the estimate, or nobody. ``cached_tokens`` are among ``prompt_tokens``.
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
    """How far the access log is settled: everything before byte ``offset`` of the file with this inode."""

    inode: int
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


class Ledger:
    """The writing side. ``tells``: counters live in another store, which is to be told what changes here."""

    def __init__(self, path: Path, *, tells: bool = False) -> None:
        """Opens or creates ``ledger.sqlite``; a file that is no database is put aside.

        Raises:
            StoreError: a newer version of this package wrote it.
            sqlite3.OperationalError: the directory cannot be written.
        """
        raise NotImplementedError

    @property
    def instance(self) -> str:
        """A random name that was given to this file when it was made: whose totals these are, for other stores."""
        raise NotImplementedError

    def position(self) -> Position | None:
        """How far the access log is settled; None when nothing is yet."""
        raise NotImplementedError

    def record(
        self, settlements: Sequence[Settlement], releases: Sequence[Release] = (), position: Position | None = None
    ) -> Recorded:
        """Adds rows and charges, gives back what was set aside, and moves the position (None: it stays), all or nothing.

        Raises:
            StoreUnavailableError: nothing of it was done; the same call may be made again.
        """
        raise NotImplementedError

    def pending(self, limit: int = 500) -> Pending:
        """What is to be told to the other store, of at most ``limit`` counters.

        Raises:
            StoreUnavailableError: it cannot be read now.
        """
        raise NotImplementedError

    def told(self, pending: Pending) -> None:
        """The other store took it over; what has changed since stays pending.

        Raises:
            StoreUnavailableError: it stays pending; telling it again does no harm.
        """
        raise NotImplementedError

    def tell_again(self, now: float) -> int:
        """Makes every total whose window part is still of interest pending: the other store was emptied. Returns how many.

        Raises:
            StoreUnavailableError: nothing was done.
        """
        raise NotImplementedError

    def forget(self, before: float, now: float) -> int:
        """Deletes rows made before ``before`` and what expired, some thousands at most; returns how many rows of all kinds.

        Raises:
            StoreUnavailableError: nothing was deleted.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Ends the connection."""
        raise NotImplementedError


class Spent(msgspec.Struct, frozen=True):
    """A sum over ledger rows; ``labels`` are the values of what was asked for, in that order."""

    labels: tuple[str, ...]
    calls: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    cost_micro_usd: int


def spent(
    path: Path,
    per: Sequence[str] = (),
    *,
    since: float = 0.0,
    until: float | None = None,
    match: Sequence[tuple[str, str]] = (),
    limit: int = 1_000,
) -> list[Spent]:
    """Sums by the labels ``per`` over rows that match all (label, value) pairs, dearest first; no file: nothing.

    Labels are columns of ``LedgerRow`` that hold text, or ``tag:NAME``.

    Raises:
        ValueError: there is no such label.
    """
    raise NotImplementedError


def ledger_rows(
    path: Path, *, match: Sequence[tuple[str, str]] = (), before: int | None = None, limit: int = 100
) -> list[tuple[int, LedgerRow]]:
    """The newest rows with their sequence numbers; ``before`` (a sequence number) turns the page.

    Raises:
        ValueError: there is no such label.
    """
    raise NotImplementedError
