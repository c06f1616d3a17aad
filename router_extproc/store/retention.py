"""Forgetting in ``ledger.sqlite``: old rows, and counters, claims and amounts set aside that have expired.

What is to go is looked for while others write, so that deleting it, in a transaction, is quick.
"""

from __future__ import annotations

import sqlite3
from typing import Any

import msgspec

# Of each kind at once: others wait some tens of milliseconds for that.
_AT_ONCE = 2_000
# So many counters are looked at in one go, some tens of milliseconds too: there may be millions.
_STRETCH = 50_000
# Answers may end after the part of a window in which they began: a total is kept this much longer, in seconds.
_KEPT_SECONDS = 3_600

_FIND = """
select
  (select json_group_array(sequence) from (select sequence from ledger where at < ?1 order by at limit ?3)),
  (select json_group_array(name) from (select name from claims where expires_at < ?2 limit ?3))
"""
# Of a stretch of counters behind ?1: some expired totals, and where it ends (an empty text: behind it there are none).
_FIND_TOTALS = """
with stretch as (select counter, bucket, expires_at from totals where counter > ?1 order by counter limit ?2)
select
  (select json_group_array(json_array(counter, bucket)) from (
     select counter, bucket from stretch where expires_at < ?4 limit ?3)),
  (select case count(*) when ?2 then max(counter) else '' end from stretch)
"""
_FIND_COUNTERS = """
with stretch as (select counter, held from counters where counter > ?1 order by counter limit ?2)
select
  (select json_group_array(counter) from (select counter from stretch where held = 0 limit ?3)),
  (select case count(*) when ?2 then max(counter) else '' end from stretch)
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


class Sweep:
    """Goes round through the counters, a stretch each time."""

    def __init__(self, stretch: int = _STRETCH, at_once: int = _AT_ONCE) -> None:
        self._stretch, self._at_once = stretch, at_once
        self._totals_behind, self._counters_behind = "", ""

    def find(self, connection: sqlite3.Connection, before: float, now: float) -> Old:
        """Rows made before ``before``, and what had expired by ``now`` in this stretch, both in epoch seconds."""
        rows, claims = connection.execute(_FIND, (before, now, self._at_once)).fetchone()
        asked = (self._totals_behind, self._stretch, self._at_once, now - _KEPT_SECONDS)
        totals, self._totals_behind = self._found(connection.execute(_FIND_TOTALS, asked), self._totals_behind)
        counters_asked = (self._counters_behind, self._stretch, self._at_once)
        counters, self._counters_behind = self._found(connection.execute(_FIND_COUNTERS, counters_asked), self._counters_behind)
        return Old(rows, totals, counters, claims)

    def _found(self, cursor: sqlite3.Cursor, behind: str) -> tuple[str, str]:
        """What was found, and where to look next: at the same place, while there is more than may be deleted at once."""
        found, ends = cursor.fetchone()
        return found, behind if len(msgspec.json.decode(found)) == self._at_once else ends


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
