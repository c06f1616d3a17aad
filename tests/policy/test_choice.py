"""Plans with their targets looked up."""

from __future__ import annotations

from router_extproc.policy.choice import Group, make_menu
from router_extproc.registry.snapshot import Plan, Registry, Route, Target, Tier
from tests.policy import registries as build

REGISTRY: Registry = build.registry(
    build.model("a", keys=2),
    build.model("b", Tier.PREMIUM),
    build.model("c"),
    build.model("w-*", deployments=(build.deployment("p/w", "w-*", provider_model="*"),)),
)


def names(groups: tuple[Group, ...]) -> list[list[str]]:
    return [[choice.name for choice in group.choices] for group in groups]


def test_targets_of_each_kind() -> None:
    """A model, a tier and a single deployment are looked up; what does not exist is left out."""
    plan = Plan(
        targets=(Target("model", "a"), Target("tier", "standard"), Target("deployment", "p/a@2"), Target("model", "gone"))
    )
    menu = make_menu(plan, Route("r"), REGISTRY)
    assert names(menu.targets) == [["a"], ["a", "c"], ["a"]]
    assert [one.name for one in menu.targets[2].choices[0].deployments] == ["p/a@2"]


def test_a_target_may_be_served_by_a_wildcard() -> None:
    """A name that only a wildcard model matches becomes that model under this name."""
    menu = make_menu(Plan(targets=build.targets("w-7")), Route("r"), REGISTRY)
    choice = menu.targets[0].choices[0]
    assert (choice.model.name, choice.name, choice.matched) == ("w-*", "w-7", "7")


def test_the_same_tier_is_that_of_the_targets() -> None:
    """Models of the targets' tiers follow, the targets themselves and wildcards without a name excepted."""
    menu = make_menu(Plan(targets=build.targets("b", "a")), Route("r"), REGISTRY)
    assert [choice.name for choice in menu.same_tier] == ["c"]
    assert make_menu(Plan(targets=build.targets("a"), same_tier=False), Route("r"), REGISTRY).same_tier == ()


def test_what_a_route_s_pattern_matched_never_names_a_model_of_a_tier() -> None:
    """`team/search` reaches a wildcard model only where the plan names it: a tier does not turn `search` into a model's id."""
    route = Route("team/*")
    menu = make_menu(Plan(targets=build.targets("a")), route, REGISTRY, "search")
    assert [choice.name for choice in menu.same_tier] == ["c"]
    assert names(make_menu(Plan(targets=(Target("tier", "standard"),)), route, REGISTRY, "search").targets) == [["a", "c"]]
    assert names(make_menu(Plan(targets=build.targets("w-*")), route, REGISTRY, "search").targets) == [["w-search"]]


def test_a_route_named_like_a_model_is_held_to_it() -> None:
    """Whatever its plan says: targets, tier, last resort and causes all keep to the model."""
    others = build.targets("b", "a")
    plan = Plan(targets=others, last_resort=others, after={"rate_limited": others, "server_error": build.targets("b")})
    menu = make_menu(plan, Route("a", named_model="a"), REGISTRY)
    assert names(menu.targets) == names(menu.last_resort) == names(menu.after["rate_limited"]) == [["a"]]
    assert (menu.same_tier, set(menu.after)) == ((), {"rate_limited"})
    assert names(make_menu(plan, Route("a", named_model="a", allow_cross_model=True), REGISTRY).targets) == [["b"], ["a"]]


def test_without_targets_every_model_is_a_candidate() -> None:
    """All models with a name of their own, in file order."""
    assert names(make_menu(Plan(), Route("r"), REGISTRY).targets) == [["a", "b", "c"]]
    assert names(make_menu(Plan(), Route("r-*"), REGISTRY, "7").targets) == [["a", "b", "c"]]
