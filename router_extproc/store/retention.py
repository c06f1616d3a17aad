"""Forgetting in ``ledger.sqlite``: old rows, and counters, claims and amounts set aside that have expired.

What is to go is looked for while others write, so that deleting it, in a transaction, is quick.
"""

from __future__ import annotations

import sqlite3
from typing import Any

import msgspec

# Of each kind at once: others wait some tens of milliseconds for that.
_AT_ONCE = 2_000
# Answers may end after the part of a window in which they began: a total is kept this much longer, in seconds.
_KEPT_SECONDS = 3_600

_FIND = """
select
  (select json_group_array(sequence) from (select sequence from ledger where at < ?1 order by at limit ?4)),
  (select json_group_array(json_array(counter, bucket)) from (
     select counter, bucket from totals where expires_at < ?3 limit ?4)),
  (select json_group_array(counter) from (select counter from counters where held = 0 limit ?4)),
  (select json_group_array(name) from (select name from claims where expires_at < ?2 limit ?4))
"""
_DELETE_ROWS = "delete from ledger where sequence in (select value from json_each(?))"
_DELETE_TOTALS = """
delete from totals where (counter, bucket) in
(select json_extract(value, '$[0]'), json_extract(value, '$[1]') from json_each(?))
"""
_DELETE_UNTOLD = _DELETE_TOTALS.replace("from totals", "from untold_totals")
_DELETE_COUNTERS = "delete from counters where held = 0 and counter in (select value from json_each(?))"
_DELETE_CLAIMS = "delete from claims where expires_at < ?2 and name in (select value from json_each(?1))"
_DELETE_HOLDS = "delete from holds where until <= ?"


class Old(msgspec.Struct, frozen=True):
    """What may go: JSON lists of rows, totals, counters and claims."""

    rows: str
    totals: str
    counters: str
    claims: str


def find(connection: sqlite3.Connection, before: float, now: float) -> Old:
    """Rows made before ``before``, and what had expired by ``now``, both in epoch seconds."""
    return Old(*connection.execute(_FIND, (before, now, now - _KEPT_SECONDS, _AT_ONCE)).fetchone())


def delete(connection: sqlite3.Connection, old: Old, now: float) -> int:
    """Deletes it, inside a transaction; returns how many rows of all kinds."""
    statements: list[tuple[str, tuple[Any, ...]]] = [
        (_DELETE_ROWS, (old.rows,)),
        (_DELETE_TOTALS, (old.totals,)),
        (_DELETE_UNTOLD, (old.totals,)),
        (_DELETE_COUNTERS, (old.counters,)),
        (_DELETE_CLAIMS, (old.claims, now)),
        (_DELETE_HOLDS, (now,)),
    ]
    return sum(connection.execute(statement, values).rowcount for statement, values in statements)
