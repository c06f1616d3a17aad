"""What a caller is told about what is left: of its money, and of the limits on requests and tokens that apply to it.

A provider's own limits are nobody's business but ours, and are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

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
    """The tightest limits that apply to a request: on requests, on tokens, and what is left of that in money (micro-dollars);
    None where none does.
    """

    requests: Figure | None = None
    tokens: Figure | None = None
    remaining_micro_usd: int | None = None


class Tightest(NamedTuple):
    """Of a claim's enforced budgets of one unit the one with the least left: how much, and its place in the claim."""

    left: int
    place: int


def tightest_of(claim: Claim, verdict: Verdict) -> dict[Unit, Tightest]:
    """By unit, of the budgets that belong to the caller: as they are after the claim, or, where it was refused, as they
    stand.
    """
    set_aside = not verdict.refused
    found: dict[Unit, Tightest] = {}
    for place, (hold, budget, level) in enumerate(zip(claim.holds, claim.budgets, verdict.levels, strict=True)):
        if hold.kind != "enforce" or budget.is_of_place or is_guard(budget):
            continue
        left = max(0, hold.limit - level.used - (hold.amount if set_aside else 0))
        known = found.get(budget.unit)
        if known is None or left < known.left:
            found[budget.unit] = Tightest(left, place)
    return found


def figures_of(found: Mapping[Unit, Tightest], claim: Claim, now: float) -> Figures:
    """What is told of the tightest limits."""
    money = found.get("usd")
    return Figures(
        _figure(found.get("requests"), claim, now),
        _figure(found.get("tokens"), claim, now),
        None if money is None else money.left,
    )


def _figure(found: Tightest | None, claim: Claim, now: float) -> Figure | None:
    if found is None:
        return None
    resets_at = claim.resets_at[found.place]
    return Figure(claim.holds[found.place].limit, found.left, 0.0 if resets_at is None else max(0.0, resets_at - now))
