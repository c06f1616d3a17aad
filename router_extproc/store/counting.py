"""Counting in ``ledger.sqlite``: what a reservation finds, what it sets aside, what is given back.

Every function is to be called inside a transaction. Each sends few statements, whatever the number of holds: a thread lets
go of Python's lock at every step of a statement, and meanwhile all processes wait for the transaction's end.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from router_extproc.store.counters import Hold, Level, Query, Release, Total, Verdict

_EXPIRE = "delete from holds where until <= ?"
_LEVELS = """
select
  (select json_group_array(json_array(value, coalesce((select held from counters where counter = value), 0)))
   from json_each(?1)),
  (select json_group_array(json_array(key, coalesce((
     select sum(amount) from totals
     where counter = json_extract(value, '$[0]') and bucket >= json_extract(value, '$[1]')), 0)))
   from json_each(?2)),
  (select json_group_array(json_array(holds.counter, holds.reservation, holds.amount))
   from json_each(?3) as asked cross join holds
   on holds.counter = json_extract(asked.value, '$[0]') and holds.reservation = json_extract(asked.value, '$[1]'))
"""
_PARTS = """
select json_group_array(json_array(asked.key, bucket, amount))
from json_each(?) as asked cross join totals
on counter = json_extract(value, '$[0]') and bucket >= json_extract(value, '$[1]')
"""
_SET_ASIDE = """
insert into holds (counter, reservation, amount, until)
select json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'), json_extract(value, '$[3]')
from json_each(?)
"""
_GIVE_BACK = """
delete from holds where (counter, reservation) in
(select json_extract(value, '$[0]'), json_extract(value, '$[1]') from json_each(?))
"""
_TAKE_OVER = """
insert into totals (counter, bucket, amount, expires_at)
select json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'), json_extract(value, '$[3]')
from json_each(?) where true
on conflict (counter, bucket) do update
set amount = max(amount, excluded.amount), expires_at = max(expires_at, excluded.expires_at)
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
    connection.execute(_EXPIRE, (max(reservation.now for reservation in reservations),))
    held, settled, mine = _levels(connection, reservations)
    verdicts: list[Verdict] = []
    wanted: list[tuple[str, str, int, float]] = []
    for reservation in reservations:
        verdict, admitted = _decide(reservation, held, settled, mine)
        verdicts.append(verdict)
        for hold in admitted:
            held[hold.counter] += hold.amount
            mine[hold.counter, reservation.id] = hold.amount
            wanted.append((hold.counter, reservation.id, hold.amount, reservation.until))
    if wanted:
        connection.execute(_SET_ASIDE, (_json(wanted),))
    return _with_times(connection, reservations, verdicts)


def release(connection: sqlite3.Connection, releases: Iterable[Release]) -> None:
    """Gives back what was set aside; what is not there is no error."""
    pairs = [(counter, over.reservation) for over in releases for counter in over.counters]
    if pairs:
        connection.execute(_GIVE_BACK, (_json(pairs),))


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


def claim(connection: sqlite3.Connection, name: str, expires_at: float, now: float) -> bool:
    """True when nobody else has the claim now."""
    return connection.execute(_CLAIM, (name, expires_at, now)).rowcount == 1


_Held = dict[str, int]
_Settled = dict[tuple[str, int], int]
_Mine = dict[tuple[str, str], int]


def _levels(connection: sqlite3.Connection, reservations: Sequence[Reservation]) -> tuple[_Held, _Settled, _Mine]:
    counters = list({hold.counter for reservation in reservations for hold in reservation.holds})
    windows = list({(hold.counter, hold.since) for reservation in reservations for hold in reservation.holds})
    holds = list({(hold.counter, reservation.id) for reservation in reservations for hold in reservation.holds})
    row = connection.execute(_LEVELS, (_json(counters), _json(windows), _json(holds))).fetchone()
    held, settled, mine = (msgspec.json.decode(column) for column in row)
    return (
        dict(held),
        {windows[place]: amount for place, amount in settled},
        {(counter, reservation): amount for counter, reservation, amount in mine},
    )


def _decide(reservation: Reservation, held: _Held, settled: _Settled, mine: _Mine) -> tuple[Verdict, list[Hold]]:
    levels: list[Level] = []
    refused: list[int] = []
    beyond: list[int] = []
    admitted: list[Hold] = []
    for place, hold in enumerate(reservation.holds):
        own = mine.get((hold.counter, reservation.id))
        level = Level(settled[hold.counter, hold.since], held[hold.counter] - (own or 0))
        levels.append(level)
        if own is not None:
            continue
        if hold.kind == "count" or level.used + hold.amount <= hold.limit:
            admitted.append(hold)
        else:
            (refused if hold.kind == "enforce" else beyond).append(place)
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
