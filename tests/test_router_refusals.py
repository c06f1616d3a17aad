"""What the brain refuses, and what whoever asked is told of it."""

from __future__ import annotations

from typing import Any

import pytest

from router_extproc import Router, Situation
from router_extproc.errors import (
    BadRequestError,
    MissingCapabilityError,
    ModelNotFoundError,
    PathNotFoundError,
    UnavailableError,
)
from router_extproc.facts import Facts
from router_extproc.registry.health import OPEN, DeploymentHealth
from router_extproc.registry.snapshot import (
    Plan,
    Prices,
    Route,
    Tier,
)
from router_extproc.request import Request
from tests.policy import registries as build

NOW = 1_000.0


def test_an_unknown_model_names_the_nearest() -> None:
    """A misspelled model is a 404 that helps."""
    router = Router(build.registry(build.model("gpt-4o"), build.model("claude-sonnet")))
    with pytest.raises(ModelNotFoundError, match=r"'gpt-4' does not exist.*'gpt-4o'"):
        router.decide(build.chat("gpt-4"))


def test_a_missing_capability_is_named() -> None:
    """An image for models that all are blind is a 400 that says vision."""
    blind = build.model("blind", capabilities=frozenset({"tools"}))
    router = Router(build.registry(blind, routes=(Route("auto"),)))
    with pytest.raises(MissingCapabilityError, match="'auto' can do vision"):
        router.decide(build.chat("auto", analysis=Facts(needs=frozenset({"vision", "tools"}))))


def test_a_missing_combination_is_named_whole() -> None:
    """When each capability exists, but never together, both are named."""
    router = Router(
        build.registry(
            build.model("eyes", capabilities=frozenset({"vision"})),
            build.model("hands", capabilities=frozenset({"tools"})),
            routes=(Route("auto"),),
        )
    )
    with pytest.raises(MissingCapabilityError, match="all of tools, vision"):
        router.decide(build.chat("auto", analysis=Facts(needs=frozenset({"vision", "tools"}))))


def test_too_long_a_prompt_is_told_as_openai_tells_it() -> None:
    """When no context window is wide enough the code is the one that SDK users know."""
    router = Router(build.registry(build.model("small", context_window=1_000)))
    with pytest.raises(MissingCapabilityError) as raised:
        router.decide(build.chat("small", analysis=Facts(prompt_tokens=950)))
    assert (raised.value.status, raised.value.code) == (400, "context_length_exceeded")
    assert router.decide(build.chat("small", analysis=Facts(prompt_tokens=900))).chain


def test_min_tier_is_a_promise() -> None:
    """With all strong models cooling, a route with min_tier answers 503 for machines, never a weaker model."""
    route = Route(
        "careful", Plan(targets=build.targets("strong", "weak"), min_tier=Tier.PREMIUM, last_resort=build.targets("weak"))
    )
    router = Router(build.registry(build.model("strong", Tier.PREMIUM), build.model("weak", Tier.ECONOMY), routes=(route,)))
    assert [one.model for one in router.decide(build.chat("careful")).chain] == ["strong"]
    health = {"p/strong@1": DeploymentHealth(OPEN, open_until=NOW + 7.2)}
    with pytest.raises(UnavailableError) as raised:
        router.decide(build.chat("careful"), Situation(health=health, now=NOW))
    assert (raised.value.status, raised.value.code, raised.value.retry_after) == (503, "min_tier_unavailable", 8)


def test_min_quality_is_a_promise() -> None:
    """As min_tier, by the figure that compares models: fallbacks keep it, and rather no answer than a lesser one's."""
    plan = Plan(targets=build.targets("good", "fair"), min_quality=0.8, last_resort=build.targets("fair"))
    models = (build.model("good", quality=0.8), build.model("fair", Tier.PREMIUM, quality=0.79))
    router = Router(build.registry(*models, routes=(Route("careful", plan),)))
    assert [one.model for one in router.decide(build.chat("careful")).chain] == ["good"]
    shown = {one.deployment: one.rejected for one in router.explain(build.chat("careful")).candidates}
    assert shown == {"p/good@1": None, "p/fair@1": "quality 0.79 is below 0.8"}
    health = {"p/good@1": DeploymentHealth(OPEN, open_until=NOW + 7.2)}
    with pytest.raises(UnavailableError) as raised:
        router.decide(build.chat("careful"), Situation(health=health, now=NOW))
    error = raised.value
    assert (error.status, error.code, error.reason, error.retry_after) == (503, *["min_quality_unavailable"] * 2, 8)


@pytest.mark.parametrize(
    ("floors", "code"),
    [
        ({"min_quality": 0.9}, "min_quality_unavailable"),
        ({"min_quality": 0.9, "min_tier": Tier.STANDARD}, "min_quality_unavailable"),
        ({"min_quality": 0.1, "min_tier": Tier.PREMIUM}, "min_tier_unavailable"),
        ({"min_quality": 0.9, "min_tier": Tier.PREMIUM}, "min_tier_unavailable"),
    ],
)
@pytest.mark.parametrize("passthrough", [False, True])
def test_the_refusal_names_the_floor_that_nothing_reaches(floors: dict[str, Any], code: str, *, passthrough: bool) -> None:
    """With two floors the code is that of the one which left nothing; explain says the same."""
    route = Route("careful", Plan(targets=build.targets("gpt"), **floors), passthrough=passthrough)
    router = Router(build.registry(build.model("gpt", quality=0.5), routes=(route,)))
    with pytest.raises(UnavailableError) as raised:
        router.decide(build.chat("careful"))
    refusal = router.explain(build.chat("careful")).refusal
    assert (raised.value.status, raised.value.code) == (503, code)
    assert refusal is not None
    assert (refusal.status, refusal.code) == (503, code)


def test_a_path_nobody_serves_is_named() -> None:
    """An unserved path is a 404 with its name, with a model and without."""
    router = Router(build.registry(build.model("gpt")))
    with pytest.raises(PathNotFoundError, match="/v1/embeddings"):
        router.decide(Request("/v1/embeddings", "gpt"))
    with pytest.raises(PathNotFoundError, match="/v1/batches"):
        router.decide(Request("/v1/batches", ""))
    with pytest.raises(PathNotFoundError, match="/v2/chat"):
        router.read("POST", "/v2/chat", {}, b"{}")


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("x-router-min-tier", "huge"),
        ("x-router-models", " , "),
        ("x-router-models", "nobody"),
        ("x-router-max-cost-usd", "much"),
        ("x-router-max-cost-usd", "-1"),
        ("x-router-max-cost-usd", "nan"),
        ("x-router-region", "mars"),
    ],
)
def test_a_bad_header_is_named(header: str, value: str) -> None:
    """A header that cannot be understood is a 400 that names it."""
    router = Router(build.registry(build.model("gpt")))
    with pytest.raises(BadRequestError, match=header) as raised:
        router.decide(build.chat("gpt", headers={header: value}))
    assert raised.value.param == header


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"x-router-models": "other"}, "no_allowed_model"),
        ({"x-router-max-cost-usd": "0.000001"}, "max_cost_exceeded"),
        ({"x-router-region": "us"}, "no_model_in_region"),
    ],
)
def test_a_header_that_leaves_nothing_is_told(headers: dict[str, str], code: str) -> None:
    """When the caller's own wish leaves no candidate, the error says which wish."""
    other = build.model("other", deployments=(build.deployment("p/other", "other", region="us"),))
    router = Router(build.registry(build.model("gpt", prices=Prices(10, 10)), other))
    with pytest.raises(BadRequestError) as raised:
        router.decide(build.chat("gpt", headers=headers))
    assert raised.value.code == code
