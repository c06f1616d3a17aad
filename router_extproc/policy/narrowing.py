"""Request headers by which a caller narrows what may serve the request; none of them can widen it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from router_extproc.errors import BadRequestError
from router_extproc.policy.naming import longest_match
from router_extproc.registry.snapshot import Registry, Tier

MIN_TIER, MODELS, MAX_COST, REGION = "x-router-min-tier", "x-router-models", "x-router-max-cost-usd", "x-router-region"
_TIERS = {tier.label: tier for tier in Tier}


class Narrowing(NamedTuple):
    """What the headers ask for; None where they ask nothing. The cost is in USD."""

    min_tier: Tier | None = None
    models: frozenset[str] | None = None
    max_cost_usd: float | None = None
    region: str | None = None


NOTHING = Narrowing()


def read_narrowing(headers: Mapping[str, str], registry: Registry) -> Narrowing:
    """Reads the headers.

    Raises:
        BadRequestError: a value cannot be understood; ``param`` and the message name the header.
    """
    tier, models, cost, region = headers.get(MIN_TIER), headers.get(MODELS), headers.get(MAX_COST), headers.get(REGION)
    if tier is None and models is None and cost is None and region is None:
        return NOTHING
    return Narrowing(
        None if tier is None else _tier(tier),
        None if models is None else _models(models, registry),
        None if cost is None else _cost(cost),
        None if region is None else _region(region, registry),
    )


def _tier(value: str) -> Tier:
    tier = _TIERS.get(value.strip().lower())
    if tier is None:
        raise _bad(MIN_TIER, f"must be one of {', '.join(_TIERS)}")
    return tier


def _models(value: str, registry: Registry) -> frozenset[str]:
    """The allowed names, aliases resolved. A name that only a wildcard matches stays as it is written."""
    names = [name for part in value.split(",") if (name := part.strip())]
    if not names:
        raise _bad(MODELS, "must list at least one model")
    allowed = set()
    for name in names:
        final = registry.aliases.get(name, name)
        if final not in registry.models and longest_match(final, registry.models) is None:
            raise _bad(MODELS, f"names '{name[:80]}', which is no model")
        allowed.add(final)
    return frozenset(allowed)


def _cost(value: str) -> float:
    try:
        cost = float(value)
    except ValueError:
        cost = math.nan
    if not (math.isfinite(cost) and cost >= 0):
        raise _bad(MAX_COST, "must be an amount in USD, such as 0.01")
    return cost


def _region(value: str, registry: Registry) -> str:
    region = value.strip()
    regions = sorted({one.region for one in registry.deployments() if one.region is not None})
    if region not in regions:
        raise _bad(REGION, f"must be one of {', '.join(regions)}" if regions else "cannot be used: no provider has a region")
    return region


def _bad(header: str, problem: str) -> BadRequestError:
    return BadRequestError(f"The header {header} {problem}.", param=header, code="invalid_header")
