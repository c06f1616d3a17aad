"""Decision records in SQLite: each a JSON document with the few columns that are searched by.

Rules of this file
- Nothing here knows what a document holds beyond its columns.
- One ``DecisionWriter`` a file, used by one thread at a time; readers open the file for themselves (WAL: they never
  wait for the writer, nor it for them).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from router_extproc.store.sqlite_file import Schema, StoreError, open_mended_writer, reading, transaction

__all__ = ["DecisionRow", "DecisionWriter", "StoreError", "find_decision", "recent_decisions"]

DECISIONS = Schema(
    1,
    """
create table decisions (
  sequence integer primary key,
  id text not null,
  started_at real not null,
  route text,
  model text,
  deployment text,
  status integer not null,
  cost_usd real,
  document text not null
);
create index decisions_by_id on decisions (id);
create index decisions_by_start on decisions (started_at)
""",
)
_DELETED_AT_ONCE = 5_000


class DecisionRow(msgspec.Struct, frozen=True):
    """One record. ``started_at`` is in epoch seconds, ``document`` is the whole record as JSON."""

    id: str
    started_at: float
    route: str | None
    model: str | None
    deployment: str | None
    status: int
    cost_usd: float | None
    document: str


class DecisionWriter:
    """Writes batches. A file that is no database is put aside, so that a broken disk block does not stop the service."""

    def __init__(self, path: Path) -> None:
        """Opens or creates the file.

        Raises:
            StoreError: a newer version of this package wrote it.
            sqlite3.OperationalError: the directory cannot be written.
        """
        self._connection = open_mended_writer(path, DECISIONS)

    def write(self, rows: Sequence[DecisionRow]) -> None:
        """Adds all rows in one transaction.

        Raises:
            sqlite3.Error: none was added.
        """
        with transaction(self._connection):
            self._connection.executemany(
                "insert into decisions (id, started_at, route, model, deployment, status, cost_usd, document)"
                " values (?, ?, ?, ?, ?, ?, ?, ?)",
                [msgspec.structs.astuple(row) for row in rows],
            )

    def forget(self, before: float) -> int:
        """Deletes records that started before ``before`` (epoch seconds), some thousands at most; returns how many."""
        return self._delete("select sequence from decisions where started_at < ? order by started_at limit ?", before)

    def forget_beyond(self, most: int) -> int:
        """Deletes the oldest records beyond ``most``, some thousands at most; returns how many."""
        beyond = "select sequence from decisions where sequence <= (select max(sequence) from decisions) - ? limit ?"
        return self._delete(beyond, most)

    def _delete(self, chosen: str, value: float) -> int:
        with transaction(self._connection):
            statement = f"delete from decisions where sequence in ({chosen})"  # noqa: S608 - both texts stand above
            deleted = self._connection.execute(statement, (value, _DELETED_AT_ONCE)).rowcount
        if deleted:
            # Not `execute`: the pragma frees one page a step, and only a script is stepped to its end.
            self._connection.executescript("pragma incremental_vacuum")
        return deleted

    def close(self) -> None:
        """Ends the connection; the write-ahead log is folded into the file."""
        self._connection.close()


def recent_decisions(path: Path, limit: int) -> list[str]:
    """The newest documents first, at most ``limit``; none when there is no file yet."""
    with reading(path) as connection:
        if connection is None:
            return []
        rows = connection.execute("select document from decisions order by sequence desc limit ?", (limit,))
        return [document for (document,) in rows]


def find_decision(path: Path, decision: str) -> str | None:
    """The document of one decision, None when it is not known."""
    with reading(path) as connection:
        if connection is None:
            return None
        row = connection.execute(
            "select document from decisions where id = ? order by sequence desc limit 1", (decision,)
        ).fetchone()
        return None if row is None else str(row[0])
