"""A registry with prices, callers and budgets, and one request's way through plan, store and ladder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from router_extproc.caller import Caller
from router_extproc.decision import NO_CONSTRAINTS, Constraints, Decision
from router_extproc.errors import RequestError
from router_extproc.facts import Facts
from router_extproc.limits.claims import Claim, budgets_for, plan
from router_extproc.limits.ladder import Again, Proceed, Refuse, Step, next_step
from router_extproc.registry.snapshot import Model, Plan, Prices, Registry, Route, Tier
from router_extproc.registry.spending import Budget, KeyGrant, Spending
from router_extproc.request import Request
from router_extproc.router import Router, Situation
from tests.limits.model_store import ModelStore
from tests.policy import registries as build

# A Wednesday, 12:00 UTC.
NOON = 1_772_625_600.0
ACME = Caller(tenant="acme", team="ads", user="ann", key="k1", tags={"app": "shop"})

CHEAP = Prices(0.5, 1.0)
MIDDLE = Prices(2.0, 8.0)
DEAR = Prices(10.0, 40.0)


def model(name: str, tier: Tier, prices: Prices | None, provider: str = "p", **more: Any) -> Model:
    one = build.deployment(f"{provider}/{name}", name)
    return Model(name, tier, 0.5, (one,), **{"prices": prices, "output_limit": 4_000, "context_window": 128_000} | more)


def registry(*budgets: Budget, models: Sequence[Model] = (), spending: Spending | None = None, **routes: Route) -> Registry:
    """Three tiers on three providers; ``auto`` takes the strongest that the request asks for."""
    found = models or (
        model("small", Tier.ECONOMY, CHEAP, "one"),
        model("medium", Tier.STANDARD, MIDDLE, "two"),
        model("large", Tier.PREMIUM, DEAR, "three"),
    )
    best = Route("best", Plan("best"), max_attempts=3)
    built = build.registry(*found, routes=(best, Route("auto", Plan("auto")), *routes.values()))
    chosen = spending or Spending()
    return replace(built, spending=replace(chosen, budgets=(*chosen.budgets, *budgets)))


def request(name: str = "large", caller: Caller = ACME, **facts: Any) -> Request:
    return build.chat(name, caller=caller, analysis=Facts(**{"prompt_tokens": 1_000, "max_output_tokens": 1_000} | facts))


def decide(found: Registry, asked: Request, constraints: Constraints = NO_CONSTRAINTS) -> Decision:
    return Router(found).decide(asked, Situation(now=NOON, constraints=constraints))


def claim(found: Registry, asked: Request, *, key: KeyGrant | None = None, now: float = NOON, **more: Any) -> Claim:
    constraints = more.get("constraints", NO_CONSTRAINTS)
    decision = decide(found, asked, constraints)
    return plan(asked, decision, found, budgets_for(found, key), now, **{"reservation": "r-1"} | more)


def walk(
    found: Registry, asked: Request, store: ModelStore, *, reservation: str = "r-1", now: float = NOON, **more: Any
) -> tuple[Proceed | Refuse, Decision]:
    """A request's whole way down the ladder, as whoever admits requests goes it."""
    router = Router(found)
    constraints = NO_CONSTRAINTS
    decision = router.decide(asked, Situation(now=now, constraints=constraints))
    for _ in range(12):
        wanted = plan(asked, decision, found, budgets_for(found), now, reservation=reservation, constraints=constraints, **more)
        verdict = store.reserve(reservation, wanted.holds)
        step: Step = next_step(wanted, verdict, found, asked, decision, now)
        while isinstance(step, Again):
            try:
                smaller = router.decide(asked, Situation(now=now, constraints=step.constraints))
            except RequestError:
                step = step.otherwise
                continue
            store.release(reservation, step.release)
            decision, constraints = smaller, step.constraints
            break
        if not isinstance(step, Again):
            return step, decision
    raise AssertionError("the ladder has no end")
