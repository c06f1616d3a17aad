"""The order of candidates under each strategy."""

from __future__ import annotations

from collections import Counter

from router_extproc.facts import Facts
from router_extproc.policy.auto import Wish
from router_extproc.policy.choice import make_menu
from router_extproc.policy.strategy import rank
from router_extproc.policy.weights import Draws
from router_extproc.registry.health import DeploymentHealth
from router_extproc.registry.snapshot import Model, Plan, Prices, Registry, Route, Target, Tier
from router_extproc.request import Request
from tests.policy import registries as build


def order(
    strategy: str,
    registry: Registry,
    *,
    targets: tuple[Target, ...] = (),
    health: dict[str, DeploymentHealth] | None = None,
    request: Request | None = None,
    seed: int = 0,
) -> list[str]:
    """The deployments in the order they would be tried, without their prefix."""
    menu = make_menu(Plan(strategy, targets), Route("auto"), registry)
    request = request or build.chat("auto", analysis=Facts(prompt_tokens=1_000))
    ranked = rank(
        menu.targets, strategy, lambda choice: choice.deployments, request=request, health=health or {}, draws=Draws(seed)
    )
    return [option.deployment.name.removeprefix("p/") for option in ranked]


def models(*found: Model) -> Registry:
    return build.registry(*found)


def test_ordered_keeps_the_written_order() -> None:
    """Targets without weights are tried as written, a model's keys together."""
    registry = models(build.model("a"), build.model("b", keys=2), build.model("c"))
    for seed in range(20):
        ranked = order("ordered", registry, targets=build.targets("b", "a"), seed=seed)
        assert (set(ranked[:2]), ranked[2:]) == ({"b@1", "b@2"}, ["a@1"])


def test_weights_draw_the_order_of_targets_and_keys() -> None:
    """Targets with weights lead in their proportion, those without follow; keys share by their own weights."""
    heavy = build.deployment("p/a@1", "a", weight=9)
    light = build.deployment("p/a@2", "a", weight=1)
    registry = models(build.model("a", deployments=(heavy, light)), build.model("b"), build.model("c"))
    targets = (*build.targets("c"), *build.targets("a", "b", weights=(3, 1)))
    ranked = [order("ordered", registry, targets=targets, seed=seed) for seed in range(2_000)]
    assert {places[-1] for places in ranked} == {"c@1"}
    first = Counter(places[0] for places in ranked)
    assert 0.70 < (first["a@1"] + first["a@2"]) / 2_000 < 0.80
    assert 0.86 < first["a@1"] / (first["a@1"] + first["a@2"]) < 0.94


def test_auto_keeps_the_written_order_where_nothing_was_wished() -> None:
    """A named model, to which nobody's wish applies, is tried as the plan says."""
    registry = models(build.model("a", Tier.PREMIUM), build.model("b", Tier.ECONOMY))
    assert order("auto", registry, targets=build.targets("a", "b")) == ["a@1", "b@1"]


def test_a_long_answer_may_change_which_model_is_cheaper() -> None:
    """Within a tier auto compares what this very request will cost: prompt and the answer to be expected."""
    reader = build.model("reader", Tier.ECONOMY, prices=Prices(1, 10))
    writer = build.model("writer", Tier.ECONOMY, prices=Prices(10, 1))
    menu = make_menu(Plan("auto"), Route("auto"), models(reader, writer))
    request = build.chat("auto", analysis=Facts(prompt_tokens=100))
    for answer, first in ((10, "reader"), (1_000, "writer")):
        ranked = rank(
            menu.targets,
            "auto",
            lambda choice: choice.deployments,
            request=request,
            health={},
            draws=Draws(0),
            wish=Wish(Tier.ECONOMY, answer_tokens=answer),
        )
        assert next(iter(ranked)).choice.name == first


def test_cheap_goes_by_the_price_of_this_request() -> None:
    """What is cheap depends on how much is read and how much may be written; what has no price comes last."""
    reader = build.model("reader", prices=Prices(1, 100))
    writer = build.model("writer", prices=Prices(10, 10))
    registry = models(build.model("unpriced"), writer, reader)
    long_prompt = build.chat("auto", analysis=Facts(prompt_tokens=10_000, max_output_tokens=10))
    long_answer = build.chat("auto", analysis=Facts(prompt_tokens=10, max_output_tokens=10_000))
    assert order("cheap", registry, request=long_prompt) == ["reader@1", "writer@1", "unpriced@1"]
    assert order("cheap", registry, request=long_answer) == ["writer@1", "reader@1", "unpriced@1"]


MEASURED = {
    "p/a@1": DeploymentHealth(time_to_first_byte_ms=300.0),
    "p/a@2": DeploymentHealth(time_to_first_byte_ms=100.0),
    "p/b@1": DeploymentHealth(time_to_first_byte_ms=200.0),
    "p/b@2": DeploymentHealth(time_to_first_byte_ms=400.0),
}


def test_fast_prefers_the_quickest_deployment() -> None:
    """Deployments, not models, are compared, by their live figures: when these move, so does the order."""
    registry = models(build.model("a", keys=2), build.model("b", keys=2))
    assert order("fast", registry, health=MEASURED) == ["a@2", "b@1", "a@1", "b@2"]
    slowed = MEASURED | {"p/a@2": DeploymentHealth(time_to_first_byte_ms=250.0)}
    assert order("fast", registry, health=slowed) == ["b@1", "a@2", "a@1", "b@2"]


def test_fast_has_the_unmeasured_measured_by_a_few() -> None:
    """Without any figure all take turns; beside measured ones, a tenth of the requests find out about an unmeasured one."""
    registry = models(build.model("a", keys=2), build.model("b", keys=2))
    turns = Counter(order("fast", registry, seed=seed)[0] for seed in range(400))
    assert min(turns.values()) > 60
    assert len(turns) == 4
    health = {name: figures for name, figures in MEASURED.items() if name != "p/b@2"}
    ranked = [order("fast", registry, health=health, seed=seed) for seed in range(1_000)]
    assert {tuple(places) for places in ranked} == {("b@2", "a@2", "b@1", "a@1"), ("a@2", "b@1", "a@1", "b@2")}
    assert 60 < sum(places[0] == "b@2" for places in ranked) < 140


def test_best_goes_by_tier_then_quality_then_price() -> None:
    """The strongest tier first, within it the better model, within that the cheaper."""
    registry = models(
        build.model("economy", Tier.ECONOMY, quality=1.0),
        build.model("dear", Tier.PREMIUM, quality=0.8, prices=Prices(9, 9)),
        build.model("fair", Tier.PREMIUM, quality=0.8, prices=Prices(1, 1)),
        build.model("better", Tier.PREMIUM, quality=0.9),
    )
    assert order("best", registry) == ["better@1", "fair@1", "dear@1", "economy@1"]


def test_a_rank_looks_no_further_than_asked() -> None:
    """Candidates beyond the ones taken are not judged: a decision costs the same among many models."""
    registry = models(*(build.model(f"m{index}", prices=Prices(index, index)) for index in range(50)))
    menu = make_menu(Plan("cheap"), Route("auto"), registry)
    judged = []
    ranked = rank(
        menu.targets,
        "cheap",
        lambda choice: judged.append(choice.name) or choice.deployments,  # type: ignore[func-returns-value]
        request=build.chat("auto"),
        health={},
        draws=Draws(0),
    )
    assert [next(ranked).choice.name for _ in range(3)] == ["m0", "m1", "m2"] == judged
