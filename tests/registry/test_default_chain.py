"""What Envoy serves alone."""

from __future__ import annotations

import pytest

from router_extproc.registry.default_chain import derived_chain, explicit_chain
from router_extproc.registry.snapshot import Deployment, Model, Plan, Prices, Target, Tier


def model(name: str, tier: Tier, price: float | None, keys: int = 1, quality: float = 0.5) -> Model:
    deployments = tuple(Deployment(f"p/{name}@{key}", name, "p", name) for key in range(1, keys + 1))
    prices = None if price is None else Prices(price, price)
    return Model(name=name, tier=tier, quality=quality, deployments=deployments, prices=prices)


MODELS = {
    each.name: each
    for each in (
        model("large", Tier.PREMIUM, 5.0, keys=2, quality=0.7),
        model("huge", Tier.PREMIUM, 9.0, quality=0.9),
        model("middle", Tier.STANDARD, 2.0),
        model("small", Tier.ECONOMY, 0.2, keys=2),
        model("free", Tier.ECONOMY, None),
        model("text-embedding-1", Tier.ECONOMY, 0.01),
        model("wild*", Tier.ECONOMY, 0.01),
    )
}


def to(*names: str, kind: str = "model") -> tuple[Target, ...]:
    return tuple(Target(kind, name) for name in names)


EVERYTHING = to("large", "huge", "middle", "small", "free")


@pytest.mark.parametrize(
    ("plan", "chain"),
    [
        (Plan("cheap", EVERYTHING), ["p/small@1", "p/middle@1", "p/large@1", "p/huge@1"]),
        (Plan("auto", EVERYTHING), ["p/large@1", "p/huge@1", "p/middle@1", "p/small@1"]),
        (Plan("best", EVERYTHING), ["p/huge@1", "p/large@1", "p/middle@1", "p/small@1"]),
        (Plan("fast", EVERYTHING), ["p/large@1", "p/huge@1", "p/middle@1", "p/small@1"]),
        (Plan("ordered", to("small"), same_tier=False), ["p/small@1", "p/small@2"]),
        (Plan("ordered", to("small"), same_tier=True), ["p/small@1", "p/free@1", "p/small@2"]),
        (Plan("ordered", to("small", "large"), same_tier=False), ["p/small@1", "p/large@1", "p/small@2", "p/large@2"]),
        (Plan("ordered", to("premium", kind="tier"), same_tier=False), ["p/large@1", "p/huge@1", "p/large@2"]),
        (Plan("ordered", to("p/large@2", kind="deployment"), same_tier=False), ["p/large@2"]),
        (Plan("ordered", to("middle"), same_tier=False, last_resort=to("huge")), ["p/middle@1", "p/huge@1"]),
        (
            Plan("ordered", (Target("model", "small", 1), Target("model", "middle", 9)), same_tier=False),
            ["p/middle@1", "p/small@1", "p/small@2"],
        ),
    ],
)
def test_the_derived_chain_follows_the_plan(plan: Plan, chain: list[str]) -> None:
    """Each model's first deployment in the plan's order, then further keys, four together."""
    assert list(derived_chain(plan, MODELS)) == chain


def test_a_floor_is_kept_even_without_a_worker() -> None:
    """Models below the minimum tier or quality never enter the chain: an empty one is better than a weaker answer."""
    plan = Plan("cheap", to("small", "large"), min_tier=Tier.PREMIUM, same_tier=False)
    assert derived_chain(plan, MODELS) == ("p/large@1", "p/large@2")
    assert derived_chain(Plan("cheap", to("small"), min_tier=Tier.PREMIUM, same_tier=False), MODELS) == ()
    assert derived_chain(Plan("cheap", EVERYTHING, min_quality=0.7), MODELS) == ("p/large@1", "p/huge@1", "p/large@2")
    assert derived_chain(Plan("cheap", to("small"), min_quality=0.7, same_tier=False), MODELS) == ()


def test_wildcards_serve_where_there_is_nothing_else() -> None:
    """Only a configuration of wildcards has them in its chain."""
    assert derived_chain(Plan("cheap"), {"wild*": MODELS["wild*"]}) == ("p/wild*@1",)


def test_the_written_chain_is_taken_as_written() -> None:
    """Each target with all its deployments, in order, each once."""
    assert explicit_chain((*to("large", "small"), *to("economy", kind="tier")), MODELS) == (
        "p/large@1",
        "p/large@2",
        "p/small@1",
        "p/small@2",
        "p/free@1",
    )
