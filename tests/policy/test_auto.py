"""What ``auto`` asks of a model, and in which order it tries them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_extproc import Router, Situation
from router_extproc.decision import Decision
from router_extproc.facts import Facts
from router_extproc.policy.auto import Wish, in_order, read_wish
from router_extproc.policy.choice import Choice
from router_extproc.registry.health import OPEN, DeploymentHealth
from router_extproc.registry.snapshot import AnalysisSettings, Condition, Model, Plan, Prices, Route, Rule, Tier
from tests.policy import registries as build

FLOORS = AnalysisSettings().risk_floor
EASY, MIDDLING, HARD = (0.9, 0.95, 1.0), (0.3, 0.8, 0.9), (0.1, 0.2, 0.4)


def priced(name: str, tier: Tier, price: float, *strengths: str) -> Model:
    return build.model(name, tier, prices=Prices(price, price), strengths=strengths)


# In every tier the coder costs more than its sibling.
MODELS = (
    priced("large-coder", Tier.PREMIUM, 6, "code"),
    priced("large", Tier.PREMIUM, 5),
    priced("medium-coder", Tier.STANDARD, 4, "code"),
    priced("medium", Tier.STANDARD, 3),
    priced("small-coder", Tier.ECONOMY, 2, "code"),
    priced("small", Tier.ECONOMY, 1),
)


def facts(adequacy: tuple[float, float, float] | None, **more: object) -> Facts:
    """Of a request in no risky domain, unless more is said."""
    return Facts(adequacy=adequacy, **{"risk": "none", **more})  # type: ignore[arg-type]


def decide(found: Facts, *models: Model, situation: Situation | None = None, **plan: object) -> Decision:
    route = Route("auto", Plan(strategy="auto", **plan))  # type: ignore[arg-type]
    router = Router(build.registry(*(models or MODELS), routes=(route,)))
    return router.decide(build.chat("auto", analysis=found), situation or Situation.unknown())


def order(decision: Decision) -> list[str]:
    return [attempt.model for attempt in decision.chain]


@pytest.mark.parametrize(
    ("found", "first", "reason"),
    [
        (facts(EASY), "small", "auto:economy"),
        (facts(MIDDLING), "medium", "auto:standard"),
        (facts(HARD), "large", "auto:premium"),
        (facts(EASY, task="code"), "small-coder", "auto:economy:task=code"),
        (facts(MIDDLING, task="code"), "medium-coder", "auto:standard:task=code"),
        (facts(EASY, task="chat"), "small", "auto:economy"),
        (facts(EASY, risk="medical"), "large", "auto:premium:risk=medical"),
        (facts(HARD, risk="legal", task="code"), "large-coder", "auto:premium:risk=legal"),
        (facts(EASY, risk=None), "large", "auto:premium:unclassified"),
        (facts(None), "large", "auto:premium:unclassified"),
        (facts(HARD, unsure=("foreign",)), "large", "auto:premium:unsure=foreign"),
        (facts(EASY, unsure=("misspelt",)), "small", "auto:economy"),
        (facts(EASY, reasoning=0.35), "medium", "auto:standard:reasoning"),
        (facts(EASY, reasoning=0.34), "small", "auto:economy"),
        (facts(EASY, reasoning=1.0, task="code"), "medium-coder", "auto:standard:reasoning"),
        (facts(MIDDLING, reasoning=1.0), "medium", "auto:standard"),
        (facts(EASY, reasoning=1.0, risk="medical"), "large", "auto:premium:risk=medical"),
        (Facts(), "large", "auto:premium:unclassified"),
        (Facts(risk="medical"), "large", "auto:premium:risk=medical"),
    ],
)
def test_the_weakest_tier_that_is_good_enough_is_chosen(found: Facts, first: str, reason: str) -> None:
    """Difficulty, risk and kind of work decide, and the reason says which of them did."""
    decision = decide(found)
    assert (order(decision)[0], decision.reason) == (first, reason)


@pytest.mark.parametrize(
    ("quality", "first"), [(0.0, "small"), (0.3, "small"), (0.31, "medium"), (0.9, "large"), (1.0, "large")]
)
def test_quality_is_the_least_probability_of_a_good_answer(quality: float, first: str) -> None:
    """A route that asks for more gets a stronger tier for the same request; beyond every tier's reach it gets the strongest."""
    assert order(decide(facts(MIDDLING), quality=quality))[0] == first


def test_without_a_quality_of_its_own_a_rule_asks_for_its_routes() -> None:
    """The quality written for a route also holds in the rules that apply to it."""
    rule = Rule("tools", Condition(tools=True), Plan(strategy="auto"))
    strict = Rule("images", Condition(images=True), Plan(strategy="auto", quality=0.85))
    route = Route("auto", Plan(strategy="auto", quality=0.2))
    router = Router(build.registry(*MODELS, routes=(route,), rules=(rule, strict)))
    for found, first in ((facts(MIDDLING, has_tools=True), "small"), (facts(MIDDLING, images=1), "large")):
        decision = router.decide(build.chat("auto", analysis=found))
        assert (decision.chain[0].model, decision.reason.partition(":")[0]) == (first, "rule")


def test_failures_go_up_a_tier_and_then_sideways() -> None:
    """After the first model the next tier's best is tried, then the tier's others; weaker tiers last, strongest first."""
    assert order(decide(facts(EASY))) == ["small", "medium", "small-coder", "medium-coder"]
    assert order(decide(facts(MIDDLING))) == ["medium", "large", "medium-coder", "large-coder"]
    hard = decide(facts(HARD))
    assert order(hard) == ["large", "large-coder", "medium", "medium-coder"]
    assert [attempt.level for attempt in hard.chain] == ["primary", "target", "last_resort", "last_resort"]


def test_nothing_below_the_floor_of_a_risk_is_tried_beside_it() -> None:
    """An outage of the strongest is no reason to have a risky question answered by a weak model."""
    assert order(decide(facts(HARD, risk="medical"))) == ["large", "large-coder"]
    standard = read_wish(facts(HARD, risk="legal"), 0.7, {"legal": Tier.STANDARD})
    assert (standard.tier, standard.floor) == (Tier.PREMIUM, Tier.STANDARD)


def test_a_weaker_tier_only_serves_where_no_other_can() -> None:
    """Where the wanted tier and all above lack what is needed, or cool down, the strongest of the rest answers."""
    able = build.model("able", Tier.STANDARD, capabilities=frozenset({"vision"}))
    unable = [
        build.model(name, tier, capabilities=frozenset()) for name, tier in (("top", Tier.PREMIUM), ("low", Tier.ECONOMY))
    ]
    decision = decide(facts(HARD, needs=frozenset({"vision"})), able, *unable)
    assert (order(decision), decision.reason) == (["able"], "auto:standard")
    assert decision.chain[0].level == "primary"
    cooling = {f"p/{name}@1": DeploymentHealth(OPEN, open_until=99) for name in ("large", "large-coder")}
    decision = decide(facts(HARD), situation=Situation(health=cooling))
    assert (order(decision)[0], decision.degraded) == ("medium", None)


def test_a_tier_without_a_capable_model_is_passed_over() -> None:
    """Where no model of the tier that would do can serve the request, the next one up does."""
    models = (
        build.model("blind", Tier.ECONOMY, capabilities=frozenset()),
        build.model("seeing", Tier.STANDARD, capabilities=frozenset({"vision"})),
    )
    decision = decide(facts(EASY, needs=frozenset({"vision"})), *models)
    assert (order(decision), decision.reason) == (["seeing"], "auto:standard")


def test_the_strongest_there_is_will_do_for_a_risk() -> None:
    """Without a premium model a risky request goes to the strongest, and still says that it was one."""
    small, medium = (priced(name, tier, 1) for name, tier in (("small", Tier.ECONOMY), ("medium", Tier.STANDARD)))
    decision = decide(facts(EASY, risk="medical"), small, medium)
    assert (order(decision)[0], decision.reason) == ("medium", "auto:standard:risk=medical")


def test_floors_and_targets_bound_what_auto_may_choose() -> None:
    """With targets auto chooses among these, and a minimum tier holds however easy the request is."""
    assert order(decide(facts(EASY), min_tier=Tier.STANDARD))[0] == "medium"
    chosen = decide(facts(EASY), targets=build.targets("large", "medium-coder"), same_tier=False)
    assert (order(chosen), chosen.reason) == (["medium-coder", "large"], "auto:standard")


def test_an_analysis_cut_short_is_the_reason() -> None:
    """What was not found out in time is taken for hard, whatever else is known."""

    class Late(Facts, frozen=True):
        @property
        def is_cut_short(self) -> bool:
            return True

    for late in (Late(risk="medical"), Late(adequacy=EASY), Late(adequacy=EASY, risk="none")):
        decision = decide(late)
        assert (order(decision)[0], decision.reason) == ("large", "analysis-deadline")


def test_where_no_domain_has_a_floor_nobody_asks_for_the_risk() -> None:
    """A configuration without floors does not pay for them."""

    class Untouchable(Facts, frozen=True):
        @property
        def risk(self) -> None:  # type: ignore[override]
            raise AssertionError("asked")

    assert read_wish(Untouchable(adequacy=EASY), 0.7, {}) == Wish(Tier.ECONOMY)


def test_whether_it_is_to_be_thought_through_is_only_asked_where_it_matters() -> None:
    """Where a stronger tier is taken anyway, or the weakest is enough for puzzles too, the question costs nothing."""

    class Untouchable(Facts, frozen=True):
        @property
        def reasoning(self) -> None:  # type: ignore[override]
            raise AssertionError("asked")

    assert read_wish(Untouchable(adequacy=HARD), 0.7, {}, Tier.STANDARD).tier == Tier.PREMIUM
    assert read_wish(Untouchable(adequacy=EASY), 0.7, {}, Tier.ECONOMY).tier == Tier.ECONOMY


def test_a_weaker_model_serves_a_puzzle_in_need() -> None:
    """Where no stronger model can serve, what is to be thought through goes to what there is: it is no danger to anybody."""
    weak = priced("small", Tier.ECONOMY, 1)
    assert order(decide(facts(EASY, reasoning=1.0), weak)) == ["small"]


def test_a_named_model_is_not_analysed() -> None:
    """A rule whose plan is auto leaves a named model alone: there is nothing to choose."""
    rule = Rule("named", Condition(routes=("small",)), Plan(strategy="auto"))

    class Untouchable(Facts, frozen=True):
        @property
        def adequacy(self) -> None:  # type: ignore[override]
            raise AssertionError("asked")

    router = Router(build.registry(*MODELS, rules=(rule,)))
    assert order(router.decide(build.chat("small", analysis=Untouchable()))) == ["small"]


TIERS = st.sampled_from(Tier)


@given(
    st.lists(st.tuples(TIERS, st.floats(0, 9), st.booleans(), st.booleans()), max_size=8),
    TIERS,
    TIERS,
    st.sampled_from([None, "code"]),
)
def test_the_order_keeps_its_promises(
    models: list[tuple[Tier, float, bool, bool]], tier: Tier, floor: Tier, task: str | None
) -> None:
    """The first is of the weakest tier that will do, and the best of it; what is weaker comes last, and not below a floor."""
    floor = min(floor, tier)
    made = [priced(f"m{place}", one, price, *["code"] * strong) for place, (one, price, strong, _) in enumerate(models)]
    choices = [Choice(model, model.name, None, ()) for model in made]
    able = {choice.name for choice, (*_, can) in zip(choices, models, strict=True) if can}

    def price(model: Model) -> float:
        return model.prices.input if model.prices is not None else 0.0

    found = list(in_order(choices, Wish(tier, task, floor=floor), price, lambda choice: choice.name in able))
    assert len({choice.name for choice in found}) == len(found)
    up = [choice for choice in choices if choice.name in able and choice.model.tier >= tier]
    if up:
        assert {choice.name for choice in found[: len(up)]} == {choice.name for choice in up}
        weaker = [choice.model.tier for choice in found[len(up) :]]
        assert weaker == sorted(weaker, reverse=True)
        assert all(floor <= one < tier for one in weaker)
        lowest = min(choice.model.tier for choice in up)
        rivals = [choice for choice in up if choice.model.tier == lowest]
        assert found[0].model.tier == lowest
        best = min((task not in one.model.strengths, price(one.model)) for one in rivals)
        assert (task not in found[0].model.strengths, price(found[0].model)) == best
    else:
        left = [choice.model.tier for choice in choices if choice.name in able]
        assert [choice.model.tier for choice in found] == sorted(left, reverse=True)


@given(
    st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)).map(lambda shares: tuple(sorted(shares))),
    st.floats(0, 1),
    st.sampled_from([None, "none", "medical", "unheard-of"]),
)
def test_risk_never_lowers_and_quality_never_either(
    adequacy: tuple[float, float, float], quality: float, risk: str | None
) -> None:
    """Asking for more never gives a weaker tier, and neither does a risk."""
    plain = read_wish(facts(adequacy), quality, FLOORS).tier
    assert read_wish(facts(adequacy, risk=risk), quality, FLOORS).tier >= plain
    assert read_wish(facts(adequacy), min(1.0, quality + 0.1), FLOORS).tier >= plain
