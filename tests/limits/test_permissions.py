"""Permissions: what a caller may use, told to the router and to the list of models alike."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from router_extproc.caller import EVERYTHING, Caller, Permissions
from router_extproc.decision import NO_CONSTRAINTS, Constraints
from router_extproc.errors import PermissionDeniedError, RequestError
from router_extproc.limits.permissions import check, constrain, narrower, visible_names
from router_extproc.registry.snapshot import Condition, Plan, Route, Rule, Target, Tier
from router_extproc.request import CHAT_COMPLETIONS, Request
from router_extproc.router import Router, Situation
from tests.limits.cases import registry, request
from tests.policy import registries as build
from tests.policy.registries import REQUESTS, registries

names = st.sampled_from(["a", "ab", "abc", "b", "*", "a*", "ab*", "b*", ""])
lists = st.none() | st.lists(names, max_size=4).map(tuple)


def allows(patterns: tuple[str, ...] | None, name: str) -> bool:
    return patterns is None or any(name.startswith(one[:-1]) if one.endswith("*") else name == one for one in patterns)


@given(lists, lists, st.text("abc", max_size=4))
def test_two_lists_allow_what_both_allow(one: tuple[str, ...] | None, other: tuple[str, ...] | None, name: str) -> None:
    """Together two lists allow exactly the names that each of them allows, prefixes included."""
    both = narrower(Permissions(models=one), Permissions(models=other)).models
    assert allows(both, name) == (allows(one, name) and allows(other, name))


def test_the_lower_limits_hold() -> None:
    """Of two limits the lower one holds; where only one is set, that one."""
    found = narrower(Permissions(max_context_tokens=10, max_output_tokens=5), Permissions(max_context_tokens=7))
    assert (found.max_context_tokens, found.max_output_tokens) == (7, 5)
    assert narrower(EVERYTHING, EVERYTHING) == EVERYTHING


def caller(**permissions: Any) -> Caller:
    return Caller("acme", permissions=Permissions(**permissions))


@pytest.mark.parametrize(
    ("routes", "route", "written", "passes"),
    [
        (None, "auto", "auto", True),
        (("auto",), "auto", "auto", True),
        (("auto",), "large", "large", False),
        (("la*",), "large", "large", True),
        (("nick",), "large", "nick", True),
        ((), "auto", "auto", False),
    ],
)
def test_routes_are_allowed_by_their_names(routes: tuple[str, ...] | None, route: str, written: str, passes: bool) -> None:  # noqa: FBT001 - the expectation
    """A route may be used by its own name or the alias that the list names; an empty list allows nothing."""
    asked = build.chat(written)
    if passes:
        check(caller(routes=routes), asked, route)
        return
    with pytest.raises(PermissionDeniedError) as refused:
        check(caller(routes=routes), asked, route)
    assert (refused.value.status, refused.value.code, refused.value.param) == (403, "permission_denied", "model")


def test_a_prompt_may_be_too_long_for_a_caller() -> None:
    """A prompt of as many tokens as allowed passes, one token more does not."""
    check(caller(max_context_tokens=1_000), request(), "large")
    with pytest.raises(PermissionDeniedError, match="999"):
        check(caller(max_context_tokens=999), request(), "large")


def test_no_route_is_a_way_around_the_length_of_prompts() -> None:
    """A route that looks at nothing of a request lets no longer prompt through than others do."""
    found = registry(raw=Route("raw", Plan(targets=(Target("model", "large"),)), passthrough=True))
    assert Router(found).decide(request("raw", caller(max_context_tokens=1_000))).chain[0].model == "large"
    with pytest.raises(PermissionDeniedError, match="999"):
        Router(found).decide(request("raw", caller(max_context_tokens=999)))


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("/v1/responses", {"input": "Hello", "previous_response_id": "resp_1"}),
        ("/v1/responses", {"input": "Hello", "conversation": "conv_1"}),
        ("/v1/responses", {"prompt": {"id": "pmpt_1"}}),
        (CHAT_COMPLETIONS, {"messages": [], "tools": [{"type": "web_search"}]}),
    ],
)
def test_what_a_provider_adds_to_a_prompt_may_be_too_long(path: str, more: dict[str, Any]) -> None:
    """Nobody can say that it is short enough: who is held to a length may not ask for it, everybody else may."""
    asked = Request(path, "large", body=msgspec.json.encode({"model": "large", **more}))
    check(caller(max_output_tokens=5), asked, "large")
    with pytest.raises(PermissionDeniedError, match="1000"):
        check(caller(max_context_tokens=1_000), asked, "large")


def test_permissions_without_limits_constrain_nothing() -> None:
    """Who may do everything is decided for as ever, with the very same constraints."""
    assert constrain(EVERYTHING) is NO_CONSTRAINTS
    assert constrain(Permissions(tiers=("economy",)), Constraints(tiers=("*",))).tiers == ("economy",)


def decide(asked: Request, **more: Any) -> list[str]:
    decision = Router(registry(**more)).decide(asked)
    return [attempt.model for attempt in decision.chain]


def test_a_caller_is_routed_among_what_it_may_use() -> None:
    """Lists of models and tiers narrow what a route chooses from, as the first choice and as fallbacks."""
    assert decide(request("best")) == ["large", "medium", "small"]
    assert decide(request("best", caller(models=("med*", "small")))) == ["medium", "small"]
    assert decide(request("best", caller(tiers=("economy",)))) == ["small"]


def test_a_model_that_is_not_allowed_is_refused() -> None:
    """Naming a model that the caller may not use is refused in so many words, whatever else is configured."""
    with pytest.raises(PermissionDeniedError, match="'large'") as refused:
        decide(request("large", caller(models=("small",))))
    assert refused.value.status == 403
    with pytest.raises(PermissionDeniedError):
        decide(request("best", caller(models=())))
    with pytest.raises(PermissionDeniedError):
        decide(request("auto", caller(regions=("eu",))))


def test_a_permission_does_not_change_other_refusals() -> None:
    """Where an allowed model cannot do what is asked, that is the error, not a missing permission."""
    with pytest.raises(RequestError) as refused:
        decide(request("best", caller(models=("small",)), max_output_tokens=5_000))
    assert refused.value.code == "output_limit_exceeded"


def test_an_answer_that_will_be_cut_need_not_fit_as_asked() -> None:
    """A caller whose answers are cut to 100 tokens may ask for more than a model writes."""
    assert decide(request("large", caller(max_output_tokens=100), max_output_tokens=5_000)) == ["large"]


def test_regions_are_chosen_by_deployment() -> None:
    """A model with deployments in several regions is used in those that the caller may use."""
    here = build.deployment("p/m@eu", "m", region="eu-west")
    there = build.deployment("p/m@us", "m", region="us")
    nowhere = build.deployment("p/m@x", "m")
    found = build.registry(build.model("m", deployments=(here, there, nowhere)))
    decision = Router(found).decide(build.chat("m", caller=caller(regions=("eu*",))))
    assert [attempt.deployment for attempt in decision.chain] == ["p/m@eu"]
    candidates = Router(found).explain(build.chat("m", caller=caller(regions=("eu*",)))).candidates
    assert {one.deployment: one.rejected for one in candidates} == {
        "p/m@eu": None,
        "p/m@us": "region us is not among those that the caller may use",
        "p/m@x": "region None is not among those that the caller may use",
    }


def test_paths_without_a_model_are_kept_to_as_well() -> None:
    """Files and batches go to the first place that the caller may use; a list of routes without them forbids them."""
    files = build.model("open", deployments=(build.deployment("p/open", "open", paths=()),))
    other = build.model("shut", deployments=(build.deployment("q/shut", "shut", paths=()),))
    router = Router(build.registry(other, files))
    asked = Request("/v1/files", "")
    assert router.decide(asked).chain[0].model == "shut"
    assert router.decide(replace(asked, caller=caller(models=("open",)))).chain[0].model == "open"
    for permissions in ({"models": ("none",)}, {"routes": ("auto",)}):
        with pytest.raises(PermissionDeniedError):
            router.decide(replace(asked, caller=caller(**permissions)))


def test_only_usable_names_are_listed() -> None:
    """The list of models shows the names that would not be refused: routes, aliases, and models that may be used."""
    found = replace(
        registry(team=Route("team", Plan(targets=(Target("model", "large"),)))), aliases={"nick": "large", "n2": "nick"}
    )
    every = ("auto", "team", "small", "large", "nick", "n2")

    def listed(**permissions: Any) -> tuple[str, ...]:
        return visible_names(Permissions(**permissions), every, found)

    assert listed() == every
    assert listed(models=("small",)) == ("auto", "small")
    assert listed(routes=("auto", "n*")) == ("auto", "nick", "n2")
    assert listed(tiers=("premium",)) == ("auto", "team", "large", "nick", "n2")
    assert listed(regions=("eu",)) == ()
    assert listed(tiers=("economy",)) == ("auto", "small")


@pytest.mark.parametrize(
    ("plan", "is_listed"),
    [
        (Plan(targets=(Target("model", "medium"),)), False),
        (Plan(targets=(Target("model", "medium"), Target("model", "small"))), True),
        (Plan(targets=(Target("model", "medium"),), last_resort=(Target("tier", "economy"),)), True),
        (Plan(targets=(Target("deployment", "two/medium"),)), False),
        (Plan(targets=(Target("deployment", "one/small"),)), True),
        (Plan(targets=(Target("model", "of-a-wildcard"),)), True),
        (Plan(), True),
    ],
)
def test_a_route_is_listed_where_it_leads_to_something_allowed(plan: Plan, is_listed: bool) -> None:  # noqa: FBT001
    """By its targets, its last resort, or the rules that may replace its plan; a route to nothing but a refusal is not."""
    found = registry(team=Route("team", plan))
    only_small = Permissions(models=("small",))
    assert (visible_names(only_small, ("team",), found) == ("team",)) is is_listed
    ruled = replace(found, rules=(Rule("short", Condition(), Plan(targets=(Target("model", "small"),))),))
    assert visible_names(only_small, ("team",), ruled) == ("team",)


@pytest.mark.parametrize("plan", [Plan(), Plan("best"), Plan(targets=(Target("tier", "standard"),))])
def test_a_wildcard_alone_makes_no_route_usable(plan: Plan) -> None:
    """Nothing chooses among the models of a wildcard: who may use these alone is not shown routes that choose."""
    models = (build.model("small"), build.model("own/*", Tier.STANDARD))
    found = build.registry(*models, routes=(Route("team", plan),))
    only_own = Permissions(models=("own/*",))
    assert visible_names(only_own, ("team", "own/*"), found) == ("own/*",)
    with pytest.raises(RequestError):
        Router(found).decide(build.chat("team", caller=Caller("acme", permissions=only_own)))


# Registries are large things to think of, and the machine may be busy.
@settings(max_examples=100)
@given(st.data())
def test_no_decision_uses_what_is_not_allowed(data: st.DataObject) -> None:
    """Whatever the registry and the request, no attempt of any chain is outside the caller's lists."""
    found = data.draw(registries())
    models = st.sampled_from(["alpha", "be*", "omega-*", "omega-7", "gamma"])
    permissions = Permissions(
        models=data.draw(st.none() | st.lists(models, max_size=2).map(tuple)),
        tiers=data.draw(st.none() | st.lists(st.sampled_from(["economy", "premium"]), max_size=1).map(tuple)),
        regions=data.draw(st.sampled_from([None, ("eu",), ("*",)])),
    )
    asked = replace(data.draw(REQUESTS), caller=Caller("acme", permissions=permissions))
    router = Router(found)
    try:
        decision = router.decide(asked, Situation(draw=data.draw(st.integers(0, 99))))
    except RequestError:
        return
    deployments = {one.name: one for one in found.deployments()}
    for chain in (decision.chain, *decision.cause_chains.values()):
        for attempt in chain:
            model = deployments[attempt.deployment].model
            assert allows(permissions.models, attempt.model) or allows(permissions.models, model)
            assert allows(permissions.tiers, attempt.tier)
            assert permissions.regions is None or allows(permissions.regions, deployments[attempt.deployment].region or "-")
