"""What follows from the store's answer to a claim: go on, decide again with less, or refuse.

Rules of this file
- Amounts are compared as whole numbers, shares as the decimals they are written as.
- Near the cap the model becomes cheaper; what then does not fit is made shorter, then cheaper, then refused.
- A budget never takes a request below a floor of its own: a safety-critical route, a risk, a tier that is asked for.
- A budget on a place closes the place. Only when no place is left is the request made shorter, and else refused.
- Observed budgets change nothing and are reported.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from router_extproc.decision import Constraints, Decision
from router_extproc.limits.claims import Claim
from router_extproc.limits.counter_names import counter_name
from router_extproc.limits.figures import Figure, Figures, figures_of, tightest_of
from router_extproc.limits.loop_guard import SUMMARY, SYSTEM_LINE, is_guard, stage, strongest
from router_extproc.limits.refusals import free_at, refusal_of
from router_extproc.limits.selection import is_provider_limit, labels_of, matches
from router_extproc.limits.shares import reaches
from router_extproc.limits.steps import Again, Proceed, Refuse, Step
from router_extproc.limits.without_store import LOCAL, Alone, on_store_failure
from router_extproc.registry.snapshot import Registry, Tier
from router_extproc.registry.spending import Budget
from router_extproc.request import Request
from router_extproc.store.counters import Verdict

__all__ = ["Again", "Alone", "Figure", "Figures", "Proceed", "Refuse", "Step", "next_step", "on_store_failure"]

DOWNGRADED, LOWERED, OVER = "budget-downgrade", "max-tokens-lowered", "over-budget"
# What a cheaper model uses less of, or is thought to; what a shorter answer does.
_SAVED = ("usd", "tokens")


class _Case(NamedTuple):
    """Everything that a step follows from."""

    claim: Claim
    verdict: Verdict
    registry: Registry
    request: Request
    decision: Decision
    now: float

    @property
    def constraints(self) -> Constraints:
        return self.claim.constraints


def next_step(  # noqa: PLR0917 - the six things that a step follows from
    claim: Claim, verdict: Verdict, registry: Registry, request: Request, decision: Decision, now: float
) -> Step:
    """What follows from the store's answer to a claim. Repeated, it comes to an end: ``Again`` leaves less each time."""
    case = _Case(claim, verdict, registry, request, decision, now)
    step = _when_refused(case) if verdict.refused else _proceed(case)
    near = _nearest_to_cap(case)
    constraints = None if near is None or claim.constraints.tier_ceiling is not None else _cheaper(case, near)
    if constraints is None:
        return step
    return Again(constraints, step, () if verdict.refused else tuple(hold.counter for hold in claim.holds))


def _proceed(case: _Case) -> Proceed:
    claim, verdict = case.claim, case.verdict
    left_out = {claim.holds[index].counter for index in verdict.beyond}
    account = claim.account
    if left_out:
        account = replace(account, held=tuple(held for held in account.held if held.counter not in left_out))
    flagged, stages = [], []
    for hold, budget, level in zip(claim.holds, claim.budgets, verdict.levels, strict=True):
        if hold.kind == "count" and budget.at_cap == "allow_and_flag" and level.used + hold.amount > hold.limit:
            flagged.append(budget.name)
        if is_guard(budget):
            least = min(hold.amount, claim.measure.most(budget.unit, claim.measure.useful))
            stages.append(stage(budget, level.used, min(hold.amount, claim.measure.likely(budget.unit)), least))
    loop = strongest(stages)
    return Proceed(
        account=account,
        max_output_tokens=claim.max_output_tokens,
        reasons=(*case.constraints.reasons, *(f"{OVER}:{name}" for name in flagged), *(() if loop is None else (loop,))),
        figures=figures_of(tightest_of(claim, verdict), claim, case.now),
        flagged=tuple(flagged),
        observed=tuple(claim.budgets[index].name for index in verdict.beyond),
        degraded=claim.is_degraded,
        system_line=SYSTEM_LINE if loop == SUMMARY else None,
    )


def _when_refused(case: _Case) -> Again | Refuse:
    budgets, refused = case.claim.budgets, case.verdict.refused
    own = [index for index in refused if not budgets[index].is_of_place]
    of_places = [index for index in refused if budgets[index].is_of_place]
    if any(budgets[index].unit not in _SAVED for index in own):
        return _refuse(case, own)
    if of_places:
        # First: what is left may be cheaper, and need not be made shorter for the sake of places that are out anyway.
        constraints = _closed(case, case.constraints, of_places)
        refusal = _refuse(case, refused, None if own else constraints.opens_at)
        shorter = _shorter(case, refused)
        return Again(constraints, refusal if shorter is None else Again(shorter, refusal))
    smaller = _shorter(case, own) or _cheaper_for(case, own)
    refusal = _refuse(case, own)
    return refusal if smaller is None else Again(smaller, refusal)


def _refuse(case: _Case, refused: Sequence[int], opens_at: float | None = None) -> Refuse:
    found = refusal_of(case.claim, case.verdict, refused, case.now, opens_at)
    figures = figures_of(tightest_of(case.claim, case.verdict), case.claim, case.now)
    return Refuse(found.error, found.budget, found.wait_until, figures)


def _shorter(case: _Case, refused: Sequence[int]) -> Constraints | None:
    """A shorter answer that fits into what is left of every budget that refused, if it is still of use."""
    claim, measure = case.claim, case.claim.measure
    wished = claim.max_output_tokens or measure.longest_wish
    longest, name = wished, ""
    for index in refused:
        hold, level, budget = claim.holds[index], case.verdict.levels[index], claim.budgets[index]
        if budget.unit not in _SAVED or is_provider_limit(budget):
            return None
        places = claim.account.held[index].deployments or None
        fitting = measure.longest_answer(budget.unit, hold.limit - level.used, longest, places)
        if fitting < longest or not name:
            longest, name = fitting, budget.name
    if not max(1, min(measure.useful, wished)) <= longest < wished:
        return None
    others = _without(LOWERED, case.constraints)
    return replace(case.constraints, max_output_tokens=longest, reasons=(*others, f"{LOWERED}:{name}"))


def _cheaper_for(case: _Case, own: Sequence[int]) -> Constraints | None:
    """A cheaper model where only budgets refused that allow that. The length of its answer is found anew."""
    budgets = [case.claim.budgets[index] for index in own]
    if any(budget.unit != "usd" or budget.downgrade_at is None for budget in budgets):
        return None
    constraints = _cheaper(case, budgets[0])
    if constraints is None:
        return None
    return replace(constraints, max_output_tokens=None, reasons=_without(LOWERED, constraints))


def _cheaper(case: _Case, budget: Budget) -> Constraints | None:
    """The constraints with the tier below the chosen one as ceiling; None where nothing cheaper may answer."""
    decision = case.decision
    route = case.registry.routes.get(decision.route)
    chosen = Tier[decision.chain[0].tier.upper()]
    floor = Tier.ECONOMY if decision.tier_floor is None else Tier[decision.tier_floor.upper()]
    if chosen <= floor or (route is not None and route.safety_critical):
        return None
    reasons = (*_without(DOWNGRADED, case.constraints), f"{DOWNGRADED}:{budget.name}")
    return replace(case.constraints, tier_ceiling=Tier(chosen - 1).label, reasons=reasons)


def _without(kind: str, constraints: Constraints) -> tuple[str, ...]:
    return tuple(reason for reason in constraints.reasons if not reason.startswith(f"{kind}:"))


def _nearest_to_cap(case: _Case) -> Budget | None:
    """The budget furthest beyond the share of its cap from which on a cheaper model is to answer."""
    # The share as numerator and denominator, which is above 0.
    found: tuple[int, int, Budget] | None = None
    for hold, budget, level in zip(case.claim.holds, case.claim.budgets, case.verdict.levels, strict=True):
        if budget.unit not in _SAVED or budget.mode != "enforce" or budget.downgrade_at is None or budget.is_of_place:
            continue
        if not reaches(level.used, budget.downgrade_at, hold.limit):
            continue
        used, limit = (level.used, hold.limit) if hold.limit > 0 else (level.used + 1, 1)
        if found is None or used * found[1] > found[0] * limit:
            found = (used, limit, budget)
    return None if found is None else found[2]


def _closed(case: _Case, constraints: Constraints, of_places: Sequence[int]) -> Constraints:
    """The constraints with every deployment closed that a refusing budget of places counts, of the chain or not."""
    claim = case.claim
    labels = labels_of(case.request, case.decision.route, claim.account.session)
    closed = dict(constraints.closed)
    for index in of_places:
        counter, budget = claim.holds[index].counter, claim.budgets[index]
        in_chain = next(held.deployments for held in claim.account.held if held.counter == counter)
        elsewhere = _places_of(budget, counter.removeprefix(LOCAL), labels, case.registry)
        closed.update(dict.fromkeys((*in_chain, *elsewhere), f"no room in {budget.name}"))
    free = max(free_at(claim, case.verdict, index, case.now) for index in of_places)
    opens_at = min(free, math.inf if constraints.opens_at is None else constraints.opens_at)
    return replace(constraints, closed=closed, opens_at=None if math.isinf(opens_at) else opens_at)


def _places_of(budget: Budget, counter: str, labels: dict[str, str], registry: Registry) -> Iterator[str]:
    """Every deployment of the registry that the counter counts."""
    for model in registry.models.values():
        for one in model.deployments:
            at_place = {**labels, "provider": one.provider, "model": model.name, "deployment": one.name}
            if matches(budget, at_place) and counter_name(budget, at_place) == counter:
                yield one.name
