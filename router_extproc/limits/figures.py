"""What a caller is told about what is left: of its money, and of the limits on requests and tokens that apply to it.

A provider's own limits are nobody's business but ours, and are left out.
"""

from __future__ import annotations

import msgspec

from router_extproc.account import Unit
from router_extproc.limits.claims import Claim
from router_extproc.limits.loop_guard import is_guard
from router_extproc.store.counters import Verdict


class Figure(msgspec.Struct, frozen=True):
    """One limit as its headers show it: the limit, what is left of it, the seconds until it resets (0: not known)."""

    limit: int
    remaining: int
    reset_seconds: float = 0.0


class Figures(msgspec.Struct, frozen=True):
    """The tightest limits on requests and on tokens that apply to a request; None where none does."""

    requests: Figure | None = None
    tokens: Figure | None = None


def figures_of(claim: Claim, verdict: Verdict, now: float) -> Figures:
    """The limits as they are after the claim, or, where it was refused, as they stand."""
    return Figures(_tightest("requests", claim, verdict, now), _tightest("tokens", claim, verdict, now))


def remaining_of(claim: Claim, verdict: Verdict) -> int | None:
    """Micro-dollars left after the claim in the tightest money budget that is enforced; None without one."""
    return min((left for _, left in _left("usd", claim, verdict)), default=None)


def _tightest(unit: Unit, claim: Claim, verdict: Verdict, now: float) -> Figure | None:
    found = min(_left(unit, claim, verdict), key=lambda one: one[1], default=None)
    if found is None:
        return None
    index, left = found
    resets_at = claim.resets_at[index]
    return Figure(claim.holds[index].limit, left, 0.0 if resets_at is None else max(0.0, resets_at - now))


def _left(unit: Unit, claim: Claim, verdict: Verdict) -> list[tuple[int, int]]:
    """What is left in each enforced budget of this unit that belongs to the caller, by its place in the claim."""
    set_aside = not verdict.refused
    return [
        (index, max(0, hold.limit - level.used - (hold.amount if set_aside else 0)))
        for index, (hold, budget, level) in enumerate(zip(claim.holds, claim.budgets, verdict.levels, strict=True))
        if budget.unit == unit and hold.kind == "enforce" and not budget.is_of_place and not is_guard(budget)
    ]
