"""Reading ``identities.sqlite``, as workers do with every request: whatever was committed before is seen."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from router_extproc.registry.spending import KeyGrant, Raise
from router_extproc.store.counters import StoreUnavailableError
from router_extproc.store.identity_file import IDENTITIES
from router_extproc.store.identity_values import AuditEntry, StoredRaise
from router_extproc.store.sqlite_file import inode, open_reader, pragma

T = TypeVar("T")

# Readers wait for nobody, but for a moment after a crash or when the last process closes the file.
_BUSY_SECONDS = 0.25


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
        return self._ask(lambda connection: self._found(connection, key))

    def has_keys(self) -> bool:
        """Whether any key was ever made, be it revoked.

        Raises:
            StoreUnavailableError: the file is there but cannot be read.
        """
        return self._ask(self._has_any)

    def has_followed(self) -> bool:
        """Whether what all instances share was ever taken over here; before that, keys may exist that nobody knows here.

        Raises:
            StoreUnavailableError: the file is there but cannot be read.
        """
        return self._ask(lambda connection: _first(connection, "select 1 from applied where sequence > 0") is not None)

    def raises(self) -> dict[str, tuple[Raise, ...]]:
        """All raises by the name of their budget, ended ones too; not to be changed: the same object until the file changes.

        Raises:
            StoreUnavailableError: the file is there but cannot be read.
        """
        return self._ask(self._all_raises)

    def stored_raises(self) -> list[StoredRaise]:
        """All raises in the order of their ids, ended ones too.

        Raises:
            StoreUnavailableError: the file is there but cannot be read.
        """
        return self._ask(_stored_raises)

    def keys(self, *, tenant: str | None = None, after: str = "", limit: int = 1_000) -> list[KeyGrant]:
        """Keys in the order of their ids, from behind ``after`` on.

        Raises:
            StoreUnavailableError: the file is there but cannot be read.
        """
        if tenant is None:
            statement, values = "select document from keys where id > ? order by id limit ?", (after, limit)
            return self._ask(lambda connection: [_grant(document) for (document,) in _all(connection, statement, *values)])
        of_tenant = "select document from keys where tenant = ? and id > ? order by id limit ?"
        return self._ask(
            lambda connection: [_grant(document) for (document,) in _all(connection, of_tenant, tenant, after, limit)]
        )

    def audit(self, *, before: int | None = None, limit: int = 100, action: str | None = None) -> list[tuple[int, AuditEntry]]:
        """The newest entries with their sequence numbers, all or those of one action; ``before`` (a sequence number) turns the
        page.

        Raises:
            StoreUnavailableError: the file is there but cannot be read.
        """
        return self._ask(lambda connection: _entries(connection, before, limit, action))

    def close(self) -> None:
        """Ends the connection."""
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
        self._connection, self._inode = None, None
        self._forget()

    def _ask(self, ask: Callable[[sqlite3.Connection | None], T]) -> T:
        """Asks the file as it is now; what was known of an older version is forgotten."""
        try:
            found = inode(self._path)
            if found != self._inode:
                self._reopen(found)
            if self._connection is not None:
                version = pragma(self._connection, "data_version")
                if version != self._version:
                    self._forget()
                    self._version = version
            return ask(self._connection)
        except (sqlite3.Error, msgspec.MsgspecError) as error:
            self.close()
            raise StoreUnavailableError(f"{self._path.name} cannot be read: {error}") from error

    def _found(self, connection: sqlite3.Connection | None, key: str) -> KeyGrant | None:
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

    def _has_any(self, connection: sqlite3.Connection | None) -> bool:
        if self._has_keys is None:
            self._has_keys = _first(connection, "select 1 from keys limit 1") is not None
        return self._has_keys

    def _all_raises(self, connection: sqlite3.Connection | None) -> dict[str, tuple[Raise, ...]]:
        if self._raises is None:
            found: dict[str, tuple[Raise, ...]] = {}
            for stored in _stored_raises(connection):
                found[stored.budget] = (*found.get(stored.budget, ()), stored.granted)
            self._raises = found
        return self._raises

    def _reopen(self, found: int | None) -> None:
        self.close()
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


def _stored_raises(connection: sqlite3.Connection | None) -> list[StoredRaise]:
    rows = _all(connection, "select id, budget, amount, until, since from raises order by id")
    return [StoredRaise(name, budget, Raise(*granted)) for name, budget, *granted in rows]


def _entries(
    connection: sqlite3.Connection | None, before: int | None, limit: int, action: str | None
) -> list[tuple[int, AuditEntry]]:
    statement = (
        "select sequence, id, at, actor, action, subject, detail from audit"
        " where (?1 is null or sequence < ?1) and (?3 is null or action = ?3) order by sequence desc limit ?2"
    )
    return [
        (sequence, AuditEntry(name, at, actor, action, subject, msgspec.json.decode(detail, type=dict[str, str])))
        for sequence, name, at, actor, action, subject, detail in _all(connection, statement, before, limit, action)
    ]


def _grant(document: str) -> KeyGrant:
    return msgspec.json.decode(document, type=KeyGrant)
