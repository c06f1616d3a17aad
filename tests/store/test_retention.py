"""Forgetting in the ledger's file: a stretch at a time, round and round, and never what still counts."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest

from router_extproc.store.ledger_file import LEDGER
from router_extproc.store.retention import Sweep, delete

NOW = 10_000.0
LONG_OVER, STILL_COUNTS = 6_000, 6_500


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    opened = sqlite3.connect(":memory:", isolation_level=None)
    opened.executescript(LEDGER.statements)
    yield opened
    opened.close()


def forget(connection: sqlite3.Connection, sweep: Sweep, before: float = 0.0) -> int:
    return delete(connection, sweep.find(connection, before, NOW), NOW)


def column(connection: sqlite3.Connection, statement: str) -> list[object]:
    return [value for (value,) in connection.execute(statement)]


def test_totals_go_a_stretch_at_a_time(connection: sqlite3.Connection) -> None:
    """However many there are, few are looked at in one go, and all in turn; those that may still be settled stay."""
    rows = [(f"c{number:02}", 0, 1, LONG_OVER if number % 2 else STILL_COUNTS) for number in range(20)]
    connection.executemany("insert into totals values (?, ?, ?, ?)", rows)
    connection.execute("insert into untold_totals select counter, bucket from totals")
    sweep = Sweep(stretch=8)
    assert [forget(connection, sweep) for _ in range(4)] == [8, 8, 4, 0]
    assert column(connection, "select counter from totals") == [f"c{number:02}" for number in range(0, 20, 2)]
    assert column(connection, "select counter from untold_totals") == column(connection, "select counter from totals")
    connection.execute("insert into totals values ('c00', 1, 1, ?)", (LONG_OVER,))
    assert sum(forget(connection, sweep) for _ in range(3)) == 1


def test_few_are_deleted_at_once(connection: sqlite3.Connection) -> None:
    """Where much is old, a stretch is gone through several times."""
    connection.executemany("insert into totals values (?, 0, 1, ?)", [(f"c{number}", LONG_OVER) for number in range(9)])
    sweep = Sweep(at_once=4)
    assert [forget(connection, sweep) for _ in range(3)] == [4, 4, 1]


def test_counters_go_when_nothing_is_set_aside(connection: sqlite3.Connection) -> None:
    """A counter whose reservations have ended, or expire now, leaves nothing; one with a reservation keeps its sum."""
    holds = [("ended", "r1", 5, NOW + 1), ("expired", "r2", 5, NOW), ("held", "r3", 5, NOW + 1), ("held", "r4", 7, NOW)]
    connection.executemany("insert into holds values (?, ?, ?, ?)", holds)
    connection.execute("delete from holds where reservation = 'r1'")
    sweep = Sweep()
    assert forget(connection, sweep) + forget(connection, sweep) == 4
    assert connection.execute("select * from counters").fetchall() == [("held", 5)]
    assert connection.execute("select * from holds").fetchall() == [("held", "r3", 5, NOW + 1)]


def test_claims_and_rows_go_by_their_times(connection: sqlite3.Connection) -> None:
    """Claims that have ended, and rows older than what is to be kept."""
    connection.executemany("insert into claims values (?, ?)", [("ended", NOW - 1), ("taken", NOW + 1)])
    columns = ", ".join(["0"] * 21)
    connection.executemany(f"insert into ledger values (?, ?, {columns.removeprefix('0, ')})", [(1, "old"), (2, "new")])  # noqa: S608
    connection.execute("drop trigger ledger_is_append_only")
    connection.execute("update ledger set at = sequence * 100")
    assert forget(connection, Sweep(), before=200.0) == 2
    assert column(connection, "select name from claims") == ["taken"]
    assert column(connection, "select request from ledger") == ["new"]
