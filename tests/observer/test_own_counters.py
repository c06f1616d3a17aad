"""The counters of an observer's own ledger: what a worker would read in the same file."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from router_extproc.observer.own_counters import OwnCounters
from router_extproc.store.counters import Hold, Level, Query, StoreUnavailableError
from router_extproc.store.ledger import Charge, Ledger, LedgerRow, Settlement
from router_extproc.store.sqlite_counters import SqliteCounters

NOW = 1_000.0
QUERIES = [Query("a", 960), Query("nobody", 0), Query("a", 961)]


async def test_levels_are_those_that_workers_read(tmp_path: Path) -> None:
    """What is settled and what is set aside, in the order of the questions, as soon as it was written by either side."""
    path = tmp_path / "ledger.sqlite"
    store = SqliteCounters(path)
    with closing(Ledger(path)) as books:
        own = OwnCounters(books, store)
        books.record([Settlement(LedgerRow(request="d-1", attempt=1, at=NOW), (Charge("a", 960, 7, 1_020),))])
        await store.reserve("d-2", [Hold("a", 960, 960, 5, 100, "enforce", 1_020)], NOW + 60, NOW)
        levels = await own.read(QUERIES, NOW)
        assert levels == await store.read(QUERIES, NOW) == (Level(7, 5), Level(0, 0), Level(0, 5))
    await store.aclose()


async def test_a_claim_is_one_for_all(tmp_path: Path) -> None:
    """Who claims by the ledger and who claims by the store are the same to each other."""
    path = tmp_path / "ledger.sqlite"
    store = SqliteCounters(path)
    with closing(Ledger(path)) as books:
        own = OwnCounters(books, store)
        assert await own.claim("alert:a", NOW + 60, NOW)
        assert not await store.claim("alert:a", NOW + 60, NOW)
        assert not await own.claim("alert:a", NOW + 60, NOW)
    await store.aclose()


async def test_a_ledger_that_cannot_be_read_is_a_store_that_is_away(tmp_path: Path) -> None:
    """So that alerts are compared again later, as with any other store."""
    path = tmp_path / "ledger.sqlite"
    store = SqliteCounters(path)
    with closing(Ledger(path)) as books:
        own = OwnCounters(books, store)
        path.unlink()
        path.mkdir()
        with pytest.raises(StoreUnavailableError):
            await own.read(QUERIES, NOW)
    await store.aclose()
