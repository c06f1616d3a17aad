"""What budgets and permissions take away: the router decides among the rest, shows why, and keeps its floors."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from router_extproc.caller import Caller
from router_extproc.decision import NO_CONSTRAINTS, Constraints, Decision
from router_extproc.errors import LimitReachedError, PermissionDeniedError, RequestError
from router_extproc.facts import Facts
from router_extproc.registry.health import OPEN, DeploymentHealth
from router_extproc.registry.snapshot import Plan, Registry, Route, Tier
from router_extproc.request import Request
from router_extproc.router import Router, Situation
from tests.policy import registries as build

MODELS = (
    build.model("small", Tier.ECONOMY, keys=2, output_limit=1_000),
    build.model("medium", Tier.STANDARD, output_limit=4_000),
    build.model("large", Tier.PREMIUM, output_limit=8_000),
)
REGISTRY = build.registry(
    *MODELS,
    routes=(
        Route("auto", Plan("auto")),
        Route("best", Plan("best")),
        Route("safe", Plan("best"), safety_critical=True),
        Route("strong", Plan("best", min_tier=Tier.STANDARD)),
        Route("open", Plan("best"), passthrough=True),
    ),
)


def decide(name: str, *, registry: Registry = REGISTRY, asked: Request | None = None, **constraints: Any) -> Decision:
    return Router(registry).decide(asked or build.chat(name), Situation(constraints=Constraints(**constraints)))


def models(decision: Decision) -> list[str]:
    return [attempt.model for attempt in decision.chain]


def test_without_constraints_nothing_changes() -> None:
    """A situation that says nothing of constraints decides as ever, and names no floor."""
    decision = decide("best")
    assert models(decision) == ["large", "medium", "small", "small"]
    assert decision == Router(REGISTRY).decide(build.chat("best"))
    assert decision.tier_floor is None
    assert Situation().constraints is NO_CONSTRAINTS


@pytest.mark.parametrize(
    ("route", "ceiling", "chosen", "floor"),
    [
        ("best", "standard", "medium", None),
        ("best", "economy", "small", None),
        ("open", "economy", "small", None),
        ("safe", "economy", "large", None),
        ("strong", "economy", "medium", "standard"),
        ("strong", "standard", "medium", "standard"),
    ],
)
def test_a_ceiling_gives_way_to_floors_only(route: str, ceiling: str, chosen: str, floor: str | None) -> None:
    """Nothing above a budget's ceiling answers, unless the route is safety-critical or its floor lies above."""
    decision = decide(route, tier_ceiling=ceiling)
    assert (models(decision)[0], decision.tier_floor) == (chosen, floor)
    if route != "safe":
        assert max(Tier[attempt.tier.upper()] for attempt in decision.chain) == Tier[decision.chain[0].tier.upper()]


@pytest.mark.parametrize(
    ("facts", "ceiling", "chosen", "floor"),
    [
        ({"adequacy": (0.1, 0.2, 0.9), "risk": "none"}, "standard", "medium", "economy"),
        ({"adequacy": (0.1, 0.2, 0.9), "risk": "none"}, "economy", "small", "economy"),
        ({"adequacy": (0.9, 0.9, 0.9), "risk": "medical"}, "economy", "large", "premium"),
        ({}, "standard", "medium", "economy"),
    ],
)
def test_auto_under_a_ceiling_takes_the_best_that_is_left(facts: dict[str, Any], ceiling: str, chosen: str, floor: str) -> None:
    """`auto` takes the strongest tier that the budget allows where it wishes for more; a risk is a floor against it."""
    decision = decide("auto", asked=build.chat("auto", analysis=Facts(**facts)), tier_ceiling=ceiling)
    assert (models(decision)[0], decision.tier_floor) == (chosen, floor)
    assert decision.reason.startswith(f"auto:{decision.chain[0].tier}")


def test_a_header_that_asks_for_a_tier_is_a_floor() -> None:
    """Who asks for premium is not given less by a budget; who asks for a model by name is refused by a ceiling below it."""
    asked = build.chat("best", headers={"x-router-min-tier": "premium"})
    assert models(decide("best", asked=asked, tier_ceiling="economy")) == ["large"]
    with pytest.raises(LimitReachedError):
        decide("large", tier_ceiling="standard")


def test_a_closed_deployment_is_left_out_and_shown_with_its_reason() -> None:
    """A place without room is in no chain; `explain` says why it fell, and its model's other keys stay."""
    closed = {"p/small@1": "no room in credential:p/small@1:requests", "p/large@1": "no room in daily"}
    decision = decide("best", closed=closed)
    assert [attempt.deployment for attempt in decision.chain] == ["p/medium@1", "p/small@2"]
    shown = Router(REGISTRY).explain(build.chat("best"), Situation(constraints=Constraints(closed=closed)))
    assert {one.deployment: one.rejected for one in shown.candidates if one.rejected} == closed
    ceiling = Router(REGISTRY).explain(build.chat("best"), Situation(constraints=Constraints(tier_ceiling="standard")))
    assert {one.deployment: one.rejected for one in ceiling.candidates}["p/large@1"] == (
        "tier premium is above standard, the highest that a budget allows"
    )


def test_when_every_place_is_closed_the_request_is_refused() -> None:
    """Nothing left to try because of limits is a limit reached, not a missing model; a path without a model keeps to it too."""
    every = {one.name: "no room" for one in REGISTRY.deployments()}
    with pytest.raises(LimitReachedError) as refused:
        decide("best", closed=every)
    assert refused.value.status == 429
    files = build.registry(build.model("m", deployments=(build.deployment("p/m", "m", paths=()),)))
    with pytest.raises(LimitReachedError):
        decide("", registry=files, asked=Request("/v1/files", ""), closed={"p/m": "no room"})


def test_what_cools_down_may_still_be_tried_where_others_have_no_room() -> None:
    """A place that is only unwell is better than a refusal because of others that are full."""
    health = {"p/large@1": DeploymentHealth(OPEN, open_until=100.0)}
    constraints = Constraints(closed=dict.fromkeys(("p/medium@1", "p/small@1", "p/small@2"), "no room"))
    decision = Router(REGISTRY).decide(build.chat("best"), Situation(health, constraints=constraints))
    assert (models(decision), decision.degraded) == (["large"], "all-cooling-down")


def test_a_shortened_answer_need_not_fit_as_it_was_asked() -> None:
    """An answer that a budget shortens to 500 tokens may come from a model that writes no more than 1,000."""
    asked = build.chat("small", analysis=Facts(max_output_tokens=3_000))
    with pytest.raises(RequestError):
        decide("small", asked=asked)
    assert models(decide("small", asked=asked, max_output_tokens=500)) == ["small", "small"]


def test_permissions_come_with_the_request() -> None:
    """What a caller may use holds in every decision about its request, and adds to what budgets take away."""
    caller = Caller("acme")
    allowed = replace(caller, permissions=replace(caller.permissions, models=("medium", "small")))
    asked = build.chat("best", caller=allowed)
    assert models(decide("best", asked=asked)) == ["medium", "small", "small"]
    assert models(decide("best", asked=asked, tier_ceiling="economy")) == ["small", "small"]
    explained = Router(REGISTRY).explain(build.chat("large", caller=allowed))
    assert explained.refusal is not None
    assert (explained.refusal.status, explained.refusal.code) == (403, "permission_denied")
    with pytest.raises(PermissionDeniedError):
        decide(
            "best", asked=build.chat("best", caller=replace(caller, permissions=replace(caller.permissions, routes=("auto",))))
        )


# Registries are large things to think of, and the machine may be busy.
@settings(max_examples=100)
@given(st.data())
def test_no_chain_passes_a_constraint(data: st.DataObject) -> None:
    """Whatever the registry, no attempt is closed or above the ceiling, but for floors; no deployment is lost without need."""
    registry = data.draw(build.registries())
    request, constraints = data.draw(build.REQUESTS), data.draw(build.constraints(registry))
    router = Router(registry)
    try:
        decision = router.decide(request, Situation(constraints=constraints))
    except LimitReachedError:
        assert constraints.closed or constraints.tier_ceiling
        return
    except RequestError:
        return
    route = registry.routes.get(decision.route)
    ceiling = Tier[(constraints.tier_ceiling or "premium").upper()]
    floor = ceiling if decision.tier_floor is None else max(ceiling, Tier[decision.tier_floor.upper()])
    for chain in (decision.chain, *decision.cause_chains.values()):
        for attempt in chain:
            assert attempt.deployment not in constraints.closed
            if route is not None and not route.safety_critical:
                assert Tier[attempt.tier.upper()] <= floor
