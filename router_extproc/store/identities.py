"""Virtual keys made at run time, raises of budgets, and the audit log, in ``identities.sqlite``.

Rules of this file
- The observer writes, workers read: a change is seen by the next look-up of any process of this machine.
- Digests only: no secret that could be shown by a caller is ever here.
- Every change comes with its audit entry, in the same transaction.
"""

from __future__ import annotations

from pathlib import Path

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


class Changes(msgspec.Struct, frozen=True):
    """Keys as they are now, raises and audit entries; ``sequence`` is how far whoever made them has come."""

    keys: tuple[KeyGrant, ...] = ()
    raises: tuple[StoredRaise, ...] = ()
    audit: tuple[AuditEntry, ...] = ()
    sequence: int = 0


class IdentityWriter:
    """The writing side, one a file, used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        """Opens or creates the file; one that is no database is put aside.

        Raises:
            StoreError: a newer version of this package wrote it.
            sqlite3.OperationalError: the directory cannot be written.
        """
        raise NotImplementedError

    def put_key(self, grant: KeyGrant, entry: AuditEntry) -> None:
        """Adds a key or replaces the one of this id.

        Raises:
            StoreUnavailableError: nothing was written.
        """
        raise NotImplementedError

    def add_raise(self, stored: StoredRaise, entry: AuditEntry) -> None:
        """Adds a raise.

        Raises:
            StoreUnavailableError: nothing was written.
        """
        raise NotImplementedError

    def add_entry(self, entry: AuditEntry) -> None:
        """Notes a change that was made elsewhere.

        Raises:
            StoreUnavailableError: nothing was written.
        """
        raise NotImplementedError

    def apply(self, changes: Changes) -> None:
        """Takes over what another authority says, and how far it has come; doing it again changes nothing.

        Raises:
            StoreUnavailableError: nothing was written.
        """
        raise NotImplementedError

    def applied(self) -> int:
        """The ``sequence`` of what was applied last; 0 at first."""
        raise NotImplementedError

    def forget(self, raises_before: float, audit_before: float) -> int:
        """Deletes raises that ended and audit entries made before these times (epoch seconds); returns how many.

        Raises:
            StoreUnavailableError: nothing was deleted.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Ends the connection."""
        raise NotImplementedError


class IdentityReader:
    """The reading side: fast for a few thousand keys in use, whatever their number; for one thread.

    There may be no file yet: then there are no keys, until there is one.
    """

    def __init__(self, path: Path, cached_keys: int = 4_096) -> None:
        raise NotImplementedError

    def find(self, key: str) -> KeyGrant | None:
        """The key of this id, revoked and expired ones too.

        Raises:
            StoreUnavailableError: the file is there but cannot be read.
        """
        raise NotImplementedError

    def has_keys(self) -> bool:
        """Whether any key was ever made, be it revoked.

        Raises:
            StoreUnavailableError: the file is there but cannot be read.
        """
        raise NotImplementedError

    def raises(self) -> dict[str, tuple[Raise, ...]]:
        """All raises by the name of their budget, ended ones too; not to be changed: the same object until one is added.

        Raises:
            StoreUnavailableError: the file is there but cannot be read.
        """
        raise NotImplementedError

    def stored_raises(self) -> list[StoredRaise]:
        """All raises with their ids: for whoever copies them to another store.

        Raises:
            StoreUnavailableError: the file is there but cannot be read.
        """
        raise NotImplementedError

    def keys(self, *, tenant: str | None = None, after: str = "", limit: int = 1_000) -> list[KeyGrant]:
        """Keys in the order of their ids, from behind ``after`` on.

        Raises:
            StoreUnavailableError: the file is there but cannot be read.
        """
        raise NotImplementedError

    def audit(self, *, before: int | None = None, limit: int = 100) -> list[tuple[int, AuditEntry]]:
        """The newest entries with their sequence numbers; ``before`` (a sequence number) turns the page.

        Raises:
            StoreUnavailableError: the file is there but cannot be read.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Ends the connection."""
        raise NotImplementedError
