"""Between deciding and answering: what is set aside in a real store, and what the client and the log are told of it."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from router_extproc.registry.spending import (
    Budget,
    Spending,
    StoreSettings,
    name_of_key_budget,
)
from router_extproc.store.counters import Level, Query
from router_extproc.telemetry.worker_figures import Admissions
from tests.extproc.admission_stage import BEARER, DAY, KEY, KEYED, MINUTE, Stage, registry, usd
from tests.policy import registries as build


async def test_where_nothing_is_limited_nothing_is_added(stage: Stage) -> None:
    """The ticket is that of a router without budgets, and no store is asked."""
    stage.shared.is_away = True
    told = await stage.ask(registry())
    assert told.own.keys() == {"cost", "signals", "text_tokens"}
    assert told.metadata.keys() == {"router", "router.request"}
    assert stage.tally == Admissions()


async def test_what_a_request_may_cost_is_set_aside_before_anybody_is_called(stage: Stage) -> None:
    """The account has the reservation and its amount, the client reads what is left."""
    told = await stage.ask(registry(usd(1_000)), id="id-7")
    assert (told.account.reservation, [held.amount for held in told.account.held]) == ("id-7", [100])
    assert told.own["budget_remaining"] == "0.000900"
    [level] = await stage.shared.read([Query(told.account.held[0].counter, 0)], time.time())
    assert level == Level(0, 100)
    assert (stage.tally.admitted, told.leg.outcome.decided) == (1, True)


async def test_a_spent_budget_refuses(stage: Stage) -> None:
    """With the budget's name, when it resets, and the wish not to be asked again at once."""
    view = registry(usd(250))
    assert [(await stage.ask(view)).status for _ in range(2)] == [200, 200]
    told = await stage.ask(view)
    assert (told.status, told.error["code"], told.error["type"]) == (429, "budget_exceeded", "insufficient_quota")
    assert "money" in told.error["message"]
    assert (told.headers["x-should-retry"], int(told.headers["retry-after"]) > 0) == ("false", True)
    assert told.headers["x-router-budget-remaining"] == "0.000050"
    assert told.leg.outcome.refused == "budget_exceeded"
    assert not told.leg.outcome.decided
    assert told.metadata["router"]["refused_by"] == "money"
    assert stage.tally.by_budget == {"money": {"refused": 1}}


async def test_a_key_s_budget_that_refuses_is_named_in_the_log_and_counted_with_all_keys(stage: Stage) -> None:
    """Whoever reads the log finds the key; the number of keys is no number of labels."""
    named = name_of_key_budget("k1", "daily")
    view = registry(Budget(named, "requests", 0, DAY), Budget("house", "requests", 100, DAY))
    told = await stage.ask(view)
    assert (told.status, told.metadata["router"]["refused_by"]) == (429, "key:k1:daily")
    assert stage.tally.by_budget == {"key": {"refused": 1}}


async def test_a_worker_that_died_is_followed_by_one_that_asks_for_the_same(stage: Stage) -> None:
    """The reservation of one request is one, however often Envoy asks."""
    view = registry(usd(100))
    assert [(await stage.ask(view, id="same")).status for _ in range(3)] == [200, 200, 200]


async def test_a_worker_that_died_lends_its_successor_no_more_than_there_is(stage: Stage) -> None:
    """Who needs more for the same request than the one before set aside gets it as far as it fits beside the others."""
    view = registry(usd(1_000))
    amounts = []
    for name, tokens in (("same", 100), ("other", 600), ("same", 300), ("same", 900), ("same", 100)):
        told = await stage.ask(view, id=name, max_tokens=tokens)
        amounts.append(told.account.held[0].amount)
    assert amounts == [100, 600, 300, 400, 100]
    last = await stage.ask(view, id="third", max_tokens=1)
    assert (last.status, last.error["code"]) == (429, "budget_exceeded")


async def test_many_at_once_never_get_more_than_the_cap(stage: Stage) -> None:
    """Of 40 requests that race for room for ten, exactly ten go on."""
    view = registry(usd(1_000))
    told = await asyncio.gather(*(stage.ask(view) for _ in range(40)))
    assert sorted(one.status for one in told) == [200] * 10 + [429] * 30


async def test_an_answer_is_shortened_to_what_is_left(stage: Stage) -> None:
    """The body says so to the provider, the reason to the client."""
    view = registry(usd(190))
    await stage.ask(view)
    told = await stage.ask(view)
    assert told.body["max_tokens"] == 90
    assert told.reason == "named+max-tokens-lowered:money"
    assert [held.amount for held in told.account.held] == [90]
    assert stage.tally.shortened == 1
    assert stage.tally.by_budget == {"money": {"shortened": 1}}
    assert "refused_by" not in told.metadata["router"]


async def test_near_the_cap_a_cheaper_model_answers(stage: Stage) -> None:
    """What was set aside for the dearer one is given back; the reason says which budget it was."""
    view = registry(usd(10_000, downgrade_at=0.5))
    dear = [await stage.ask(view, "either") for _ in range(5)]
    assert {one.first for one in dear} == {"large"}
    told = await stage.ask(view, "either")
    assert (told.first, told.reason) == ("small", "ordered+budget-downgrade:money")
    [level] = await stage.shared.read([Query(told.account.held[0].counter, 0)], time.time())
    assert level.held == 5_000 + 100
    assert stage.tally.downgraded == 1
    assert stage.tally.by_budget == {"money": {"downgraded": 1}}


async def test_a_budget_that_flags_lets_pass(stage: Stage) -> None:
    """It is counted, and told."""
    view = registry(usd(50, at_cap="allow_and_flag"))
    assert [(await stage.ask(view)).status for _ in range(3)] == [200] * 3
    assert stage.tally.flagged >= 1
    assert stage.tally.by_budget == {"money": {"flagged": stage.tally.flagged}}


async def test_a_budget_that_observes_changes_nothing(stage: Stage) -> None:
    """What it would have refused is counted and left out of its own tally."""
    view = registry(usd(100, mode="observe"))
    told = [await stage.ask(view, max_tokens=60) for _ in range(3)]
    assert [len(one.account.held) for one in told] == [1, 0, 0]
    assert {one.reason for one in told} == {"named"}
    assert stage.tally.observed == 2
    assert stage.tally.by_budget == {"money": {"observed": 2}}


async def test_a_limit_on_requests_shows_its_figures(stage: Stage) -> None:
    """On answers and on refusals, as OpenAI's own limits do."""
    view = registry(Budget("rpm", "requests", 2, MINUTE))
    assert (await stage.ask(view)).own["x-ratelimit-remaining-requests"] == "1"
    await stage.ask(view)
    told = await stage.ask(view)
    assert (told.status, told.error["code"], told.error["type"]) == (429, "rate_limit_exceeded", "requests")
    assert told.headers["x-ratelimit-remaining-requests"] == "0"
    assert told.headers["x-ratelimit-limit-requests"] == "2"


@pytest.mark.parametrize(
    ("policy", "statuses"), [("fail_open", [200] * 3), ("fail_closed", [503] * 3), ("local_share", [200, 200, 429])]
)
async def test_without_the_store_each_budget_goes_its_own_way(stage: Stage, policy: Any, statuses: list[int]) -> None:
    """Open, closed, or up to a share of the cap in the local store; whatever passes says so."""
    view = registry(usd(2_000, on_store_failure=policy, local_share=0.1), store=StoreSettings(kind="redis"))
    stage.shared.is_away = True
    told = [await stage.ask(view, id=f"id-{number}") for number in range(3)]
    assert [one.status for one in told] == statuses
    passed = [one for one in told if one.status == 200]
    assert all(one.own["degraded"] == "store-unavailable" and one.account.held for one in passed)
    assert all(one.error["code"] == "store_unavailable" for one in told if one.status == 503)
    assert stage.tally.without_store == len(passed)
    outcomes = {"fail_open": {}, "fail_closed": {"money": {"unavailable": 3}}, "local_share": {"money": {"refused": 1}}}
    assert stage.tally.by_budget == outcomes[policy]


async def test_what_a_silent_store_may_have_set_aside_is_given_back(stage: Stage) -> None:
    """A refusal leaves nothing behind, although nobody knows whether the store had heard."""
    view = registry(usd(2_000, on_store_failure="fail_closed"))
    stage.shared.is_away = True
    told = await stage.ask(view, id="id-1")
    stage.shared.is_away = False
    await stage.admission.aclose()
    assert told.status == 503
    assert [release.reservation for release in stage.shared.released] == ["id-1"]


async def test_places_that_were_decided_around_keep_nothing_of_what_was_asked_of_them(stage: Stage) -> None:
    """Nobody knows what a silent store set aside for the first choice; what goes elsewhere is settled elsewhere."""
    closed = Budget("large-cap", "usd", 10_000, DAY, match=(("model", "large"),), on_store_failure="fail_closed")
    view = registry(closed, store=StoreSettings(kind="redis"))
    stage.shared.is_away = True
    told = await stage.ask(view, "either", id="id-1")
    stage.shared.is_away = False
    await stage.admission.aclose()
    assert (told.status, told.first, told.account.held) == (200, "small", ())
    assert [release.reservation for release in stage.shared.released] == ["id-1"]


async def test_who_asks_is_told_to_the_filters_behind_and_to_the_ledger(stage: Stage) -> None:
    """Also where no budget counts the request."""
    told = await stage.ask(registry(**KEYED), headers=BEARER)
    assert told.metadata["router.caller"] == {
        "tenant": "acme",
        "team": "",
        "user": "ann",
        "key": "k1",
        "tier": "premium",
        "features": ["beta"],
        "tags": {"a": "b"},
    }
    assert (told.account.tenant, told.account.key, told.account.held) == ("acme", "k1", ())
    assert KEY not in str(told.answers)


async def test_without_a_valid_key_nobody_gets_in(stage: Stage) -> None:
    """Neither to a model nor to the list of models; nothing is set aside."""
    view = registry(usd(1_000), **KEYED)
    models = {":method": "GET", ":path": "/v1/models"}
    for told in (await stage.ask(view), await stage.ask(view, headers=models, has_body=False)):
        assert (told.status, told.error["type"]) == (401, "authentication_error")
        assert "router.caller" not in told.metadata
    assert stage.tally.admitted == 0


async def test_a_refusal_tells_the_log_who_was_refused(stage: Stage) -> None:
    """The caller is in the metadata of a 429 as of any other answer."""
    told = await stage.ask(registry(usd(0), **KEYED), headers=BEARER)
    assert told.status == 429
    assert told.metadata["router.caller"]["tenant"] == "acme"


async def test_what_names_no_model_is_counted_too(stage: Stage) -> None:
    """Files and batches have no tokens and no price, but somebody who asks and a place where they go."""
    model = build.model("any", deployments=(build.deployment("p/any", "any", paths=("/v1/files*",)),))
    pace = Budget("pace", "requests", 1, MINUTE, per=("key",))
    view = build.registry(model, spending=Spending(budgets=(pace,), **KEYED))
    headers = BEARER | {":method": "GET", ":path": "/v1/files"}
    told = await stage.ask(view, headers=headers, has_body=False)
    assert (told.status, told.account.key, told.first) == (200, "k1", "any")
    assert (await stage.ask(view, headers=headers, has_body=False)).status == 429
