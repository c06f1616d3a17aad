"""The counters of an observer's own ledger: what a worker would read in the same file."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from router_extproc.observer.own_counters import OwnCounters
from router_extproc.store.counters import Hold, Level, Query, StoreUnavailableError
from router_extproc.store.ledger import Charge, Ledger, LedgerRow, Settlement
from router_extproc.store.sqlite_counters import SqliteCounters

NOW = 1_000.0
QUERIES = [Query("a", 960), Query("nobody", 0), Query("a", 961)]


class Sides(NamedTuple):
    """One file as the observer has it, twice, and as a worker has it."""

    path: Path
    books: Ledger
    own: OwnCounters
    store: SqliteCounters


@pytest.fixture
async def sides(tmp_path: Path) -> AsyncIterator[Sides]:
    path = tmp_path / "ledger.sqlite"
    store = SqliteCounters(path)
    with closing(Ledger(path)) as books:
        yield Sides(path, books, OwnCounters(books, store), store)
    await store.aclose()


async def test_levels_are_those_that_workers_read(sides: Sides) -> None:
    """What is settled and what is set aside, in the order of the questions, as soon as it was written by either side."""
    sides.books.record([Settlement(LedgerRow(request="d-1", attempt=1, at=NOW), (Charge("a", 960, 7, 1_020),))])
    await sides.store.reserve("d-2", [Hold("a", 960, 960, 5, 100, "enforce", 1_020)], NOW + 60, NOW)
    levels = await sides.own.read(QUERIES, NOW)
    assert levels == await sides.store.read(QUERIES, NOW) == (Level(7, 5), Level(0, 0), Level(0, 5))


async def test_a_claim_is_one_for_all(sides: Sides) -> None:
    """Who claims by the ledger and who claims by the store are the same to each other."""
    assert await sides.own.claim("alert:a", NOW + 60, NOW)
    assert not await sides.store.claim("alert:a", NOW + 60, NOW)
    assert not await sides.own.claim("alert:a", NOW + 60, NOW)


async def test_a_ledger_that_cannot_be_read_is_a_store_that_is_away(sides: Sides) -> None:
    """So that alerts are compared again later, as with any other store."""
    sides.path.unlink()
    sides.path.mkdir()
    with pytest.raises(StoreUnavailableError):
        await sides.own.read(QUERIES, NOW)
