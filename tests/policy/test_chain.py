"""The chain: levels, limits, reserved places, probes and causes."""

from __future__ import annotations

import msgspec
import pytest

from router_extproc import Router, Situation
from router_extproc.decision import Decision
from router_extproc.errors import LimitReachedError, RequestLimitError, TokenLimitError
from router_extproc.facts import Facts
from router_extproc.registry.health import HALF_OPEN, OPEN, DeploymentHealth
from router_extproc.registry.snapshot import Model, Plan, Route, Tier
from router_extproc.registry.spending import Spending, Waiting
from router_extproc.request import Request
from tests.policy import registries as build

DOWN = DeploymentHealth(OPEN, open_until=1e9)
FREE = DeploymentHealth(HALF_OPEN, probe="1")


def decide(
    plan: Plan,
    *models: Model,
    attempts: int = 4,
    health: dict[str, DeploymentHealth] | None = None,
    request: Request | None = None,
) -> Decision:
    router = Router(build.registry(*models, routes=(Route("r", plan, max_attempts=attempts),)))
    return router.decide(request or build.chat("r"), Situation(health=health or {}, draw=1))


def shown(decision: Decision) -> list[str]:
    """A chain in one line: model and level of each place."""
    return [f"{attempt.model} {attempt.level}" for attempt in decision.chain]


def test_levels_follow_each_other() -> None:
    """All keys of the first model, then further targets, then their tier's others, then the last resort."""
    plan = Plan(targets=build.targets("a", "b"), last_resort=build.targets("z"))
    models = (build.model("a", keys=2), build.model("b"), build.model("c"), build.model("z", Tier.ECONOMY))
    assert shown(decide(plan, *models, attempts=9)) == [
        "a primary",
        "a same_model",
        "b target",
        "c same_tier",
        "z last_resort",
    ]


def test_without_same_tier_only_what_is_named_is_tried() -> None:
    """A plan may leave its tier's other models alone."""
    plan = Plan(targets=build.targets("a"), same_tier=False)
    assert shown(decide(plan, build.model("a"), build.model("c"))) == ["a primary"]


@pytest.mark.parametrize(
    ("attempts", "expected"),
    [
        (1, ["a primary"]),
        (2, ["a primary", "z last_resort"]),
        (3, ["a primary", "b target", "z last_resort"]),
        (4, ["a primary", "a same_model", "b target", "z last_resort"]),
        (5, ["a primary", "a same_model", "a same_model", "b target", "z last_resort"]),
    ],
)
def test_the_last_places_are_kept(attempts: int, expected: list[str]) -> None:
    """Many keys crowd out neither the last resort nor the next model."""
    plan = Plan(targets=build.targets("a", "b"), last_resort=build.targets("z"), same_tier=False)
    models = (build.model("a", keys=5), build.model("b"), build.model("z"))
    assert shown(decide(plan, *models, attempts=attempts)) == expected


def test_a_last_resort_that_is_down_or_unable_keeps_no_place() -> None:
    """A reserved place is given back when nothing can take it."""
    plan = Plan(targets=build.targets("a"), last_resort=build.targets("z"), same_tier=False)
    models = (build.model("a", keys=3), build.model("z", context_window=10))
    request = build.chat("r", analysis=Facts(prompt_tokens=100))
    assert shown(decide(plan, *models, attempts=2, request=request)) == ["a primary", "a same_model"]
    assert shown(decide(plan, *models, attempts=2, health={"p/z@1": DOWN})) == ["a primary", "a same_model"]


def test_cooling_deployments_are_left_out() -> None:
    """What cools down is skipped, and the next in line leads."""
    plan = Plan(targets=build.targets("a", "b"), same_tier=False)
    assert shown(decide(plan, build.model("a"), build.model("b"), health={"p/a@1": DOWN})) == ["b primary"]


def test_when_only_the_last_resort_is_left_it_says_so() -> None:
    """A first attempt that is the last resort is marked as such."""
    plan = Plan(targets=build.targets("a"), last_resort=build.targets("z"), same_tier=False)
    assert shown(decide(plan, build.model("a"), build.model("z"), health={"p/a@1": DOWN})) == ["z last_resort"]


def test_fast_keeps_the_first_model_together() -> None:
    """Under fast the quickest deployment leads, and its model's other keys come before other models."""
    health = {
        "p/a@1": DeploymentHealth(time_to_first_byte_ms=10.0),
        "p/a@2": DeploymentHealth(time_to_first_byte_ms=90.0),
        "p/b@1": DeploymentHealth(time_to_first_byte_ms=50.0),
    }
    decision = decide(Plan("fast"), build.model("b"), build.model("a", keys=2), health=health)
    assert [attempt.deployment for attempt in decision.chain] == ["p/a@1", "p/a@2", "p/b@1"]


def test_written_deployments_keep_their_order() -> None:
    """A plan that names single deployments is followed to the letter."""
    plan = Plan(targets=build.targets("p/a@2", "p/b@1", "p/a@1", kind="deployment"), same_tier=False)
    decision = decide(plan, build.model("a", keys=2), build.model("b"))
    assert [attempt.deployment for attempt in decision.chain] == ["p/a@2", "p/b@1", "p/a@1"]


def test_a_probe_leads_its_model_but_not_another() -> None:
    """A half-open key of the first model is probed first; one of a later model waits until it is needed."""
    plan = Plan(targets=build.targets("a", "b"), same_tier=False)
    models = (build.model("a", keys=2), build.model("b", keys=2))
    first = decide(plan, *models, health={"p/a@2": FREE})
    assert (first.chain[0].deployment, first.half_open) == ("p/a@2", "p/a@2")
    later = decide(plan, *models, health={"p/b@2": FREE})
    assert "p/b@2" not in [attempt.deployment for attempt in later.chain]
    assert later.half_open is None


def test_only_one_probe_goes_with_one_request() -> None:
    """Two half-open keys are not both risked on one request."""
    decision = decide(Plan(targets=build.targets("a")), build.model("a", keys=3), health={"p/a@1": FREE, "p/a@3": FREE})
    assert decision.chain[0].deployment == decision.half_open
    assert [attempt.deployment for attempt in decision.chain[1:]] == ["p/a@2"]


def test_a_half_open_fallback_is_better_than_none() -> None:
    """Where the chain would have one place only, what may have recovered stands behind it, unbooked."""
    plan = Plan(targets=build.targets("a", "b"), same_tier=False)
    decision = decide(plan, build.model("a"), build.model("b"), health={"p/b@1": FREE})
    assert (shown(decision), decision.half_open) == (["a primary", "b target"], None)


def test_a_model_that_is_only_half_open_leads_with_its_probe() -> None:
    """The first model keeps its place when its probe is free, with the rest of the chain behind it."""
    plan = Plan(targets=build.targets("a", "b"), same_tier=False)
    decision = decide(plan, build.model("a"), build.model("b"), health={"p/a@1": FREE})
    assert (shown(decision), decision.half_open) == (["a primary", "b target"], "p/a@1")


def test_causes_have_chains_of_their_own() -> None:
    """Each cause with targets has its chain; their members pass the same filters, and one attempt is already spent."""
    after = {
        "rate_limited": build.targets("b", "b", "c"),
        "context_length": build.targets("tiny", "wide"),
        "server_error": build.targets("tiny"),
    }
    plan = Plan(targets=build.targets("a"), same_tier=False, after=after)
    models = (build.model("a"), build.model("b"), build.model("c"), build.model("tiny", context_window=10), build.model("wide"))
    decision = decide(plan, *models, attempts=3, request=build.chat("r", analysis=Facts(prompt_tokens=100)))
    assert {cause: [attempt.model for attempt in chain] for cause, chain in decision.cause_chains.items()} == {
        "rate_limited": ["b", "c"],
        "context_length": ["wide"],
    }
    assert decide(plan, *models, attempts=1).cause_chains == {}


def test_a_cause_does_not_lead_to_what_is_down() -> None:
    """A cause's chain leaves out what cools down or would need a probe."""
    plan = Plan(targets=build.targets("a"), same_tier=False, after={"rate_limited": build.targets("b", "c", "d")})
    models = (build.model("a"), build.model("b"), build.model("c"), build.model("d"))
    decision = decide(plan, *models, health={"p/b@1": DOWN, "p/c@1": FREE})
    assert [attempt.model for attempt in decision.cause_chains["rate_limited"]] == ["d"]


USED_UP = DeploymentHealth(quota_until=9e9)


def test_a_key_that_is_used_up_comes_after_all_that_has_room() -> None:
    """It is tried behind its model's other keys and behind other models, and nothing about the decision is degraded."""
    plan = Plan(targets=build.targets("a", "b"), same_tier=False)
    decision = decide(plan, build.model("a", keys=2), build.model("b"), health={"p/a@1": USED_UP})
    assert [attempt.deployment for attempt in decision.chain] == ["p/a@2", "p/b@1", "p/a@1"]
    assert shown(decision) == ["a primary", "b target", "a same_model"]
    assert decision.degraded is None


def test_many_keys_that_are_used_up_leave_no_fresh_one_out() -> None:
    """The places of a chain go to the keys that have something left."""
    health = {f"p/a@{key}": USED_UP for key in (1, 2, 3)}
    decision = decide(Plan(targets=build.targets("a"), same_tier=False), build.model("a", keys=6), attempts=3, health=health)
    assert {attempt.deployment for attempt in decision.chain} == {"p/a@4", "p/a@5", "p/a@6"}


@pytest.mark.parametrize("strategy", ["ordered", "cheap", "fast", "best"])
def test_where_every_key_of_a_model_is_used_up_the_next_serves(strategy: str) -> None:
    """Whatever has room goes first: a further target, then the tier's others, then the last resort; never what may not."""
    plan = Plan(strategy, build.targets("a", "b"), min_tier=Tier.STANDARD, last_resort=build.targets("z"))
    models = build.model("a", keys=2), build.model("b"), build.model("c"), build.model("z"), build.model("weak", Tier.ECONOMY)
    used_up = {"p/a@1": USED_UP, "p/a@2": USED_UP}
    first = [decide(plan, *models, health=used_up).chain[0].model]
    for name in ("b", "c"):
        used_up[f"p/{name}@1"] = USED_UP
        first.append(decide(plan, *models, health=used_up).chain[0].model)
    assert first == ["b", "c", "z"]
    with pytest.raises(RequestLimitError):
        decide(plan, *models, health=used_up | {"p/z@1": USED_UP})


def test_the_level_says_where_a_place_with_room_comes_from() -> None:
    """Who reads the decision sees that it was not the first choice."""
    plan = Plan(targets=build.targets("a"), last_resort=build.targets("z"), same_tier=False)
    decision = decide(plan, build.model("a"), build.model("z"), health={"p/a@1": USED_UP})
    assert shown(decision) == ["z last_resort", "a target"]


def test_a_cause_has_what_is_used_up_last() -> None:
    """The chain of a cause goes by the same rule."""
    plan = Plan(targets=build.targets("a"), after={"timeout": build.targets("b", "c")}, same_tier=False)
    decision = decide(plan, build.model("a"), build.model("b"), build.model("c"), health={"p/b@1": USED_UP})
    assert [attempt.model for attempt in decision.cause_chains["timeout"]] == ["c", "b"]


def told(*resets: float, learned: str = "enforce", **others: DeploymentHealth) -> Decision:
    """Decides at 1000 s for a model whose keys are used up until then; one may wait for two seconds."""
    found = msgspec.structs.replace(
        build.registry(build.model("a", keys=len(resets))), spending=Spending(waiting=Waiting(learned=learned))
    )
    health = {f"p/a@{key}": DeploymentHealth(quota_until=reset) for key, reset in enumerate(resets, 1)}
    return Router(found).decide(build.chat("a"), Situation(health=health | others, draw=1, now=1_000))


def test_a_model_that_may_not_be_replaced_is_waited_for_or_refused() -> None:
    """Up to max_wait the earliest reset goes first; beyond it the caller hears when that is, rounded up, and of what kind."""
    assert [attempt.deployment for attempt in told(1_001.9, 1_060, 1_001.5).chain] == ["p/a@3", "p/a@1", "p/a@2"]
    with pytest.raises(RequestLimitError, match="rate limit is used up") as refused:
        told(1_060, 1_002.1, 1_300)
    assert (refused.value.status, refused.value.code, refused.value.retry_after) == (429, "rate_limit_exceeded", 3)


@pytest.mark.parametrize(
    ("first", "kind"), [("tokens", TokenLimitError), ("requests", RequestLimitError), ("", RequestLimitError)]
)
def test_the_caller_hears_of_what_the_first_quota_is(first: str, kind: type[LimitReachedError]) -> None:
    """As OpenAI tells it: tokens or requests, by the provider whose quota is there again first, and until when that is."""
    other = "requests" if first == "tokens" else "tokens"
    health = {
        "p/a@1": DeploymentHealth(quota_until=1_060.0, quota_unit=other),
        "p/a@2": DeploymentHealth(quota_until=1_040.0, quota_unit=first),
    }
    with pytest.raises(LimitReachedError) as refused:
        Router(build.registry(build.model("a", keys=2))).decide(build.chat("a"), Situation(health=health, now=1_000))
    assert type(refused.value) is kind
    assert (refused.value.type, refused.value.code) == (first or "requests", "rate_limit_exceeded")
    assert (refused.value.retry_after, refused.value.quota_resets_in) == (40, 40.0)


def test_a_quota_ends_when_the_provider_said() -> None:
    """From its reset on it is as if nothing had been told."""
    assert {attempt.deployment for attempt in told(1_000, 999).chain} == {"p/a@1", "p/a@2"}


def test_who_wishes_may_ask_anyway() -> None:
    """With ``learned: try`` nobody is refused: what resets first is asked."""
    assert [attempt.deployment for attempt in told(1_300, 1_060, learned="try").chain] == ["p/a@2", "p/a@1"]


def test_what_cools_down_may_be_back_before_a_quota() -> None:
    """The caller hears of the earlier of both."""
    plan = Plan(targets=build.targets("a", "b"), same_tier=False)
    router = Router(build.registry(build.model("a"), build.model("b"), routes=(Route("r", plan),)))
    health = {"p/a@1": DeploymentHealth(quota_until=1_300), "p/b@1": DeploymentHealth(OPEN, open_until=1_030)}
    with pytest.raises(RequestLimitError) as refused:
        router.decide(build.chat("r"), Situation(health=health, now=1_000))
    assert (refused.value.retry_after, refused.value.quota_resets_in) == (30, 300)


def test_a_probe_waits_until_its_quota_is_there_again() -> None:
    """A half-open key that is used up is not put first while another of its model serves; alone it is, when one may wait."""
    half_open = DeploymentHealth(HALF_OPEN, probe="1", quota_until=1)
    plan = Plan(targets=build.targets("a"), same_tier=False)
    waiting = decide(plan, build.model("a", keys=3), health={"p/a@1": half_open})
    assert {attempt.deployment for attempt in waiting.chain} == {"p/a@2", "p/a@3"}
    assert waiting.half_open is None
    alone = decide(plan, build.model("a"), health={"p/a@1": half_open})
    assert alone.half_open == "p/a@1"


def test_a_probe_with_room_goes_before_what_is_used_up() -> None:
    """It is booked, also where it is the last resort."""
    plan = Plan(targets=build.targets("a"), last_resort=build.targets("z"), same_tier=False)
    decision = decide(plan, build.model("a"), build.model("z"), health={"p/a@1": USED_UP, "p/z@1": FREE})
    assert (shown(decision), decision.half_open) == (["z last_resort", "a target"], "p/z@1")
