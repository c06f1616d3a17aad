"""Why a request would go where it goes: the decision together with everything it was made from, for people and machines."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from router_extproc.caller import NOBODY, Caller
from router_extproc.decision import Candidate, Decision
from router_extproc.errors import RequestError
from router_extproc.facts import Facts, Signal, facts_of
from router_extproc.outlook import Rehearsal
from router_extproc.policy.capability import Demand
from router_extproc.policy.choice import Menu
from router_extproc.policy.cost import estimate_cost
from router_extproc.policy.health import UNSEEN
from router_extproc.policy.pool import Pool
from router_extproc.policy.rules import why_unmet
from router_extproc.registry.health import DeploymentHealth
from router_extproc.registry.snapshot import Rule
from router_extproc.request import Request


class Refusal(msgspec.Struct, frozen=True):
    """The error that the caller would get."""

    status: int
    code: str | None
    message: str


class RuleLookedAt(msgspec.Struct, frozen=True):
    """One rule of the route; ``unmet`` is what of its condition does not hold, None for the rule that applies."""

    name: str
    unmet: str | None = None


class Price(msgspec.Struct, frozen=True):
    """USD per million tokens, with where the figures come from and their date."""

    model: str
    input: float
    output: float
    source: str


class Explanation(msgspec.Struct, frozen=True):
    """What ``explain`` and ``x-router-dry-run`` show. Exactly one of ``decision`` and ``refusal`` is there.

    ``caller`` is for whom it was decided, None for nobody in particular. ``admission`` is what budgets and limits would make of
    the decision; None where nothing is counted, or nothing was decided.
    """

    path: str
    model: str
    stream: bool
    max_output_tokens: int | None
    needs: tuple[str, ...]
    facts: Facts
    caller: Caller | None = None
    signals: tuple[Signal, ...] = ()
    route: str | None = None
    revision: str = ""
    catalogue: str = ""
    rules: tuple[RuleLookedAt, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    prices: tuple[Price, ...] = ()
    decision: Decision | None = None
    refusal: Refusal | None = None
    admission: Rehearsal | None = None


def explain_request(request: Request) -> Explanation:
    """The part of an explanation that is known before anything is decided; all facts are worked out for it."""
    facts = facts_of(request.analysis)
    return Explanation(
        path=request.path,
        model=request.model,
        stream=request.stream,
        max_output_tokens=facts.max_output_tokens,
        needs=tuple(sorted(facts.needs)),
        facts=facts,
        caller=None if request.caller == NOBODY else request.caller,
        signals=request.analysis.signals(),
    )


def explain_error(error: RequestError) -> Refusal:
    """An error as an explanation shows it."""
    return Refusal(error.status, error.code, error.message)


def explain_rules(rules: tuple[Rule, ...], request: Request) -> tuple[RuleLookedAt, ...]:
    """The rules in the order they are tried, up to the one that applies."""
    looked_at = []
    for rule in rules:
        looked_at.append(RuleLookedAt(rule.name, why_unmet(rule.when, request)))
        if looked_at[-1].unmet is None:
            break
    return tuple(looked_at)


def explain_candidates(menu: Menu, pool: Pool, demand: Demand, health: Mapping[str, DeploymentHealth]) -> tuple[Candidate, ...]:
    """Every deployment that the plan could use, each with the reason it fell, or None where it stayed."""
    found: dict[str, Candidate] = {}
    for choice in menu.choices():
        pool.usable(choice)
        ratio = demand.token_ratios.get(choice.model.name, 1.0)
        cost = estimate_cost(choice.model, demand.request, demand.expected_answer, demand.token_ratios)
        for deployment in choice.deployments:
            name = deployment.name
            fallen = pool.fallen.get(name)
            found[name] = Candidate(
                deployment=name,
                model=choice.name,
                tier=choice.model.tier.label,
                rejected=None if fallen is None else fallen.text,
                estimated_cost_usd=cost,
                time_to_first_byte_ms=health.get(name, UNSEEN).time_to_first_byte_ms,
                quota_resets_in_seconds=pool.used_up.get(name),
                token_ratio=None if ratio == 1 else ratio,
            )
    return tuple(found.values())


def explain_prices(menu: Menu) -> tuple[Price, ...]:
    """The prices that the estimates are made of."""
    models = {choice.model.name: choice.model.prices for choice in menu.choices()}
    return tuple(Price(name, found.input, found.output, found.source) for name, found in models.items() if found is not None)
