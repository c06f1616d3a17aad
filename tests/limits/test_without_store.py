"""Without a store each budget says what happens, and nothing is forgotten."""

from __future__ import annotations

from typing import Any

import pytest

from router_extproc.errors import UnavailableError
from router_extproc.limits.ladder import Again, Alone, Proceed, Refuse, next_step, on_store_failure
from router_extproc.registry.spending import Budget, Window
from router_extproc.store.counters import Level, Verdict
from tests.limits.cases import NOON, claim, decide, registry, request
from tests.limits.model_store import ModelStore

DAY = Window(calendar="day")
ASKED = request("large")


def budget(name: str, cap: int = 1_000, **more: Any) -> Budget:
    return Budget(name, "requests", cap, DAY, **more)


def test_a_budget_that_fails_closed_refuses() -> None:
    """One closed budget among open ones is enough, and the error says when to try again and which budget it was."""
    found = on_store_failure(claim(registry(budget("open"), budget("shut", on_store_failure="fail_closed")), ASKED))
    assert isinstance(found, Refuse)
    assert isinstance(found.error, UnavailableError)
    assert (found.error.code, found.error.status, found.budget) == ("store_unavailable", 503, "shut")
    assert found.error.retry_after
    assert "shut" in found.error.message


@pytest.mark.parametrize(
    "more",
    [{"on_store_failure": "fail_open"}, {"mode": "observe", "on_store_failure": "fail_closed"}, {"at_cap": "allow_and_flag"}],
)
def test_what_lets_pass_is_settled_all_the_same(more: dict[str, Any]) -> None:
    """A budget that lets pass asks nothing of the local store and stays in the account, to be settled later."""
    registered = registry(budget("b", **{"on_store_failure": "local_share"} | more))
    wanted = claim(registered, ASKED)
    found = on_store_failure(wanted)
    assert isinstance(found, Alone)
    assert found.claim.holds == ()
    assert found.claim.account.held == wanted.account.held
    step = next_step(found.claim, Verdict(()), registered, ASKED, decide(registered, ASKED), NOON)
    assert isinstance(step, Proceed)
    assert step.degraded
    assert step.account == found.claim.account


@pytest.mark.parametrize(("share", "passing"), [(0.1, 10), (0.29, 29), (0.0, 0), (1.0, 100)])
def test_a_local_share_is_kept_exactly(share: float, passing: int) -> None:
    """Alone, an instance lets as many requests pass as its share of the cap, in whole numbers of the written decimal."""
    registered = registry(budget("b", 100, on_store_failure="local_share", local_share=share))
    store, passed = ModelStore(), 0
    for index in range(110):
        alone = on_store_failure(claim(registered, ASKED, reservation=f"r{index}"))
        assert isinstance(alone, Alone)
        verdict = store.reserve(f"r{index}", alone.claim.holds)
        step = next_step(alone.claim, verdict, registered, ASKED, decide(registered, ASKED), NOON)
        if isinstance(step, Proceed):
            passed += 1
            if index % 2:
                store.settle(step.account, {})
    assert passed == passing


def test_what_is_spent_alone_counts_here_and_in_the_budget() -> None:
    """The share has a counter of its own that alerts nobody; the budget is settled beside it for when the store is back."""
    found = on_store_failure(claim(registry(budget("b", on_store_failure="local_share")), ASKED))
    assert isinstance(found, Alone)
    shared, local = found.claim.account.held
    assert (shared.counter, shared.budget, shared.limit) == ("requests:b", "b", 1_000)
    assert (local.counter, local.budget, local.limit, local.amount) == ("local:requests:b", "", 0, 1)
    assert [hold.limit for hold in found.claim.holds] == [100]
    assert found.claim.budgets[0].name == "b"


def test_a_place_that_fails_closed_is_closed_and_others_are_used() -> None:
    """A provider whose budget cannot be read is left out; only when nothing else is left is the request refused."""
    found = registry(Budget("p", "usd", 10**6, DAY, (("provider", "three"),), on_store_failure="fail_closed"))
    asked = request("best")
    step = on_store_failure(claim(found, asked))
    assert isinstance(step, Again)
    assert dict(step.constraints.closed) == {"three/large": "p cannot be read"}
    assert decide(found, asked, step.constraints).chain[0].deployment == "two/medium"
    assert isinstance(on_store_failure(claim(found, asked, constraints=step.constraints)), Alone)
    refused = step.otherwise
    assert isinstance(refused, Refuse)
    assert (refused.error.code, refused.budget) == ("store_unavailable", "p")


def test_a_place_without_a_share_left_is_closed() -> None:
    """A provider's budget that has used up its share closes the provider, as it does with a store."""
    limit = Budget("p", "usd", 10**6, DAY, (("provider", "three"),), on_store_failure="local_share", local_share=0.5)
    registered, asked = registry(limit), request("best")
    alone = on_store_failure(claim(registered, asked))
    assert isinstance(alone, Alone)
    verdict = Verdict((Level(500_000),), (0,), (), (None,))
    step = next_step(alone.claim, verdict, registered, asked, decide(registered, asked), NOON)
    assert isinstance(step, Again)
    assert list(step.constraints.closed) == ["three/large"]
