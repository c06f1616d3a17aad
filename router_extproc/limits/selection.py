"""Which budgets a request falls under: by the labels of who asks and where it goes.

Labels: ``tenant team user key session route`` and ``tag:NAME`` say who asks; ``provider model deployment`` say where it goes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from router_extproc.limits.bound import Place
from router_extproc.registry.snapshot import Registry
from router_extproc.registry.spending import Budget, KeyGrant, Raise
from router_extproc.request import Request

# What the limits of providers and of their credentials are named by, as budgets.
_PROVIDER_LIMITS = ("provider:", "credential:")
_COUNTED_BY_PROVIDERS = ("requests", "tokens", "parallel")


def budgets_for(
    registry: Registry, key: KeyGrant | None = None, raises: Mapping[str, Sequence[Raise]] | None = None
) -> tuple[Budget, ...]:
    """Every budget a request may fall under: the registry's, the key's own, with the raises made at run time by budget name.

    A key's own budget is named ``key:ID:NAME`` and counts what is asked with that key.
    """
    found = registry.spending.budgets
    if key is not None and key.budgets:
        found += tuple(of_key(budget, key.id) for budget in key.budgets)
    if not raises:
        return found
    return tuple(
        replace(budget, raises=(*budget.raises, *raises[budget.name])) if budget.name in raises else budget for budget in found
    )


def of_key(budget: Budget, key: str) -> Budget:
    """A budget written at a key, as one budget among all."""
    prefix = f"key:{key}:"
    name = budget.name if budget.name.startswith(prefix) else prefix + budget.name
    selector = ("key", key)
    return replace(budget, name=name, match=budget.match if selector in budget.match else (*budget.match, selector))


def labels_of(request: Request, route: str, session: str = "") -> dict[str, str]:
    """The labels by which budgets find a request, without those that say where it goes; what it lacks is missing."""
    caller = request.caller
    found = {
        "tenant": caller.tenant,
        "team": caller.team,
        "user": caller.user,
        "key": caller.key,
        "session": session,
        "route": route,
    }
    return {label: value for label, value in found.items() if value} | {
        f"tag:{name}": value for name, value in caller.tags.items()
    }


def place_labels(labels: Mapping[str, str], place: Place) -> dict[str, str]:
    """The labels of a request at one place."""
    return {**labels, "provider": place.provider, "model": place.model, "deployment": place.deployment}


def matches(budget: Budget, labels: Mapping[str, str]) -> bool:
    """Whether a request with these labels falls under the budget; what it lacks is the empty text."""
    for label, pattern in budget.match:
        value = labels.get(label, "")
        if not (value.startswith(pattern[:-1]) if pattern.endswith("*") else value == pattern):
            return False
    return True


def is_provider_limit(budget: Budget) -> bool:
    """Whether the budget is a limit that a provider itself keeps, not an amount that somebody grants."""
    return budget.unit in _COUNTED_BY_PROVIDERS and budget.is_of_place and budget.name.startswith(_PROVIDER_LIMITS)


def cap_at(budget: Budget, now: float) -> int:
    """The cap with the raises that hold at ``now`` (epoch seconds)."""
    return budget.cap + sum(one.amount for one in budget.raises if one.since <= now < one.until)
