"""What a worker knows of the windows before: read once, again a while later, and nothing without a store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from router_extproc.extproc import carried
from router_extproc.extproc.carried import CarriedAmounts
from router_extproc.registry.snapshot import Registry
from router_extproc.registry.spending import Budget, StoreSettings, Window
from router_extproc.store.counters import CounterStore, Level, Query, StoreUnavailableError
from tests.limits.cases import NOON, claim, registry, request

CAP = 1_000
# The beginnings of February and of March 2026: it is noon of the fourth of March.
BEFORE, THIS = 1_769_904_000, 1_772_323_200
FEW_MINUTES = 180.0


class Told:
    """A store that says what it is told to say, and remembers what it was asked."""

    def __init__(self) -> None:
        self.levels = {BEFORE: Level(400), THIS: Level(100)}
        self.is_away = False
        self.asked: list[Sequence[Query]] = []

    async def read(self, queries: Sequence[Query], now: float) -> tuple[Level, ...]:
        assert now >= THIS
        self.asked.append(queries)
        if self.is_away:
            raise StoreUnavailableError("away")
        return tuple(self.levels[query.since] for query in queries)

    def set_aside(self, amount: int) -> None:
        self.levels = {since: Level(level.settled, amount) for since, level in self.levels.items()}


class Worker:
    """One worker's knowledge, under a clock of its own; ``cap`` asks for the cap in force."""

    def __init__(self) -> None:
        self.elapsed = 0.0
        self.store: Any = Told()
        self.amounts = CarriedAmounts(lambda: self.elapsed)

    async def cap(self, found: Registry, now: float = NOON) -> int:
        def store() -> CounterStore:
            told: CounterStore = self.store
            return told

        wanted = await self.amounts.add_to(claim(found, request(), now=now), found, store, now)
        [limit] = {hold.limit for hold in wanted.holds} | {held.limit for held in wanted.account.held}
        return limit


@pytest.fixture
def worker() -> Worker:
    return Worker()


def monthly(**more: Any) -> Registry:
    written: dict[str, Any] = {
        "name": "b",
        "unit": "usd",
        "cap": CAP,
        "window": Window(calendar="month"),
        "rollover_since": 0.0,
    }
    return registry(Budget(**written | more))


async def test_a_counter_and_window_is_read_once(worker: Worker) -> None:
    """The first request costs a round trip, the others none, until a minute later late settlements count."""
    found = monthly()
    assert [await worker.cap(found) for _ in range(3)] == [CAP + 700] * 3
    assert len(worker.store.asked) == 1
    worker.store.levels = {BEFORE: Level(450), THIS: Level(100)}
    worker.elapsed = 60.0
    assert await worker.cap(found) == CAP + 650
    assert len(worker.store.asked) == 2


async def test_budgets_without_rollover_are_not_read(worker: Worker) -> None:
    """Whoever does not use it pays nothing for it."""
    assert await worker.cap(monthly(rollover_since=None)) == CAP
    assert worker.store.asked == []


async def test_without_a_store_nothing_is_carried(worker: Worker) -> None:
    """The smaller cap is the safe one; the store is not asked with each request, and what it then says holds."""
    found = monthly()
    worker.store.is_away = True
    assert [await worker.cap(found) for _ in range(3)] == [CAP] * 3
    assert len(worker.store.asked) == 1
    worker.store.is_away, worker.elapsed = False, 1.0
    assert await worker.cap(found) == CAP + 700


async def test_what_is_known_holds_while_the_store_is_away(worker: Worker) -> None:
    """A cap does not shrink because of a minute's outage: nobody can have spent more of the last window than was expected."""
    found = monthly()
    assert await worker.cap(found) == CAP + 700
    worker.store.is_away, worker.elapsed = True, 60.0
    assert await worker.cap(found) == CAP + 700


async def test_what_may_still_be_settled_in_the_last_window_is_not_carried(worker: Worker) -> None:
    """At the turn what is set aside counts as used there; what is set aside later does not, and soon it is looked again."""
    found, turn = monthly(), THIS + FEW_MINUTES
    worker.store.set_aside(200)
    assert await worker.cap(found, turn) == CAP + 500
    worker.store.set_aside(600)
    worker.elapsed = 5.0
    assert await worker.cap(found, turn) == CAP + 500
    worker.store.set_aside(50)
    worker.elapsed = 10.0
    assert await worker.cap(found, turn) == CAP + 650
    assert len(worker.store.asked) == 3


async def test_what_cannot_be_settled_any_more_is_carried_whole(worker: Worker) -> None:
    """After the time that a reservation may last, everything that is set aside belongs to this window."""
    found = monthly()
    lasting = found.spending.store.reservation_ms / 1_000
    assert lasting == StoreSettings().reservation_ms / 1_000
    worker.store.set_aside(200)
    assert await worker.cap(found, THIS + lasting - 1) == CAP + 500
    worker.elapsed = 5.0
    assert await worker.cap(found, THIS + lasting) == CAP + 700


async def test_what_is_known_is_bounded(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A million users cost no memory for a million windows: the oldest are forgotten, and asked for again."""
    monkeypatch.setattr(carried, "_MOST_KNOWN", 10)
    caps = [await worker.cap(monthly(name=f"b{number}")) for number in range(25)]
    assert caps == [CAP + 700] * 25
    assert len(worker.amounts._known) <= 10
    assert await worker.cap(monthly(name="b24")) == CAP + 700
    assert len(worker.store.asked) == 25
    assert await worker.cap(monthly(name="b0")) == CAP + 700
    assert len(worker.store.asked) == 26
