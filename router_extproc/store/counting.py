"""Counting in ``ledger.sqlite``: what a reservation finds, what it sets aside, what is given back.

Every function is to be called inside a transaction. Each sends few statements, whatever the number of holds: all processes
wait for the transaction's end.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import msgspec

from router_extproc.store.counters import Hold, Level, Query, Release, Total, Verdict

_EXPIRE = "delete from holds where until <= ?"
# What one hold looks at: its counter, the window of it, and what its own reservation has there already.
_LEVEL = """
  coalesce((select held from counters where counter = ?), 0),
  coalesce((select sum(amount) from totals where counter = ? and bucket >= ?), 0),
  (select amount from holds where counter = ? and reservation = ?)
"""
_UNTIL = "select until from holds where counter = ? and reservation = ?"
# Holds that one statement looks at: there are as many statements, and SQLite keeps a hundred of them prepared.
_LOOKED_AT = 32
_PARTS = """
select json_group_array(json_array(asked.key, bucket, amount))
from json_each(?) as asked cross join totals
on counter = json_extract(value, '$[0]') and bucket >= json_extract(value, '$[1]')
"""
_SET_ASIDE = "insert into holds (counter, reservation, amount, until) values (?, ?, ?, ?)"
_GIVE_BACK = """
delete from holds where (counter, reservation) in
(select json_extract(value, '$[0]'), json_extract(value, '$[1]') from json_each(?))
"""
_GIVE_BACK_ALL = "delete from holds where reservation in (select value from json_each(?))"
_TAKE_OVER = """
insert into totals (counter, bucket, amount, expires_at)
select json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'), json_extract(value, '$[3]')
from json_each(?) where true
on conflict (counter, bucket) do update
set amount = max(amount, excluded.amount), expires_at = max(expires_at, excluded.expires_at)
"""
_UNDER_WAY = """
select json_group_array(json_array(reservation, counter)) from holds
where reservation in (select reservation from holds where counter in (select value from json_each(?)))
"""
_CLAIM = """
insert into claims (name, expires_at) values (?1, ?2)
on conflict (name) do update set expires_at = excluded.expires_at where claims.expires_at <= ?3
"""
_READ = """
select json_group_array(json_array(
  asked.key,
  coalesce((select sum(amount) from totals
            where counter = json_extract(value, '$[0]') and bucket >= json_extract(value, '$[1]')), 0),
  coalesce((select sum(amount) from holds where counter = json_extract(value, '$[0]') and until > ?2), 0)))
from json_each(?1) as asked
"""


class Reservation(msgspec.Struct, frozen=True):
    """What one request asks for at once, as in ``CounterStore.reserve``."""

    id: str
    holds: tuple[Hold, ...]
    until: float
    now: float


def reserve(connection: sqlite3.Connection, reservations: Sequence[Reservation]) -> list[Verdict]:
    """Decides on each in its order, as if the ones before had been alone."""
    held, settled, mine = _levels(connection, reservations)
    known = set(mine)
    verdicts: list[Verdict] = []
    wanted: _Mine = {}
    for reservation in reservations:
        verdict, admitted = _decide(reservation, held, settled, mine)
        verdicts.append(verdict)
        for hold in admitted:
            key = hold.counter, reservation.id
            before, until = mine.get(key, (0, reservation.until))
            held[hold.counter] += hold.amount - before
            mine[key] = wanted[key] = hold.amount, max(until, reservation.until)
    raised = known.intersection(wanted)
    if raised:
        connection.execute(_GIVE_BACK, (_json(list(raised)),))
    if wanted:
        connection.executemany(_SET_ASIDE, [(*key, *hold) for key, hold in wanted.items()])
    return _with_times(connection, reservations, verdicts)


def release(connection: sqlite3.Connection, releases: Sequence[Release]) -> None:
    """Gives back what was set aside, all that a reservation has where no counter is named; what is not there is no error."""
    pairs = [(counter, over.reservation) for over in releases for counter in over.counters]
    if pairs:
        connection.execute(_GIVE_BACK, (_json(pairs),))
    unnamed = [over.reservation for over in releases if not over.counters]
    if unnamed:
        connection.execute(_GIVE_BACK_ALL, (_json(unnamed),))


def take_over(connection: sqlite3.Connection, totals: Iterable[Total]) -> None:
    """Notes totals; they only ever grow, so one that comes late changes nothing."""
    rows = [(total.counter, total.bucket, total.amount, total.expires_at) for total in totals]
    if rows:
        connection.execute(_TAKE_OVER, (_json(rows),))


def read(connection: sqlite3.Connection, queries: Sequence[Query], now: float) -> tuple[Level, ...]:
    """The levels, in the order of the queries; needs no transaction."""
    asked = _json([(query.counter, query.since) for query in queries])
    found = _one(connection, _READ, (asked, now))
    levels = {place: Level(settled, held) for place, settled, held in found}
    return tuple(levels[place] for place in range(len(queries)))


def under_way(connection: sqlite3.Connection, counters: Sequence[str]) -> tuple[Release, ...]:
    """Every reservation that has something set aside in one of these counters, with all its counters; needs no transaction."""
    found: dict[str, list[str]] = {}
    for reservation, counter in _one(connection, _UNDER_WAY, (_json(counters),)):
        found.setdefault(reservation, []).append(counter)
    return tuple(Release(reservation, tuple(held)) for reservation, held in found.items())


def claim(connection: sqlite3.Connection, name: str, expires_at: float, now: float) -> bool:
    """True when nobody else has the claim now."""
    return connection.execute(_CLAIM, (name, expires_at, now)).rowcount == 1


_Held = dict[str, int]
_Settled = dict[tuple[str, int], int]
# Amount and end of what the reservations that ask have already.
_Mine = dict[tuple[str, str], tuple[int, float]]


def _levels(connection: sqlite3.Connection, reservations: Sequence[Reservation]) -> tuple[_Held, _Settled, _Mine]:
    """What every hold finds, once what has expired is gone."""
    now = max(reservation.now for reservation in reservations)
    asked = [(hold.counter, hold.since, reservation.id) for reservation in reservations for hold in reservation.holds]
    held: _Held = {}
    settled: _Settled = {}
    mine: _Mine = {}
    for first in range(0, len(asked), _LOOKED_AT):
        some = asked[first : first + _LOOKED_AT]
        values: list[Any] = [now]
        for counter, since, reservation in some:
            values += (counter, counter, since, counter, reservation)
        has_expired, *found = connection.execute(_look_at(len(some)), values).fetchone()
        if has_expired:
            connection.execute(_EXPIRE, (now,))
            return _levels(connection, reservations)
        for place, (counter, since, reservation) in enumerate(some):
            held[counter], settled[counter, since], own = found[3 * place : 3 * place + 3]
            if own is not None:
                until = connection.execute(_UNTIL, (counter, reservation)).fetchone()[0]
                mine[counter, reservation] = own, until
    return held, settled, mine


@cache
def _look_at(holds: int) -> str:
    levels = ", ".join([_LEVEL] * holds)
    return f"select exists (select 1 from holds where until <= ?), {levels}"  # noqa: S608 - nothing but our own text


def _decide(reservation: Reservation, held: _Held, settled: _Settled, mine: _Mine) -> tuple[Verdict, list[Hold]]:
    levels: list[Level] = []
    refused: list[int] = []
    beyond: list[int] = []
    admitted: list[Hold] = []
    for place, hold in enumerate(reservation.holds):
        key = hold.counter, reservation.id
        own, _ = mine.get(key, (0, 0.0))
        level = Level(settled[hold.counter, hold.since], held[hold.counter] - own)
        levels.append(level)
        if key in mine and hold.amount <= own:
            continue
        if hold.kind == "count" or level.used + hold.amount <= hold.limit:
            admitted.append(hold)
        elif hold.kind == "enforce":
            refused.append(place)
        elif key not in mine:
            beyond.append(place)
    verdict = Verdict(tuple(levels), tuple(refused), tuple(beyond))
    return verdict, ([] if refused else admitted)


def _with_times(connection: sqlite3.Connection, reservations: Sequence[Reservation], verdicts: list[Verdict]) -> list[Verdict]:
    """Adds to refusals when what is settled will have left the window."""
    places = [(index, place) for index, verdict in enumerate(verdicts) for place in verdict.refused]
    if not places:
        return verdicts
    holds = [reservations[index].holds[place] for index, place in places]
    parts: list[list[tuple[int, int]]] = [[] for _ in holds]
    for key, bucket, amount in _one(connection, _PARTS, (_json([(hold.counter, hold.since) for hold in holds]),)):
        parts[key].append((bucket, amount))
    times: dict[int, list[float | None]] = {}
    for (index, _), hold, settled in zip(places, holds, parts, strict=True):
        times.setdefault(index, []).append(_free_at(hold, sorted(settled)))
    for index, free_at in times.items():
        verdicts[index] = msgspec.structs.replace(verdicts[index], free_at=tuple(free_at))
    return verdicts


def _free_at(hold: Hold, parts: Sequence[tuple[int, int]]) -> float | None:
    missing = sum(amount for _, amount in parts) + hold.amount - hold.limit
    if missing <= 0:
        return None
    for bucket, amount in parts:
        missing -= amount
        if missing <= 0:
            # All parts of a window count equally long.
            return float(bucket + hold.expires_at - hold.bucket)
    return None


def _one(connection: sqlite3.Connection, statement: str, values: tuple[Any, ...]) -> Any:
    return msgspec.json.decode(connection.execute(statement, values).fetchone()[0])


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
