"""Thresholds of budgets: exact, once for each window, over all instances, whoever dies in between."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from router_extproc.account import Held
from router_extproc.observer.alerts import Watch, alerts_of, text_of
from router_extproc.observer.spending_metrics import SpendingMetrics
from router_extproc.store.alerts import AlertOutbox
from router_extproc.store.counters import CounterStore, Level
from router_extproc.store.ledger import Charge, Ledger, LedgerRow, Settlement
from router_extproc.store.sqlite_counters import SqliteCounters

NOW = 1_772_366_400.0
MONTH = Held("usd:month|team=a%20b", "usd", 1_772_323_200, 1_772_323_200, 5, 1_775_001_900, "month", 1_000, (0.8, 1.0))
ROLLING = Held("requests:pace", "requests", 1_772_366_400, 1_772_280_000, 1, 1_772_453_000, "pace", 10, (0.8,))


@pytest.mark.parametrize(
    ("settled", "reached"), [(0, []), (799, []), (800, [0.8]), (999, [0.8]), (1_000, [0.8, 1.0]), (5_000, [0.8, 1.0])]
)
def test_a_threshold_is_reached_exactly(settled: int, reached: list[float]) -> None:
    """Not one micro-dollar early or late."""
    assert [alert.threshold for alert in alerts_of(MONTH, Level(settled), NOW)] == reached


@given(limit=st.integers(1, 10**15), percent=st.integers(1, 100))
def test_shares_are_decimals(limit: int, percent: int) -> None:
    """A share that floating point cannot hold is compared as it is written."""
    held = replace(MONTH, limit=limit, warn_at=(percent / 100,))
    least = -(-limit * percent // 100)
    assert alerts_of(held, Level(least), NOW)
    assert not alerts_of(held, Level(least - 1), NOW)


def test_what_is_set_aside_alerts_nobody() -> None:
    """It may be given back."""
    assert alerts_of(MONTH, Level(settled=0, held=10**9), NOW) == []


def test_another_window_is_another_alert() -> None:
    """Calendar windows by their number; a rolling one again when the claim has ended, with the window it was raised in."""
    [march, _] = alerts_of(MONTH, Level(1_000), NOW)
    [april, _] = alerts_of(replace(MONTH, bucket=1_775_001_600, since=1_775_001_600), Level(1_000), NOW)
    assert march.name != april.name
    assert march.expires_at > MONTH.expires_at  # a window's last requests are settled when it is over
    [first] = alerts_of(ROLLING, Level(9), NOW)
    [second] = alerts_of(replace(ROLLING, bucket=ROLLING.bucket + 1_440, since=ROLLING.since + 1_440), Level(9), NOW)
    assert (first.name, first.expires_at) == (second.name, ROLLING.expires_at)


def test_the_words() -> None:
    """Whose budget, which share of how much, and how much it is now."""
    [alert] = alerts_of(replace(MONTH, warn_at=(0.125,)), Level(127), NOW)
    assert text_of(alert) == "Budget month (team=a b) has used 12.5 % of 0.001000 USD: 0.000127 USD."
    [alert] = alerts_of(ROLLING, Level(8), NOW)
    assert text_of(alert) == "Budget pace has used 80 % of 10 requests: 8 requests."
    assert "has used 100 %" in text_of(alerts_of(MONTH, Level(1_000), NOW)[1])


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[CounterStore]:
    """With the month's budget used up."""
    with closing(Ledger(tmp_path / "ledger.sqlite")) as ledger:
        charge = Charge(MONTH.counter, MONTH.bucket, 1_000, MONTH.expires_at)
        ledger.record([Settlement(LedgerRow(request="d", attempt=1, at=NOW), (charge,))])
    counters = SqliteCounters(tmp_path / "ledger.sqlite")
    yield counters
    await counters.aclose()


class Instance:
    """One that watches, with its own outbox and figures."""

    def __init__(self, folder: Path, name: str, *, is_alone: bool = False) -> None:
        self.outbox = AlertOutbox(folder / f"{name}.sqlite")
        self.figures = CollectorRegistry()
        self.watch = Watch(self.outbox, SpendingMetrics(self.figures), is_alone=is_alone)

    def raised(self) -> list[tuple[float, str]]:
        return [(stored.alert.threshold, stored.state) for stored in self.outbox.recent()]


@pytest.fixture
def instances(tmp_path: Path) -> Iterator[list[Instance]]:
    made = [Instance(tmp_path, name) for name in "abc"]
    yield made
    for each in made:
        each.outbox.close()


async def test_one_of_several_instances_alerts(store: CounterStore, instances: list[Instance]) -> None:
    """Each threshold once, whoever comes first, however often they look."""
    for _ in range(3):
        for each in instances:
            await each.watch.check(store, [MONTH], NOW, delivers=True)
    assert sorted(alert for each in instances for alert in each.raised()) == [(0.8, "due"), (1.0, "due")]
    assert [each.outbox.claiming() for each in instances] == [[], [], []]


async def test_who_dies_before_the_claim_is_followed_by_one_who_claims(store: CounterStore, tmp_path: Path) -> None:
    """What was written down and not claimed is raised by the next process."""
    for is_alone in (True, False):
        name = f"alone-{is_alone}"
        first = Instance(tmp_path, name)
        held = replace(MONTH, warn_at=(0.8,), budget=name, counter=MONTH.counter + name)
        [alert] = alerts_of(held, Level(1_000), NOW)
        first.outbox.add(alert)
        first.outbox.close()
        successor = Instance(tmp_path, name, is_alone=is_alone)
        await successor.watch.resume(store, NOW, delivers=True)
        await successor.watch.resume(store, NOW, delivers=True)
        assert successor.raised() == [(0.8, "due")]
        successor.outbox.close()


@pytest.mark.parametrize("is_alone", [True, False])
async def test_who_dies_behind_the_claim(store: CounterStore, tmp_path: Path, is_alone: bool) -> None:  # noqa: FBT001 - a case
    """Alone, it was ours, and is raised; among others it may have been theirs: never twice."""
    first = Instance(tmp_path, "one")
    [alert] = alerts_of(replace(MONTH, warn_at=(0.8,)), Level(1_000), NOW)
    first.outbox.add(alert)
    assert await store.claim(alert.name, alert.expires_at, NOW)
    first.outbox.close()
    successor = Instance(tmp_path, "one", is_alone=is_alone)
    await successor.watch.resume(store, NOW, delivers=False)
    assert successor.raised() == ([(0.8, "told")] if is_alone else [])
    assert successor.outbox.claiming() == []
    successor.outbox.close()


async def test_budgets_that_alert_nobody_are_not_asked_for(instances: list[Instance]) -> None:
    """Without threshold or limit there is no question to the store."""
    nobody: CounterStore = None  # type: ignore[assignment] # asking it would fail
    await instances[0].watch.check(nobody, [replace(MONTH, warn_at=()), replace(MONTH, limit=0)], NOW, delivers=True)
    assert instances[0].raised() == []


def test_old_alerts_are_forgotten(instances: list[Instance]) -> None:
    """By when they were raised."""
    outbox = instances[0].outbox
    for seconds in (0, 100):
        [alert, _] = alerts_of(MONTH, Level(1_000), NOW + seconds)
        outbox.become(outbox.add(alert), "told")
    assert outbox.forget(NOW + 50) == 1
    assert [stored.alert.at for stored in outbox.recent()] == [NOW + 100]
