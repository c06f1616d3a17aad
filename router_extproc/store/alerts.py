"""Alerts about budgets in ``alerts.sqlite``: what was raised, and what is still to be delivered.

Rules of this file
- An alert is written down before it is claimed among all instances, so that one who dies in between knows of it.
- What is due stays due until it was delivered or given up, across restarts.
- One ``AlertOutbox`` a file, used by one thread at a time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from router_extproc.store.mended_file import MendedFile
from router_extproc.store.sqlite_file import Schema

ALERTS = Schema(
    1,
    """
create table alerts (
  sequence integer primary key,
  name text not null,
  at real not null,
  budget text not null,
  counter text not null,
  unit text not null,
  threshold real not null,
  settled integer not null,
  cap integer not null,
  expires_at real not null,
  state text not null,
  tries integer not null default 0,
  due_at real not null default 0
);
create index alerts_by_state on alerts (state, due_at);
create index alerts_by_time on alerts (at);
""",
)

State = Literal["claiming", "due", "delivered", "given_up", "told"]


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """``settled`` of the ``cap`` of a counter has reached ``threshold``, a share; both in the budget's ``unit``.

    ``name`` is what all instances claim it by, until ``expires_at``; times are epoch seconds.
    """

    name: str
    at: float
    budget: str
    counter: str
    unit: str
    threshold: float
    settled: int
    cap: int
    expires_at: float


class StoredAlert(msgspec.Struct, frozen=True):
    """An alert with what became of it: ``told`` were those that only log and metrics were told of."""

    sequence: int
    alert: Alert
    state: State
    tries: int = 0


_COLUMNS = "name, at, budget, counter, unit, threshold, settled, cap, expires_at"
_NAMES = tuple(_COLUMNS.split(", "))


class AlertOutbox:
    """The alerts of one instance."""

    def __init__(self, path: Path) -> None:
        """Opens or creates the file; one that is no database is put aside.

        Raises:
            StoreError: a newer version of this package wrote it.
            sqlite3.OperationalError: the directory cannot be written.
        """
        self._file = MendedFile(path, ALERTS)

    def add(self, alert: Alert) -> int:
        """Writes down an alert that is to be claimed; returns its number.

        Raises:
            StoreUnavailableError: it was not written.
        """
        with self._file.write() as connection:
            statement = f"insert into alerts ({_COLUMNS}, state) values (?, ?, ?, ?, ?, ?, ?, ?, ?, 'claiming')"  # noqa: S608 - ours
            return int(connection.execute(statement, msgspec.structs.astuple(alert)).lastrowid or 0)

    def become(self, sequence: int, state: State, due_at: float = 0.0) -> None:
        """Notes what became of an alert; one that is ``due`` is not to be tried before ``due_at``, in epoch seconds.

        Raises:
            StoreUnavailableError: it is as it was.
        """
        with self._file.write() as connection:
            connection.execute("update alerts set state = ?, due_at = ? where sequence = ?", (state, due_at, sequence))

    def tried(self, sequence: int, due_at: float) -> None:
        """Notes that delivering failed, and when it is to be tried again.

        Raises:
            StoreUnavailableError: it stays due.
        """
        with self._file.write() as connection:
            statement = "update alerts set tries = tries + 1, due_at = ? where sequence = ?"
            connection.execute(statement, (due_at, sequence))

    def drop(self, sequence: int) -> None:
        """Forgets an alert that another instance claimed.

        Raises:
            StoreUnavailableError: it stays.
        """
        with self._file.write() as connection:
            connection.execute("delete from alerts where sequence = ?", (sequence,))

    def claiming(self) -> list[StoredAlert]:
        """Those that were written down and perhaps not claimed: their instance died.

        Raises:
            StoreUnavailableError: the file cannot be read.
        """
        return self._read("where state = 'claiming' order by sequence")

    def due(self, now: float, limit: int = 20) -> list[StoredAlert]:
        """Those that are to be delivered now, the oldest first.

        Raises:
            StoreUnavailableError: the file cannot be read.
        """
        return self._read("where state = 'due' and due_at <= ? order by sequence limit ?", now, limit)

    def recent(self, limit: int = 100) -> list[StoredAlert]:
        """The newest first.

        Raises:
            StoreUnavailableError: the file cannot be read.
        """
        return self._read("where state != 'claiming' order by sequence desc limit ?", limit)

    def forget(self, before: float) -> int:
        """Deletes those raised before ``before`` (epoch seconds); returns how many.

        Raises:
            StoreUnavailableError: nothing was deleted.
        """
        with self._file.write() as connection:
            return connection.execute("delete from alerts where at < ?", (before,)).rowcount

    def close(self) -> None:
        """Ends the connection."""
        self._file.close()

    def _read(self, condition: str, *values: float) -> list[StoredAlert]:
        statement = f"select sequence, state, tries, {_COLUMNS} from alerts {condition}"  # noqa: S608 - all of it is ours
        with self._file.read() as connection:
            rows = connection.execute(statement, values).fetchall()
        return [
            StoredAlert(sequence, Alert(**dict(zip(_NAMES, columns, strict=True))), state, tries)
            for sequence, state, tries, *columns in rows
        ]
