"""What is done while the store cannot be reached: each budget says itself whether that refuses, counts here, or lets pass.

Whatever passes is settled in all its budgets, so that they are right again when the store is back.
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from router_extproc.errors import UnavailableError
from router_extproc.limits.claims import Claim
from router_extproc.limits.counter_names import shortened
from router_extproc.limits.shares import portion
from router_extproc.limits.steps import Again, Refuse
from router_extproc.registry.spending import Budget

# Until a store that was restarted answers again, in seconds.
RETRY_AFTER = 5
LOCAL = "local:"


class Alone(msgspec.Struct, frozen=True):
    """What is to be set aside in the local store instead. Without holds nothing is: go on with ``next_step`` and an empty
    verdict.
    """

    claim: Claim


def on_store_failure(claim: Claim) -> Alone | Again | Refuse:
    """What the budgets of a claim wish while the store cannot be reached.

    One that is ``fail_closed`` refuses the request, or, on a place, closes the place. One that is ``local_share`` counts in a
    counter of its own in the local store, up to that share of its cap. ``fail_open`` lets pass, and so does every budget that
    refuses nothing.
    """
    closing = [budget for budget in claim.budgets if _refuses(budget) and budget.on_store_failure == "fail_closed"]
    own = next((budget for budget in closing if not budget.is_of_place), None)
    if own is not None:
        return Refuse(_unavailable(own.name), own.name)
    if closing:
        return _elsewhere(claim, closing)
    holds, budgets, resets_at, held = [], [], [], list(claim.account.held)
    for hold, budget, resets, counted in zip(claim.holds, claim.budgets, claim.resets_at, claim.account.held, strict=True):
        if not _refuses(budget) or budget.on_store_failure == "fail_open":
            continue
        counter = shortened(LOCAL + hold.counter)
        limit = portion(budget.local_share, hold.limit)
        holds.append(replace(hold, counter=counter, limit=limit))
        budgets.append(budget)
        resets_at.append(resets)
        # Nobody is alerted by a share, and the budget itself is settled beside it.
        held.append(replace(counted, counter=counter, budget="", limit=0, warn_at=()))
    return Alone(
        replace(
            claim,
            holds=tuple(holds),
            budgets=tuple(budgets),
            resets_at=tuple(resets_at),
            account=replace(claim.account, held=tuple(held)),
            is_degraded=True,
        )
    )


def _refuses(budget: Budget) -> bool:
    return budget.mode == "enforce" and budget.at_cap == "reject"


def _elsewhere(claim: Claim, closing: list[Budget]) -> Again:
    """Decides again without the places of the chain that must not be used uncounted."""
    names = {budget.name for budget in closing}
    reasons = {
        deployment: f"{held.budget} cannot be read"
        for held in claim.account.held
        if held.budget in names
        for deployment in held.deployments
    }
    constraints = replace(claim.constraints, closed={**claim.constraints.closed, **reasons})
    return Again(constraints, Refuse(_unavailable(closing[0].name), closing[0].name))


def _unavailable(budget: str) -> UnavailableError:
    message = f"The budget '{budget}' cannot be read at the moment, and nothing may be spent without it."
    return UnavailableError(message, code="store_unavailable", retry_after=RETRY_AFTER)
