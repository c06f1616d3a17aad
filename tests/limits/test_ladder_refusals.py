"""The ladder's last rung: what a refusal says, to whom, and when there will be room again."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from router_extproc.errors import LimitReachedError, RequestError, RequestLimitError, TokenLimitError
from router_extproc.limits.ladder import Proceed, Refuse, next_step
from router_extproc.limits.refusals import refusal_of
from router_extproc.registry.spending import Budget, Window
from router_extproc.store.counters import Level, Verdict
from tests.limits.cases import NOON, claim, decide, registry, request, walk
from tests.limits.ladders import BEST, DAY, spent, usd
from tests.limits.model_store import ModelStore

MINUTE = Window(rolling_seconds=60)


def test_a_refusal_names_the_budget_and_the_time() -> None:
    """The error says which budget has no room and when it resets, and nothing about amounts."""
    budget = usd(1_000, downgrade_at=None)
    found = registry(budget)
    wanted = replace(claim(found, BEST), holds=(replace(claim(found, BEST).holds[0], amount=500),))
    verdict = Verdict((Level(900, 0),), refused=(0,), free_at=(NOON + 3_600.2,))
    error = refusal_of(wanted, verdict, (0,), NOON).error
    assert isinstance(error, LimitReachedError)
    assert (error.status, error.type, error.code) == (429, "insufficient_quota", "budget_exceeded")
    assert error.retry_after == 3_601
    assert error.message == "The budget 'daily' has no room for this request. It resets at 2026-03-04T13:00:01Z."
    assert "900" not in error.message


@pytest.mark.parametrize(
    ("budget", "kind", "type_of_error"),
    [
        (Budget("b", "requests", 0, DAY), RequestLimitError, "requests"),
        (Budget("b", "parallel", 0), RequestLimitError, "requests"),
        (Budget("b", "tokens", 0, MINUTE, downgrade_at=None), TokenLimitError, "tokens"),
        (Budget("b", "tokens", 0, Window(calendar="minute"), downgrade_at=None), TokenLimitError, "tokens"),
        (Budget("b", "tokens", 0, DAY, downgrade_at=None), LimitReachedError, "insufficient_quota"),
        (Budget("b", "iterations", 0, DAY), LimitReachedError, "insufficient_quota"),
        (Budget("b", "usd", 0, DAY), LimitReachedError, "insufficient_quota"),
    ],
)
def test_errors_are_of_the_kinds_that_clients_know(budget: Budget, kind: type[RequestError], type_of_error: str) -> None:
    """Speed limits and quotas have OpenAI's own types and codes."""
    step, _ = walk(registry(budget), BEST, ModelStore())
    assert isinstance(step, Refuse)
    assert (type(step.error), step.error.type, step.budget) == (kind, type_of_error, "b")
    assert step.error.code == ("budget_exceeded" if type_of_error == "insufficient_quota" else "rate_limit_exceeded")


def test_what_never_fits_is_not_told_to_come_back() -> None:
    """A request larger than the whole budget gets no time to retry at; one that waits for others gets a second."""
    never, _ = walk(registry(usd(100, downgrade_at=None)), request("large"), ModelStore())
    assert isinstance(never, Refuse)
    assert never.error.retry_after is None
    assert "larger than the whole budget" in never.error.message
    store = ModelStore()
    two = Budget("two", "parallel", 1)
    assert isinstance(walk(registry(two), BEST, store, reservation="a")[0], Proceed)
    busy, _ = walk(registry(two), BEST, store, reservation="b")
    assert isinstance(busy, Refuse)
    assert busy.error.retry_after == 1
    assert busy.wait_until is None


def test_the_last_place_is_not_closed_while_a_shorter_answer_fits_there() -> None:
    """A budget of a model that was asked for by name: where nothing else may answer, it answers more briefly."""
    dear = Budget("dear", "usd", 30_000, DAY, match=(("model", "large"),))
    step, decision = walk(registry(dear, usd(35_000, downgrade_at=None)), request("large"), ModelStore())
    assert isinstance(step, Proceed)
    assert step.reasons == ("max-tokens-lowered:dear",)
    assert decision.chain[0].model == "large"
    assert sum(held.amount for held in step.account.held if held.budget == "dear") <= 30_000
    step, _ = walk(registry(dear), request("large"), spent(ModelStore(), "usd:dear", 29_000))
    assert isinstance(step, Refuse)


def test_no_answer_is_made_shorter_for_a_place_that_is_closed() -> None:
    """When the dear place is out, what is left fits as it is."""
    dear = Budget("dear", "usd", 100, DAY, match=(("model", "large"),))
    step, decision = walk(registry(dear, usd(20_000, downgrade_at=None)), BEST, ModelStore())
    assert isinstance(step, Proceed)
    assert (step.reasons, step.max_output_tokens, decision.chain[0].model) == ((), None, "medium")


def test_who_would_fit_with_a_shorter_answer_is_told_to_come_back() -> None:
    """It passed before in a shorter form, and will again when that has ended, or when the window has."""
    found, asked = registry(usd(30_000, downgrade_at=None)), request("large")
    store = ModelStore()
    first, _ = walk(found, asked, store, reservation="first")
    assert isinstance(first, Proceed)
    assert first.reasons == ("max-tokens-lowered:daily",)
    second, _ = walk(found, asked, store, reservation="second")
    assert isinstance(second, Refuse)
    assert second.error.retry_after == 1
    assert "when other requests of it have ended" in second.error.message
    third, _ = walk(found, asked, spent(ModelStore(), "usd:daily", 30_000))
    assert isinstance(third, Refuse)
    assert third.error.retry_after == 43_200


def test_of_two_budgets_that_refuse_the_one_without_any_room_is_named() -> None:
    """The other would have let a shorter answer pass: to look at it is of no use."""
    tight = Budget("tight", "usd", 50_000, DAY, per=("tenant",), downgrade_at=None)
    store = ModelStore()
    store.held["other", "usd:tight|tenant=acme"] = 49_900
    refused, _ = walk(registry(usd(30_000, downgrade_at=None), tight), request("large"), store)
    assert isinstance(refused, Refuse)
    assert refused.budget == "tight"


@pytest.mark.parametrize(
    ("window", "seconds"), [(DAY, 43_200), (Window(calendar="minute"), 60), (Window(rolling_seconds=60), 61), (Window(), None)]
)
def test_requests_under_way_count_when_they_have_ended(window: Window, seconds: int | None) -> None:
    """Who is refused by a limit on requests is told when its window ends, although nothing in it is settled yet."""
    found, store = registry(Budget("calls", "requests", 1, window)), ModelStore()
    walk(found, BEST, store, reservation="a")
    refused, _ = walk(found, BEST, store, reservation="b")
    assert isinstance(refused, Refuse)
    assert refused.error.retry_after == seconds


def test_a_budget_without_a_window_never_resets() -> None:
    """What is spent for good is told as that, without a time to come back; so is a budget of nothing."""
    found = registry(Budget("once", "requests", 1))
    wanted = claim(found, BEST)
    verdict = Verdict((Level(1),), (0,), (), (float(wanted.holds[0].expires_at),))
    step = next_step(wanted, verdict, found, BEST, decide(found, BEST), NOON)
    assert isinstance(step, Refuse)
    assert step.error.retry_after is None
    assert step.error.message == "The budget 'once' is used up, and does not reset by itself."
    nothing, _ = walk(registry(usd(0)), BEST, ModelStore())
    assert isinstance(nothing, Refuse)
    assert "used up" in nothing.error.message


def test_of_several_full_budgets_the_last_to_reset_is_named() -> None:
    """Coming back when only one of two has room would be of no use."""
    found = registry(Budget("minute", "requests", 1, MINUTE), Budget("day", "requests", 1, DAY))
    wanted = claim(found, BEST)
    verdict = Verdict((Level(1), Level(1)), (0, 1), (), (NOON + 5, NOON + 500))
    step = next_step(wanted, verdict, found, BEST, decide(found, BEST), NOON)
    assert isinstance(step, Refuse)
    assert (step.budget, step.error.retry_after) == ("day", 500)
