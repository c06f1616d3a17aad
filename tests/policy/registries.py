"""Registries to decide by: one written by hand, and any that hypothesis can think of."""

from __future__ import annotations

from hypothesis import strategies as st

from router_extproc.caller import EVERYTHING, Permissions
from router_extproc.decision import NO_CONSTRAINTS, Constraints
from router_extproc.facts import Facts
from router_extproc.registry.health import CLOSED, HALF_OPEN, OPEN, DeploymentHealth
from router_extproc.registry.snapshot import (
    Bounds,
    Condition,
    Deployment,
    Model,
    Plan,
    Prices,
    Registry,
    Route,
    Rule,
    Target,
    Tier,
)
from router_extproc.request import CHAT_COMPLETIONS, Request

CAPABILITIES = ("vision", "tools", "json_mode", "json_schema", "audio", "files", "logprobs")
STRATEGIES = ("ordered", "cheap", "fast", "best", "auto")
CHAT = ("/v1/chat/completions*",)


def deployment(name: str, model: str, *, provider_model: str | None = None, weight: float = 1.0, **more: object) -> Deployment:
    return Deployment(
        name,
        model,
        name.partition("/")[0],
        provider_model or model,
        weight,
        **{"paths": CHAT} | more,  # type: ignore[arg-type]
    )


def model(name: str, tier: Tier = Tier.STANDARD, *, keys: int = 1, quality: float = 0.5, **more: object) -> Model:
    """A model on one provider with so many keys, named ``p/<model>@1`` and on."""
    deployments = more.pop("deployments", None) or tuple(deployment(f"p/{name}@{key}", name) for key in range(1, keys + 1))
    return Model(name, tier, quality, deployments, **more)  # type: ignore[arg-type]


def registry(*models: Model, routes: tuple[Route, ...] = (), **more: object) -> Registry:
    """The models with a route each, and the given routes."""
    named = {
        one.name: Route(one.name, Plan(targets=(Target("model", one.name),), same_tier=False), named_model=one.name)
        for one in models
    }
    return Registry(
        models={one.name: one for one in models},
        routes=named | {route.name: route for route in routes},
        **more,  # type: ignore[arg-type]
    )


def targets(*names: str, kind: str = "model", weights: tuple[float, ...] = ()) -> tuple[Target, ...]:
    return tuple(Target(kind, name, weights[index] if weights else None) for index, name in enumerate(names))


def chat(name: str, **more: object) -> Request:
    return Request(CHAT_COMPLETIONS, name, **more)  # type: ignore[arg-type]


_NAMES = ("alpha", "beta", "gamma", "delta", "omega-*")

# What does not depend on what was drawn before is made once, here: hypothesis checks each strategy before its first use,
# and for strategies made while drawing that costs more than the drawing.
# Mostly nothing is asked for, so that of several conditions together some hold.
_OPTIONAL = st.sampled_from([None, None, None, None, True, False])
_MILLISECONDS = st.none() | st.integers(1, 10**6)
_SOME_NAMES = st.lists(st.sampled_from(_NAMES), min_size=1, unique=True)
_KEYS = st.integers(1, 4)
_PROVIDER_MODELS = {name: st.sampled_from([name, f"{name}-x", "*" if name.endswith("*") else name]) for name in _NAMES}
_DEPLOYMENT = st.fixed_dictionaries(
    {
        "weight": st.floats(0.1, 10),
        "region": st.sampled_from([None, "eu", "us"]),
        "paths": st.sampled_from([(), CHAT, ("/v1/*",), ("/v1/embeddings",), ("/v1/files*", "/v1/chat/completions")]),
    }
)
_MODEL = st.fixed_dictionaries(
    {
        "tier": st.sampled_from(Tier),
        "quality": st.floats(0, 1),
        "context_window": st.sampled_from([None, 1_000, 10_000]),
        "output_limit": st.sampled_from([None, 500, 5_000]),
        "strengths": st.sampled_from([(), ("code",)]),
        "capabilities": st.none() | st.frozensets(st.sampled_from(CAPABILITIES)),
        "prices": st.none() | st.builds(Prices, st.floats(0, 100), st.floats(0, 100)),
    }
)
_PLACE = st.integers(0, 59)
"""Which of several things, before it is known how many there are: the place of one among them, counted round and round."""

_TARGETS = st.lists(
    st.tuples(st.sampled_from(["model", "tier", "deployment"]), _PLACE, st.none() | st.floats(0.1, 9)), max_size=3
)
_PLANS = st.lists(
    st.fixed_dictionaries(
        {
            "strategy": st.sampled_from(STRATEGIES),
            "targets": _TARGETS,
            "min_tier": st.none() | st.sampled_from(Tier),
            "min_quality": st.none() | st.sampled_from([0.0, 0.5, 0.9]),
            "same_tier": st.booleans(),
            "last_resort": _TARGETS,
            "after": st.dictionaries(st.sampled_from(["rate_limited", "server_error", "context_length"]), _TARGETS, max_size=2),
        }
    ),
    min_size=1,
    max_size=4,
)
_ROUTE = st.fixed_dictionaries(
    {
        "plan": _PLACE,
        "allow_cross_model": st.booleans(),
        "passthrough": st.sampled_from([False, False, False, True]),
        "attempt_timeout_ms": _MILLISECONDS,
        "first_token_timeout_ms": _MILLISECONDS,
        "max_attempts": st.integers(1, 6),
        "check_answer": st.booleans(),
    }
)
_CONDITION = st.builds(
    Condition,
    routes=st.sampled_from([("auto",), ("*",), ("alpha", "team")]),
    headers=st.sampled_from([(), (), (("x-kind", "gold*"),)]),
    prompt_tokens=st.none() | st.builds(Bounds, st.integers(0, 2_000)),
    tasks=st.sampled_from([(), (), ("code",)]),
    code=_OPTIONAL,
    tools=_OPTIONAL,
    images=_OPTIONAL,
    stream=_OPTIONAL,
)
_RULES = st.dictionaries(st.sampled_from(["r1", "r2", "r3"]), st.tuples(_CONDITION, _PLACE), max_size=3)
_ALIASES = st.dictionaries(st.sampled_from(["nick", "other"]), _PLACE, max_size=2)


@st.composite
def models(draw: st.DrawFn) -> dict[str, Model]:
    found = {}
    for name in draw(_SOME_NAMES):
        deployments = tuple(
            Deployment(
                name=f"p/{name}@{key}",
                model=name,
                provider="p",
                provider_model=draw(_PROVIDER_MODELS[name]),
                **draw(_DEPLOYMENT),
            )
            for key in range(draw(_KEYS))
        )
        found[name] = Model(name=name, deployments=deployments, **draw(_MODEL))
    return found


@st.composite
def registries(draw: st.DrawFn) -> Registry:
    """Any registry. Its routes and rules have four plans among them at most: a request meets two of them."""
    found = draw(models())
    things = {
        "model": [*found, "omega-7", "unheard-of"],
        "tier": [tier.label for tier in Tier],
        "deployment": [one.name for each in found.values() for one in each.deployments],
    }

    def targets_at(drawn: list[tuple[str, int, float | None]]) -> tuple[Target, ...]:
        return tuple(Target(kind, things[kind][place % len(things[kind])], weight) for kind, place, weight in drawn)

    plans = [
        Plan(
            **drawn
            | {
                "targets": targets_at(drawn["targets"]),
                "last_resort": targets_at(drawn["last_resort"]),
                "after": {cause: targets_at(some) for cause, some in drawn["after"].items()},
            }
        )
        for drawn in draw(_PLANS)
    ]

    def route(name: str, named: str | None) -> Route:
        drawn = draw(_ROUTE)
        return Route(name=name, named_model=named, **drawn | {"plan": plans[drawn["plan"] % len(plans)]})

    routes = {name: route(name, None) for name in ("auto", "team", "wide-*")}
    routes |= {name: route(name, name) for name in found}
    rules = tuple(Rule(name, condition, plans[place % len(plans)]) for name, (condition, place) in draw(_RULES).items())
    known = [*found, "nick", "other"]
    aliases = {alias: known[place % len(known)] for alias, place in draw(_ALIASES).items()}
    return Registry(models=found, routes=routes, rules=rules, aliases=aliases)


_HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "x-router-min-tier": st.sampled_from(["economy", "premium", "huge", ""]),
        "x-router-models": st.sampled_from(["alpha", "alpha, beta", "nick", "omega-7", ",", "nobody"]),
        "x-router-max-cost-usd": st.sampled_from(["0.001", "1", "-1", "nan", "much"]),
        "x-router-region": st.sampled_from(["eu", "us", "mars"]),
        "x-kind": st.sampled_from(["golden", "tin"]),
    },
)


def _ascending(shares: tuple[float, float, float]) -> tuple[float, float, float]:
    low, middle, high = sorted(shares)
    return low, middle, high


REQUESTS = st.builds(
    Request,
    path=st.sampled_from([CHAT_COMPLETIONS, CHAT_COMPLETIONS, "/v1/embeddings", "/v1/files", "/v1/nothing"]),
    model=st.sampled_from(["auto", "team", "alpha", "beta", "omega-7", "omega-*", "wide-x", "nick", "", "nonsense", "é"]),
    stream=st.booleans(),
    analysis=st.builds(
        Facts,
        prompt_tokens=st.integers(0, 12_000),
        images=st.integers(0, 1),
        has_tools=st.booleans(),
        needs=st.frozensets(st.sampled_from(CAPABILITIES), max_size=2),
        max_output_tokens=st.none() | st.integers(1, 10_000),
        choices=st.integers(1, 3),
        has_code=st.none() | st.booleans(),
        task=st.sampled_from([None, "code", "chat"]),
        risk=st.sampled_from([None, "none", "medical"]),
        adequacy=st.none() | st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)).map(_ascending),
        unsure=st.sampled_from([(), ("foreign",)]),
    ),
    headers=st.just({}) | _HEADERS,
)


def constraints(found: Registry) -> st.SearchStrategy[Constraints]:
    """What budgets may leave of a registry's candidates, often everything."""
    names = [one.name for one in found.deployments()]
    some = st.builds(
        Constraints,
        tier_ceiling=st.sampled_from([None, "economy", "standard"]),
        closed=st.just({}) | st.dictionaries(st.sampled_from(names), st.just("no room in daily")),
        max_output_tokens=st.none() | st.integers(1, 2_000),
    )
    return st.just(NO_CONSTRAINTS) | some


PERMISSIONS = st.just(EVERYTHING) | st.builds(
    Permissions,
    routes=st.sampled_from([None, None, ("auto", "alpha", "omega*"), ()]),
    models=st.sampled_from([None, ("alpha", "be*"), ("omega-7",), ("omega-*",)]),
    tiers=st.sampled_from([None, ("economy", "premium"), ("stand*",)]),
    regions=st.sampled_from([None, ("eu",), ("*",)]),
    max_context_tokens=st.sampled_from([None, 5_000]),
    max_output_tokens=st.none(),
)


def healths(found: Registry) -> st.SearchStrategy[dict[str, DeploymentHealth]]:
    names = [one.name for one in found.deployments()]
    one = st.builds(
        DeploymentHealth,
        state=st.sampled_from([CLOSED, OPEN, HALF_OPEN]),
        probe=st.sampled_from([None, "probe-1"]),
        open_until=st.floats(0, 2_000),
        failure_ratio=st.floats(0, 1),
        time_to_first_byte_ms=st.none() | st.floats(1, 5_000),
        quota_until=st.just(0.0) | st.floats(0, 2_000),
    )
    return st.just({}) | st.dictionaries(st.sampled_from(names), one)
