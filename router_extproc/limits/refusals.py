"""What a refused caller is told: which budget, when there is room again, in the shape that client libraries know.

Rules of this file
- The budget and the time are named, amounts are not: a budget may be shared with others.
- ``retry-after`` is true: the time from which on the same request fits, if nothing else is asked in between.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from router_extproc.errors import LimitReachedError, RequestError, RequestLimitError, TokenLimitError
from router_extproc.limits.claims import Claim
from router_extproc.limits.loop_guard import is_guard, stopped
from router_extproc.limits.selection import is_provider_limit
from router_extproc.limits.windows import NEVER
from router_extproc.registry.spending import Budget
from router_extproc.store.counters import Level, Verdict

_SOON = 1
# A limit on tokens in a time as short as this, in seconds, is one on speed.
_SHORT = 60
_SHORT_UNITS = ("second", "minute")


class Found(NamedTuple):
    """An error with the budget behind it, and from when on a wait may help (None: it will not)."""

    error: RequestError
    budget: str
    wait_until: float | None


def free_at(claim: Claim, verdict: Verdict, index: int, now: float) -> float:
    """From when on (epoch seconds) a refused hold fits: infinity if never, now if only what is under way is in its way."""
    hold = claim.holds[index]
    if hold.amount > hold.limit:
        return _free_for_less(claim, verdict.levels[index], index, now)
    found: float | None = dict(zip(verdict.refused, verdict.free_at, strict=False)).get(index)
    if found is None and _will_count(claim.budgets[index], verdict.levels[index]):
        found = claim.resets_at[index] or NEVER
    if found is None:
        return now
    return math.inf if found >= NEVER else max(found, now)


def _free_for_less(claim: Claim, level: Level, index: int, now: float) -> float:
    """The same for a request that never fits as it is: when it does with the shortest answer that is of use."""
    hold, budget = claim.holds[index], claim.budgets[index]
    if budget.unit not in ("usd", "tokens") or is_provider_limit(budget):
        return math.inf
    least = _least(claim, index)
    if least > hold.limit:
        return math.inf
    if level.settled + least <= hold.limit:
        return now
    resets_at = claim.resets_at[index]
    return math.inf if resets_at is None or resets_at >= NEVER else max(resets_at, now)


def _least(claim: Claim, index: int) -> int:
    """What a hold would ask for with the shortest answer that is of use."""
    unit, measure = claim.budgets[index].unit, claim.measure
    if unit not in ("usd", "tokens"):
        return claim.holds[index].amount
    return min(claim.holds[index].amount, measure.most(unit, measure.useful, claim.account.held[index].deployments or None))


def _has_room_for_less(claim: Claim, verdict: Verdict, index: int) -> bool:
    return verdict.levels[index].used + _least(claim, index) <= claim.holds[index].limit


def _will_count(budget: Budget, level: Level) -> bool:
    """Whether what is under way counts no less when it has ended, and until when is known: requests count one each, whatever
    they use. Of a rolling window in which something has ended nobody here knows when that leaves.
    """
    return budget.unit in ("requests", "iterations") and (budget.window.rolling_seconds is None or not level.settled)


def refusal_of(claim: Claim, verdict: Verdict, refused: Sequence[int], now: float, opens_at: float | None = None) -> Found:
    """The error for holds that were refused. ``opens_at`` is when a place that was closed before may have room again."""
    # Of those that are free at the same time, one that not even a short answer fits into now.
    worst = max(refused, key=lambda index: (free_at(claim, verdict, index, now), not _has_room_for_less(claim, verdict, index)))
    at, budget = free_at(claim, verdict, worst, now), claim.budgets[worst]
    of_provider = all(claim.budgets[index].is_of_place for index in refused)
    if of_provider and opens_at is not None:
        at = min(at, max(opens_at, now))
    waits = of_provider and math.isfinite(at) and any(is_provider_limit(claim.budgets[index]) for index in refused)
    hold = claim.holds[worst]
    error = _error(budget, at, now, is_too_large=0 < hold.limit < hold.amount)
    return Found(error, budget.name, at if waits else None)


def _error(budget: Budget, at: float, now: float, *, is_too_large: bool) -> RequestError:
    if is_guard(budget):
        return stopped(budget, _seconds(at, now))
    return _kind(budget)(_message(budget, at, now, is_too_large=is_too_large), retry_after=_seconds(at, now))


def _seconds(at: float, now: float) -> int | None:
    return None if math.isinf(at) else max(_SOON, math.ceil(at - now))


def _kind(budget: Budget) -> type[LimitReachedError]:
    if budget.unit in ("requests", "parallel"):
        return RequestLimitError
    window = budget.window
    is_short = window.calendar in _SHORT_UNITS or (window.rolling_seconds is not None and window.rolling_seconds <= _SHORT)
    return TokenLimitError if budget.unit == "tokens" and is_short else LimitReachedError


def _message(budget: Budget, at: float, now: float, *, is_too_large: bool) -> str:
    what = f"The budget '{budget.name}' has no room for this request."
    if math.isinf(at):
        if not is_too_large:
            return f"The budget '{budget.name}' is used up, and does not reset by itself."
        fix = "Send a shorter prompt, or ask for a shorter answer (max_tokens)."
        return f"This request is larger than the whole budget '{budget.name}'. {fix}"
    if at <= now:
        return f"{what} There will be room when other requests of it have ended."
    return f"{what} It resets at {datetime.fromtimestamp(math.ceil(at), UTC):%Y-%m-%dT%H:%M:%SZ}."
