"""What a caller is told when nothing may serve the request: the error of the candidate that came furthest."""

from __future__ import annotations

import math
from collections.abc import Mapping

from router_extproc.errors import (
    BadRequestError,
    LimitReachedError,
    MissingCapabilityError,
    PathNotFoundError,
    PermissionDeniedError,
    RequestError,
    RequestLimitError,
    TokenLimitError,
    UnavailableError,
)
from router_extproc.policy.capability import Demand, Rejection, Stage
from router_extproc.policy.narrowing import MAX_COST, MODELS, REGION

MIN_TIER_UNAVAILABLE, MIN_QUALITY_UNAVAILABLE = "min_tier_unavailable", "min_quality_unavailable"
# Nothing changes by itself but health; a caller who comes back sooner finds the same.
RETRY_AFTER_SECONDS = 5
_SHOWN = 120


def refusal(demand: Demand, fallen: Mapping[str, Rejection], route: str) -> RequestError:  # noqa: PLR0911 - one return for each reason
    """The error for a request that no candidate meets, whatever its health."""
    if not fallen:
        return UnavailableError(f"Nothing is configured that could serve '{route}'.", reason="no_candidate")
    stage = max(rejection.stage for rejection in fallen.values())
    furthest = [rejection for rejection in fallen.values() if rejection.stage is stage]
    if stage is Stage.PATH:
        return PathNotFoundError(f"No provider of '{route}' serves {demand.request.path}.")
    if stage is Stage.PERMITTED:
        return forbidden(demand.request.model or demand.request.path)
    if stage is Stage.BUDGET:
        return LimitReachedError(f"Every model of '{route}' that could serve this request is beyond a budget or at a limit.")
    if stage is Stage.TIER:
        return _tier_refusal(demand, route, RETRY_AFTER_SECONDS)
    if stage is Stage.QUALITY:
        return _quality_refusal(demand, route, RETRY_AFTER_SECONDS)
    if stage is Stage.CAPABILITY:
        return _missing(furthest, route)
    if stage is Stage.CONTEXT:
        message = f"No model of '{route}' has a context window for this request: {_widest(furthest)}."
        return MissingCapabilityError(message, code="context_length_exceeded", param="messages")
    if stage is Stage.OUTPUT:
        message = f"No model of '{route}' writes that long an answer: {_widest(furthest)}."
        return MissingCapabilityError(message, code="output_limit_exceeded", param="max_completion_tokens")
    header, code = {
        Stage.ALLOWED: (MODELS, "no_allowed_model"),
        Stage.REGION: (REGION, "no_model_in_region"),
        Stage.COST: (MAX_COST, "max_cost_exceeded"),
    }[stage]
    message = f"The header {header} leaves no model of '{route}': {furthest[0].text}."
    return BadRequestError(message, code=code, param=header)


def forbidden(asked: str) -> PermissionDeniedError:
    """Nothing that the caller may use serves what it asks for: a name in ``model``, or a path."""
    message = f"You may not use '{asked[:_SHOWN]}'. GET /v1/models lists what you may."
    return PermissionDeniedError(message, param="model")


def quota_refusal(route: str, seconds: float, unit: str, resets_in: float) -> RequestError:
    """All that could serve the request is used up by its provider's word; something may serve it again in ``seconds``.

    ``unit`` is what the quota counts that ``resets_in`` so many seconds, the first of all: ``tokens``, or else requests.
    """
    after = max(1, math.ceil(seconds))
    message = f"Every provider that could serve '{route}' says that its rate limit is used up. The first resets in {after} s."
    kind = TokenLimitError if unit == "tokens" else RequestLimitError
    return kind(message, retry_after=after, quota_resets_in=resets_in)


def floor_refusal(demand: Demand, route: str, retry_after: int) -> RequestError | None:
    """No model that is strong enough can serve the request now, and a weaker one may not; None where no floor is set."""
    if demand.min_tier is not None:
        return _tier_refusal(demand, route, retry_after)
    return None if demand.min_quality is None else _quality_refusal(demand, route, retry_after)


def _tier_refusal(demand: Demand, route: str, retry_after: int) -> RequestError:
    tier = demand.min_tier.label if demand.min_tier is not None else "any"
    message = f"No model of tier {tier} or above is available for '{route}', and no weaker one may answer."
    return UnavailableError(message, code=MIN_TIER_UNAVAILABLE, retry_after=retry_after)


def _quality_refusal(demand: Demand, route: str, retry_after: int) -> RequestError:
    message = f"No model of quality {demand.min_quality:g} or above is available for '{route}', and no lesser one may answer."
    return UnavailableError(message, code=MIN_QUALITY_UNAVAILABLE, retry_after=retry_after)


def _missing(furthest: list[Rejection], route: str) -> RequestError:
    """Names what every candidate lacks, or the whole set when only their combination is missing."""
    lacked_by_all = frozenset.intersection(*(rejection.missing for rejection in furthest))
    missing = sorted(lacked_by_all or frozenset().union(*(rejection.missing for rejection in furthest)))
    what = f"can do {missing[0]}" if len(missing) == 1 else f"can do all of {', '.join(missing)}"
    return MissingCapabilityError(f"No model of '{route}' {what}.")


def _widest(furthest: list[Rejection]) -> str:
    return furthest[-1].text
