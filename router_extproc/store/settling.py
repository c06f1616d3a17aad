"""Settling in ``ledger.sqlite``: rows, what they add to totals, and what another store was not told yet.

Every function is to be called inside a transaction, and sends few statements, as in ``counting``.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import cache
from typing import Any

import msgspec

from router_extproc.store.counters import Release, Total
from router_extproc.store.ledger_values import Charge, LedgerRow

# Stands for the counters of a release that names none; no counter is called so, and ``_UNTOLD_COUNTERS`` passes over it.
_UNNAMED = ""
COLUMNS = LedgerRow.__struct_fields__
_KNOWN = """
select json_group_array(asked.key) from json_each(?) as asked cross join ledger
on request = json_extract(value, '$[0]') and attempt = json_extract(value, '$[1]') and purpose = json_extract(value, '$[2]')
"""
# Rows that one statement adds: it is prepared for each number of them. Taken apart from JSON, each would take twice as long.
_ADDED_AT_ONCE = 8
_ADD_CHARGES = """
insert into totals (counter, bucket, amount, expires_at)
select json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'), json_extract(value, '$[3]')
from json_each(?) where true
on conflict (counter, bucket) do update
set amount = amount + excluded.amount, expires_at = max(expires_at, excluded.expires_at)
"""
_TOTALS = """
select json_group_array(json_array(counter, bucket, amount, expires_at)) from json_each(?) as asked cross join totals
on counter = json_extract(value, '$[0]') and bucket = json_extract(value, '$[1]')
"""
_NOTE_TOTALS = """
insert or ignore into untold_totals select json_extract(value, '$[0]'), json_extract(value, '$[1]') from json_each(?)
"""
_NOTE_RELEASES = """
insert or ignore into untold_releases select json_extract(value, '$[0]'), json_extract(value, '$[1]') from json_each(?)
"""
_UNTOLD_COUNTERS = """
select json_group_array(counter) from (
  select counter from untold_totals where counter > ?1 union select counter from untold_releases where counter > ?1
  order by counter limit ?2)
"""
_UNTOLD = """
select
  (select json_group_array(json_array(totals.counter, totals.bucket, amount, expires_at))
   from json_each(?1) cross join untold_totals on untold_totals.counter = value
   cross join totals on totals.counter = untold_totals.counter and totals.bucket = untold_totals.bucket),
  (select json_group_array(json_array(reservation, counter)) from json_each(?1) cross join untold_releases on counter = value)
"""
_UNTOLD_UNNAMED = """
select json_group_array(reservation) from (select reservation from untold_releases where counter = ? limit ?)
"""
_FORGET_TOTALS = """
delete from untold_totals where (counter, bucket) in (
  select totals.counter, totals.bucket from json_each(?) cross join totals
  on totals.counter = json_extract(value, '$[0]') and totals.bucket = json_extract(value, '$[1]')
  and totals.amount = json_extract(value, '$[2]'))
"""
_FORGET_RELEASES = """
delete from untold_releases where (counter, reservation) in
(select json_extract(value, '$[0]'), json_extract(value, '$[1]') from json_each(?))
"""


def add_rows(connection: sqlite3.Connection, rows: Sequence[LedgerRow]) -> tuple[bool, ...]:
    """Adds the rows that are not there; says of each whether it was new."""
    values = [_values(row) for row in rows]
    calls = [(request, attempt, purpose) for request, attempt, purpose, *_ in values]
    known: set[int] = set(_one(connection, _KNOWN, (_json(calls),))[0]) if rows else set()
    seen: set[tuple[str, int, str]] = set()
    fresh: list[bool] = []
    for place, call in enumerate(calls):
        fresh.append(place not in known and call not in seen)
        seen.add(call)
    added = [columns for columns, is_fresh in zip(values, fresh, strict=True) if is_fresh]
    if added:
        for first in range(0, len(added), _ADDED_AT_ONCE):
            some = added[first : first + _ADDED_AT_ONCE]
            connection.execute(_add_rows(len(some)), [value for columns in some for value in columns])
    return tuple(fresh)


@cache
def _add_rows(rows: int) -> str:
    row = f"({', '.join('?' * len(COLUMNS))})"
    return f"insert into ledger ({', '.join(COLUMNS)}) values {', '.join([row] * rows)}"  # noqa: S608 - the names are LedgerRow's


def add_charges(connection: sqlite3.Connection, charges: Sequence[Charge]) -> tuple[Total, ...]:
    """Adds to totals; returns those that changed."""
    sums: dict[tuple[str, int], list[Any]] = {}
    for charge in charges:
        row = sums.setdefault((charge.counter, charge.bucket), [charge.counter, charge.bucket, 0, charge.expires_at])
        row[2] += charge.amount
        row[3] = max(row[3], charge.expires_at)
    if not sums:
        return ()
    connection.execute(_ADD_CHARGES, (_json(list(sums.values())),))
    (totals,) = _one(connection, _TOTALS, (_json(list(sums)),))
    return tuple(Total(*total) for total in totals)


def note_untold(connection: sqlite3.Connection, totals: Sequence[Total], releases: Sequence[Release]) -> None:
    """Notes that another store is to be told of these."""
    if totals:
        connection.execute(_NOTE_TOTALS, (_json([(total.counter, total.bucket) for total in totals]),))
    if pairs := _pairs(releases):
        connection.execute(_NOTE_RELEASES, (_json(pairs),))


def note_all_untold(connection: sqlite3.Connection, now: float) -> int:
    """Notes every total that has not expired; returns how many were told before."""
    statement = "insert or ignore into untold_totals select counter, bucket from totals where expires_at > ?"
    return connection.execute(statement, (now,)).rowcount


def untold(connection: sqlite3.Connection, after: str, limit: int) -> tuple[list[str], tuple[Total, ...], tuple[Release, ...]]:
    """Counters behind ``after`` that have something untold, and all that is untold of them."""
    (counters,) = _one(connection, _UNTOLD_COUNTERS, (after, limit))
    if not counters:
        return [], (), ()
    totals, pairs = _one(connection, _UNTOLD, (_json(counters),))
    releases: dict[str, list[str]] = {}
    for reservation, counter in pairs:
        releases.setdefault(reservation, []).append(counter)
    return (
        counters,
        tuple(Total(*total) for total in totals),
        tuple(Release(reservation, tuple(held)) for reservation, held in releases.items()),
    )


def untold_unnamed(connection: sqlite3.Connection, limit: int) -> tuple[Release, ...]:
    """At most ``limit`` untold releases that name no counter."""
    (reservations,) = _one(connection, _UNTOLD_UNNAMED, (_UNNAMED, limit))
    return tuple(Release(reservation, ()) for reservation in reservations)


def forget_untold(connection: sqlite3.Connection, totals: Sequence[Total], releases: Sequence[Release]) -> None:
    """These were told; a total that has changed since is still to be told."""
    if totals:
        connection.execute(_FORGET_TOTALS, (_json([(total.counter, total.bucket, total.amount) for total in totals]),))
    if pairs := _pairs(releases):
        connection.execute(_FORGET_RELEASES, (_json(pairs),))


def _pairs(releases: Sequence[Release]) -> list[tuple[str, str]]:
    return [(counter, release.reservation) for release in releases for counter in release.counters or (_UNNAMED,)]


def _values(row: LedgerRow) -> list[Any]:
    return [_column(value) for value in msgspec.structs.astuple(row)]


def _column(value: Any) -> Any:
    if isinstance(value, dict):
        return _json(value)
    # SQLite ends a text at its first NUL: who is called "ann\0x" must not be taken for ann.
    return value.replace("\0", "\ufffd") if isinstance(value, str) else value


def _one(connection: sqlite3.Connection, statement: str, values: tuple[Any, ...]) -> list[Any]:
    return [msgspec.json.decode(column) for column in connection.execute(statement, values).fetchone()]


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
