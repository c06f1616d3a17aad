"""Virtual keys made at run time, raises of budgets, and the audit log, in ``identities.sqlite``.

Rules of this file
- The observer writes, workers read: a change is seen by the next look-up of any process of this machine.
- Digests only: no secret that could be shown by a caller is ever here.
- Every change comes with its audit entry, in the same transaction.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from router_extproc.registry.spending import KeyGrant
from router_extproc.store.identity_file import IDENTITIES
from router_extproc.store.identity_reader import IdentityReader
from router_extproc.store.identity_values import AuditEntry, Changes, KeyChange, StoredRaise
from router_extproc.store.mended_file import MendedFile

__all__ = ["AuditEntry", "Changes", "IdentityReader", "IdentityWriter", "KeyChange", "StoredRaise"]


class IdentityWriter:
    """The writing side, one a file, used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        """Opens or creates the file; one that is no database is put aside.

        Raises:
            StoreError: a newer version of this package wrote it.
            StoreUnavailableError: another process writes and does not end.
            sqlite3.OperationalError: the directory cannot be written.
        """
        self._file = MendedFile(path, IDENTITIES)

    def put_key(self, grant: KeyGrant, entry: AuditEntry) -> None:
        """Adds a key or replaces the one of this id.

        Raises:
            StoreUnavailableError: nothing was written.
            ValueError: it can never be; nothing was written.
        """
        self._write(Changes(keys=(grant,), audit=(entry,)))

    def add_raise(self, stored: StoredRaise, entry: AuditEntry) -> None:
        """Adds a raise or replaces the one of this id.

        Raises:
            StoreUnavailableError: nothing was written.
            ValueError: it can never be; nothing was written.
        """
        self._write(Changes(raises=(stored,), audit=(entry,)))

    def add_entry(self, entry: AuditEntry) -> None:
        """Notes a change that was made elsewhere.

        Raises:
            StoreUnavailableError: nothing was written.
            ValueError: it can never be; nothing was written.
        """
        self._write(Changes(audit=(entry,)))

    def apply(self, changes: Changes) -> None:
        """Takes over what another authority says, and how far it has come; doing it again changes nothing.

        Raises:
            StoreUnavailableError: nothing was written.
            ValueError: it can never be; nothing was written.
        """
        self._write(changes, sequence=changes.sequence)

    def applied(self) -> int:
        """The ``sequence`` of what was applied last; 0 at first, and again when a broken file had to begin anew.

        Raises:
            StoreUnavailableError: it cannot be read now.
        """
        with self._file.read() as connection:
            return int(connection.execute("select sequence from applied").fetchone()[0])

    def forget(self, raises_before: float, audit_before: float) -> int:
        """Deletes raises that ended and audit entries made before these times (epoch seconds); returns how many.

        Raises:
            StoreUnavailableError: nothing was deleted.
        """
        with self._file.write() as connection:
            raises = connection.execute("delete from raises where until < ?", (raises_before,)).rowcount
            return raises + connection.execute("delete from audit where at < ?", (audit_before,)).rowcount

    def close(self) -> None:
        """Ends the connection."""
        self._file.close()

    def _write(self, changes: Changes, sequence: int | None = None) -> None:
        with self._file.write() as connection:
            connection.executemany(
                "insert or replace into keys values (?, ?, ?)",
                [(grant.id, grant.tenant, _json(grant)) for grant in changes.keys],
            )
            connection.executemany(
                "insert or replace into raises values (?, ?, ?, ?, ?)",
                [
                    (stored.id, stored.budget, stored.granted.amount, stored.granted.since, stored.granted.until)
                    for stored in changes.raises
                ],
            )
            connection.executemany(
                "insert into audit (id, at, actor, action, subject, detail) values (?, ?, ?, ?, ?, ?)"
                " on conflict (id) do nothing",
                [
                    (entry.id, entry.at, entry.actor, entry.action, entry.subject, _json(entry.detail))
                    for entry in changes.audit
                ],
            )
            if sequence is not None:
                connection.execute("update applied set sequence = ?", (sequence,))


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
