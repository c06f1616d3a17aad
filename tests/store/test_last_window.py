"""What was settled in the last window of a budget with rollover can be read to the end of this one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import pytest_asyncio

from router_extproc.account import Held
from router_extproc.limits.rollover import carry_into, most_used
from router_extproc.registry.spending import Budget, Window
from router_extproc.store.counters import CounterStore, Total
from router_extproc.store.sqlite_counters import SqliteCounters
from tests.limits.cases import claim, registry, request
from tests.redis_servers import single_redis
from tests.store.redis_counting import opened, ready, single

BUDGET = Budget("b", "usd", 1_000, Window(calendar="month"), rollover_since=0.0)


@pytest_asyncio.fixture(params=["sqlite", "redis"])
async def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[CounterStore]:
    if request.param == "sqlite":
        counters = SqliteCounters(tmp_path / "ledger.sqlite")
        yield counters
        await counters.aclose()
        return
    monkeypatch.setattr("router_extproc.store.redis_recovery.WAIT_MS", 0)
    with single_redis(tmp_path) as server:
        async with opened(single(server)) as counting:
            await ready(counting)
            yield counting


def at(*day: int) -> float:
    return datetime(*day, tzinfo=UTC).timestamp()  # type: ignore[arg-type,misc]  # year, month, day


def held_at(now: float) -> Held:
    [held] = claim(registry(BUDGET), request(), now=now).account.held
    return held


async def settle(store: CounterStore, now: float, amount: int) -> None:
    held = held_at(now)
    await store.settle([Total(held.counter, held.bucket, amount, held.expires_at)], (), now)


@pytest.mark.parametrize("late", [(2027, 1, 2), (2027, 1, 31)])
async def test_the_last_month_is_known_as_long_as_this_one_lasts(store: CounterStore, late: tuple[int, ...]) -> None:
    """Also where this month is used for the first time on its last day, and the next month is shorter than the last one."""
    await settle(store, at(2026, 11, 3), 5_000)
    await settle(store, at(2026, 12, 3), 300)
    await settle(store, at(*late), 20)
    carry = carry_into(BUDGET, held_at(at(*late)).counter, held_at(at(*late)).bucket)
    assert carry is not None
    since_previous, since_this = await store.read(carry.queries, at(2027, 1, 31))
    assert most_used(since_previous, since_this) == 300
