"""Virtual keys made at run time, raises of budgets, and the audit log, in ``identities.sqlite``.

Rules of this file
- The observer writes, workers read: a change is seen by the next look-up of any process of this machine.
- Digests only: no secret that could be shown by a caller is ever here.
- Every change comes with its audit entry, in the same transaction.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from router_extproc.registry.spending import KeyGrant, Raise
from router_extproc.store.counters import StoreUnavailableError
from router_extproc.store.identity_values import AuditEntry, Changes, StoredRaise
from router_extproc.store.mended_file import MendedFile
from router_extproc.store.sqlite_file import Schema, inode, open_reader, pragma

__all__ = ["AuditEntry", "Changes", "IdentityReader", "IdentityWriter", "StoredRaise"]

IDENTITIES = Schema(
    1,
    """
create table keys (id text primary key, tenant text not null, document text not null) without rowid;
create index keys_by_tenant on keys (tenant, id);
create table raises (
  id text primary key, budget text not null, amount integer not null, since real not null, until real not null
) without rowid;
create table audit (
  sequence integer primary key,
  id text not null unique,
  at real not null,
  actor text not null,
  action text not null,
  subject text not null,
  detail text not null
);
create index audit_by_time on audit (at);
create table applied (sequence integer not null);
insert into applied values (0)
""",
)
# Readers wait for nobody, but for a moment after a crash or when the last process closes the file.
_BUSY_SECONDS = 0.25


class IdentityWriter:
    """The writing side, one a file, used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        """Opens or creates the file; one that is no database is put aside.

        Raises:
            StoreError: a newer version of this package wrote it.
            sqlite3.OperationalError: the directory cannot be written.
        """
        self._file = MendedFile(path, IDENTITIES)

    def put_key(self, grant: KeyGrant, entry: AuditEntry) -> None:
        """Adds a key or replaces the one of this id.

        Raises:
            StoreUnavailableError: nothing was written.
        """
        self._write(Changes(keys=(grant,), audit=(entry,)))

    def add_raise(self, stored: StoredRaise, entry: AuditEntry) -> None:
        """Adds a raise or replaces the one of this id.

        Raises:
            StoreUnavailableError: nothing was written.
        """
        self._write(Changes(raises=(stored,), audit=(entry,)))

    def add_entry(self, entry: AuditEntry) -> None:
        """Notes a change that was made elsewhere.

        Raises:
            StoreUnavailableError: nothing was written.
        """
        self._write(Changes(audit=(entry,)))

    def apply(self, changes: Changes) -> None:
        """Takes over what another authority says, and how far it has come; doing it again changes nothing.

        Raises:
            StoreUnavailableError: nothing was written.
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


class IdentityReader:
    """The reading side: fast for a few thousand keys in use, whatever their number; for one thread.

    There may be no file yet: then there are no keys, until there is one.
    """

    def __init__(self, path: Path, cached_keys: int = 4_096) -> None:
        self._path, self._cached_keys = path, cached_keys
        self._connection: sqlite3.Connection | None = None
        self._inode: int | None = None
        # What is known holds for one version of the file, which SQLite changes with every commit of another process.
        self._version: int | None = None
        self._keys: dict[str, KeyGrant] = {}
        self._has_keys: bool | None = None
        self._raises: dict[str, tuple[Raise, ...]] | None = None

    def find(self, key: str) -> KeyGrant | None:
        """The key of this id, revoked and expired ones too.

        Raises:
            StoreUnavailableError: the file is there but cannot be read.
        """
        with self._current() as connection:
            grant = self._keys.pop(key, None)
            if grant is None:
                row = _first(connection, "select document from keys where id = ?", key)
                if row is None:
                    return None
                grant = _grant(row[0])
                if len(self._keys) >= self._cached_keys:
                    del self._keys[next(iter(self._keys))]
            # The keys used last stand at the end.
            self._keys[key] = grant
            return grant

    def has_keys(self) -> bool:
        """Whether any key was ever made, be it revoked.

        Raises:
            StoreUnavailableError: the file is there but cannot be read.
        """
        with self._current() as connection:
            if self._has_keys is None:
                self._has_keys = _first(connection, "select 1 from keys limit 1") is not None
            return self._has_keys

    def raises(self) -> dict[str, tuple[Raise, ...]]:
        """All raises by the name of their budget, ended ones too; not to be changed: the same object until the file changes.

        Raises:
            StoreUnavailableError: the file is there but cannot be read.
        """
        with self._current() as connection:
            if self._raises is None:
                found: dict[str, tuple[Raise, ...]] = {}
                for budget, *granted in _all(connection, "select budget, amount, until, since from raises order by id"):
                    found[budget] = (*found.get(budget, ()), Raise(*granted))
                self._raises = found
            return self._raises

    def stored_raises(self) -> list[StoredRaise]:
        """All raises in the order of their ids, ended ones too.

        Raises:
            StoreUnavailableError: the file is there but cannot be read.
        """
        with self._current() as connection:
            rows = _all(connection, "select id, budget, amount, until, since from raises order by id")
            return [StoredRaise(name, budget, Raise(*granted)) for name, budget, *granted in rows]

    def keys(self, *, tenant: str | None = None, after: str = "", limit: int = 1_000) -> list[KeyGrant]:
        """Keys in the order of their ids, from behind ``after`` on.

        Raises:
            StoreUnavailableError: the file is there but cannot be read.
        """
        with self._current() as connection:
            if tenant is None:
                rows = _all(connection, "select document from keys where id > ? order by id limit ?", after, limit)
            else:
                statement = "select document from keys where tenant = ? and id > ? order by id limit ?"
                rows = _all(connection, statement, tenant, after, limit)
            return [_grant(document) for (document,) in rows]

    def audit(self, *, before: int | None = None, limit: int = 100) -> list[tuple[int, AuditEntry]]:
        """The newest entries with their sequence numbers; ``before`` (a sequence number) turns the page.

        Raises:
            StoreUnavailableError: the file is there but cannot be read.
        """
        with self._current() as connection:
            statement = (
                "select sequence, id, at, actor, action, subject, detail from audit"
                " where ?1 is null or sequence < ?1 order by sequence desc limit ?2"
            )
            return [
                (sequence, AuditEntry(name, at, actor, action, subject, msgspec.json.decode(detail, type=dict[str, str])))
                for sequence, name, at, actor, action, subject, detail in _all(connection, statement, before, limit)
            ]

    def close(self) -> None:
        """Ends the connection."""
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
        self._connection, self._inode = None, None
        self._forget()

    @contextlib.contextmanager
    def _current(self) -> Iterator[sqlite3.Connection | None]:
        """The file as it is now; what was known of an older version is forgotten."""
        try:
            if self._inode is None or self._inode != inode(self._path):
                self._reopen()
            if self._connection is not None:
                version = pragma(self._connection, "data_version")
                if version != self._version:
                    self._forget()
                    self._version = version
            yield self._connection
        except (sqlite3.Error, msgspec.MsgspecError) as error:
            self.close()
            raise StoreUnavailableError(f"{self._path.name} cannot be read: {error}") from error

    def _reopen(self) -> None:
        self.close()
        found = inode(self._path)
        connection = open_reader(self._path, _BUSY_SECONDS)
        if connection is None:
            return
        version = pragma(connection, "user_version")
        if version == 0:
            # Somebody is just making it.
            connection.close()
            return
        if version > IDENTITIES.version:
            connection.close()
            raise StoreUnavailableError(f"{self._path.name} was written by a newer version (schema {version})")
        self._connection, self._inode = connection, found

    def _forget(self) -> None:
        self._version, self._has_keys, self._raises = None, None, None
        self._keys = {}


def _all(connection: sqlite3.Connection | None, statement: str, *values: Any) -> Iterable[tuple[Any, ...]]:
    return () if connection is None else connection.execute(statement, values).fetchall()


def _first(connection: sqlite3.Connection | None, statement: str, *values: Any) -> tuple[Any, ...] | None:
    return next(iter(_all(connection, statement, *values)), None)


def _grant(document: str) -> KeyGrant:
    return msgspec.json.decode(document, type=KeyGrant)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
