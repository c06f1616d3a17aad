"""A rehearsal says what admission would do, and leaves no trace."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from router_extproc.decision import Constraints, Decision
from router_extproc.limits.claims import budgets_for
from router_extproc.limits.ladder import Proceed, Refuse
from router_extproc.limits.rehearsal import rehearse, with_levels
from router_extproc.outlook import Rehearsal
from router_extproc.registry.snapshot import Registry
from router_extproc.registry.spending import Budget, Window
from router_extproc.request import Request
from router_extproc.router import Router, Situation
from router_extproc.store.counters import Level, Query, StoreUnavailableError
from tests.limits.cases import ACME, NOON, decide, registry, request, walk
from tests.limits.model_store import ModelStore

DAY = Window(calendar="day")
TODAY = 1_772_582_400
BEST = request("best")


def readings(found: Registry, asked: Request):  # type: ignore[no-untyped-def]  # noqa: ANN201 - a generator, as it comes
    def again(constraints: Constraints) -> Decision:
        return Router(found).decide(asked, Situation(now=NOON, constraints=constraints))

    return rehearse(asked, decide(found, asked), found, budgets_for(found), again, NOON)


def rehearsed(found: Registry, asked: Request, store: ModelStore) -> Rehearsal:
    """Driven with the levels of a store that nothing is asked of but these."""

    async def read(queries: tuple[Query, ...]) -> list[Level]:
        return [level(store, query) for query in queries]

    return asyncio.run(with_levels(readings(found, asked), read))


def level(store: ModelStore, query: Query) -> Level:
    settled = sum(a for (name, bucket), a in store.settled.items() if name == query.counter and bucket >= query.since)
    return Level(settled, sum(a for (_, name), a in store.held.items() if name == query.counter))


def spent(amount: int, *, counter: str = "usd:daily") -> ModelStore:
    store = ModelStore()
    store.settled[counter, TODAY] = amount
    return store


def test_budgets_are_shown_with_what_they_have_and_what_is_wanted() -> None:
    """Money is decimal text, the place that a budget counts is named, and what has room fits."""
    found = registry(
        Budget("daily", "usd", 10_000_000, DAY, per=("tenant",)),
        Budget("dear", "requests", 5, DAY, match=(("model", "large"),)),
    )
    store = spent(1_500_000, counter="usd:daily|tenant=acme")
    daily, dear = rehearsed(found, BEST, store).budgets
    assert (daily.name, daily.scope, daily.cap, daily.settled, daily.reserved) == (
        ("daily", "tenant=acme", "10.000000", "1.500000", "0.000000")
    )
    assert (daily.outcome, daily.resets_at, daily.deployments) == ("fits", TODAY + 86_400, None)
    assert (dear.wanted, dear.cap, dear.settled, dear.deployments) == (1, 5, 0, ("three/large",))


def test_a_downgrade_is_told_with_the_chain_that_it_leads_to() -> None:
    """Near the cap the rehearsal shows the cheaper place and the reason that the request would get."""
    shown = rehearsed(registry(Budget("daily", "usd", 10_000_000, DAY)), BEST, spent(9_500_000))
    assert shown.reasons == ("budget-downgrade:daily",)
    assert shown.chain[0] == "two/medium"
    assert shown.refusal is None


def test_a_refusal_is_told_with_its_time() -> None:
    """The error, when there is room again, and the budget that has none."""
    shown = rehearsed(registry(Budget("calls", "requests", 3, DAY)), BEST, spent(3, counter="requests:calls"))
    assert shown.refusal is not None
    assert (shown.refusal.status, shown.refusal.code, shown.refusal.retry_after) == (429, "rate_limit_exceeded", 43_200)
    assert [one.outcome for one in shown.budgets] == ["no room"]
    assert shown.chain == ()


def test_what_only_watches_changes_nothing_and_says_what_it_would_do() -> None:
    """An observed budget that is full, and one that lets pass what is over."""
    watching = Budget("watching", "usd", 1, DAY, mode="observe")
    lenient = Budget("lenient", "usd", 1, DAY, at_cap="allow_and_flag")
    shown = rehearsed(registry(watching, lenient), BEST, ModelStore())
    assert [one.outcome for one in shown.budgets] == ["would refuse", "over, let pass"]
    assert shown.refusal is None


def test_without_levels_counters_are_empty_and_it_is_said() -> None:
    """Which budgets apply and what is wanted is known without a store; what is used is not."""

    async def read(_: tuple[Query, ...]) -> list[Level]:
        raise StoreUnavailableError("it is away")

    shown = asyncio.run(with_levels(readings(registry(Budget("daily", "usd", 10_000_000, DAY)), BEST), read))
    assert not shown.levels_known
    assert [(one.name, one.settled, one.reserved, one.outcome) for one in shown.budgets] == [("daily", None, None, "fits")]
    assert shown.refusal is None


def test_a_request_without_budgets_asks_for_nothing() -> None:
    """Nobody is asked for levels where nothing is counted."""
    with pytest.raises(StopIteration) as ended:
        next(readings(registry(), BEST))
    assert ended.value.value.budgets == ()


@given(st.integers(0, 12_000_000), st.integers(0, 6), st.integers(1, 12_000_000))
def test_a_rehearsal_says_what_happens(used: int, calls: int, cap: int) -> None:
    """With the same levels, the request in earnest passes or is refused, goes and is changed as it was foretold."""
    found = registry(
        Budget("daily", "usd", cap, DAY),
        Budget("calls", "requests", 5, DAY),
        Budget("dear", "usd", 50_000, DAY, match=(("model", "large"),)),
    )
    store = spent(used)
    store.settled["requests:calls", TODAY] = calls
    shown = rehearsed(found, BEST, store)
    assert not store.held
    step, decision = walk(found, BEST, store)
    assert isinstance(step, Refuse) == (shown.refusal is not None)
    if isinstance(step, Proceed):
        assert shown.reasons == step.reasons
        assert shown.max_output_tokens == step.max_output_tokens
        assert shown.chain == tuple(attempt.deployment for attempt in decision.chain)


def test_whom_a_budget_counts_is_said_as_budgets_show_says_it() -> None:
    """A user counts within a tenant, and both are named."""
    asked = request("best", replace(ACME, user="ann"))
    [each] = rehearsed(registry(Budget("each", "usd", 10_000_000, DAY, per=("user",))), asked, ModelStore()).budgets
    assert each.scope == "tenant=acme,user=ann"
