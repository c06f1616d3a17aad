"""What budgets say now: which counters a tenant's spending falls into, and how full they are.

Rules of this file
- What counts is asked of the store, the same as requests are judged by; the ledger only says which labels there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from router_extproc.limits.counter_names import counter_name, is_within_tenant, scope_of
from router_extproc.limits.rollover import Carry, carried, carry_into, most_used
from router_extproc.limits.selection import budgets_for, cap_at, is_provider_limit, matches
from router_extproc.limits.windows import Part, part
from router_extproc.observer.budget_words import amounts, show_window
from router_extproc.observer.desk import show_time
from router_extproc.observer.money import show_usd
from router_extproc.registry.snapshot import Registry
from router_extproc.registry.spending import Budget, KeyGrant, Raise
from router_extproc.store.counters import Level, Query
from router_extproc.store.ledger import spent

# Of a budget that counts each user or session for itself, the dearest are shown.
_MOST_VALUES = 100


class Counter(NamedTuple):
    """One counter of a budget: for which labels, over which part of the window, up to which cap."""

    budget: Budget
    labels: Mapping[str, str]
    name: str
    part: Part
    cap: int

    @property
    def carry(self) -> Carry | None:
        """Where the window has something from beside its own amount."""
        return carry_into(self.budget, self.name, self.part.bucket)

    @property
    def queries(self) -> tuple[Query, ...]:
        """What is asked of the store: its level first, then what the last window left."""
        carry = self.carry
        return (Query(self.name, self.part.since), *(() if carry is None else carry.queries))


class Standing(NamedTuple):
    """A counter, how full it is, and what the last window left; what may still be settled in that one counts as used."""

    counter: Counter
    level: Level
    carried: int = 0

    @property
    def cap(self) -> int:
        """The cap in force."""
        return self.counter.cap + self.carried

    @property
    def remaining(self) -> int:
        """What is left of the cap, 0 when it is overdrawn."""
        return max(0, self.cap - self.level.used)


def counters_of(
    registry: Registry,
    keys: Iterable[KeyGrant],
    raises: Mapping[str, Sequence[Raise]],
    *,
    tenant: str | None,
    ledger: Path,
    now: float,
) -> list[Counter]:
    """The counters of all budgets, or of those that a tenant's requests may fall under; blocks on the ledger.

    Raises:
        StoreUnavailableError: the ledger cannot be read.
    """
    of_all = budgets_for(registry, None, raises)
    known = {"tenant": tenant} if tenant else {}
    found = [
        counter
        for budget in of_all
        if budget.mode != "off" and not (tenant and (is_provider_limit(budget) or not _may_concern(budget, known, ledger)))
        for counter in _counters(budget, known, ledger, now)
    ]
    for key in keys:
        labels = {"tenant": key.tenant, "key": key.id}
        own = [budget for budget in budgets_for(Registry(), key, raises) if budget.mode != "off"]
        found += [counter for budget in own for counter in _counters(budget, labels, ledger, now)]
    return found


def report(tenant: str | None, standings: Sequence[Standing], ledger: Path) -> dict[str, Any]:
    """What ``GET /budgets`` answers; blocks on the ledger.

    The sums are those of the budget with the least left among those that cover all of the tenant's spending and nothing else;
    without one, of its keys' budgets together. A tenant that has neither has spent what the ledger of this instance says, and
    has left what the budgets of everybody leave.

    Raises:
        StoreUnavailableError: the ledger cannot be read.
    """
    shown = {"tenant": tenant, "budgets": [_show(standing) for standing in standings]}
    if tenant is None:
        return shown
    money = [standing for standing in standings if standing.counter.budget.unit == "usd"]
    covering = [each for each in money if _labels(each) == {"tenant"}]
    of_keys = [each for each in money if _labels(each) == {"key"}]
    general = [each for each in money if not _labels(each)]
    counted = [min(covering, key=lambda each: each.remaining)] if covering else of_keys
    if counted:
        reserved = sum(each.level.held for each in counted)
        settled = sum(each.level.settled for each in counted)
        remaining: int | None = sum(each.remaining for each in counted)
    else:
        reserved = max((each.level.held for each in general), default=0)
        settled = sum(each.cost_micro_usd for each in spent(ledger, match=[("tenant", tenant)]))
        remaining = min((each.remaining for each in general), default=None)
    return {
        "tenant": tenant,
        "reserved_usd": show_usd(reserved),
        "settled_usd": show_usd(settled),
        "remaining_usd": None if remaining is None else show_usd(remaining),
        **shown,
    }


def standings_of(registry: Registry, counters: Sequence[Counter], levels: Sequence[Level], now: float) -> list[Standing]:
    """The counters with the levels that were read for all their queries, in that order."""
    read = iter(levels)
    found = []
    for counter in counters:
        level, carry, left = next(read), counter.carry, 0
        if carry is not None:
            used = most_used(next(read), next(read), is_settled=carry.is_settled(registry, now))
            left = carried(counter.budget, used)
        found.append(Standing(counter, level, left))
    return found


def _may_concern(budget: Budget, known: Mapping[str, str], ledger: Path) -> bool:
    """Whether requests of the tenant may fall under it: by its own labels, else by what the tenant has called."""
    labels = {label for label, _ in budget.match}
    if "tenant" in labels and not matches(Budget("", "usd", 0, match=_of_tenant(budget)), known):
        return False
    others = [(label, value) for label, value in budget.match if label != "tenant" and not value.endswith("*")]
    return not others or bool(spent(ledger, match=[*known.items(), *others]))


def _of_tenant(budget: Budget) -> tuple[tuple[str, str], ...]:
    return tuple(pair for pair in budget.match if pair[0] == "tenant")


def _counters(budget: Budget, known: Mapping[str, str], ledger: Path, now: float) -> list[Counter]:
    """The budget's counters for these labels; of those that are not known, for the values that the ledger has seen."""
    window = Part(0, 0, 0, None) if budget.unit == "parallel" else part(budget.window, now)
    needed = [label for label in budget.per if label not in known]
    if is_within_tenant(budget) and "tenant" not in known:
        needed.append("tenant")
    combinations: list[Mapping[str, str]] = [known]
    if needed:
        exact = [(label, value) for label, value in budget.match if not value.endswith("*") and label not in known]
        seen = spent(ledger, needed, since=window.since, match=[*known.items(), *exact], limit=_MOST_VALUES)
        combinations = [{**known, **dict(zip(needed, each.labels, strict=True))} for each in seen]
    found = []
    for labels in combinations:
        name = counter_name(budget, labels)
        if name is not None:
            found.append(Counter(budget, labels, name, window, cap_at(budget, now)))
    return found


def _labels(standing: Standing) -> set[str]:
    """The labels that narrow a budget; a key of a tenant is narrower than the tenant."""
    budget = standing.counter.budget
    return {label for label, _ in budget.match} | set(budget.per)


def _show(standing: Standing) -> dict[str, Any]:
    counter, level = standing.counter, standing.level
    budget = counter.budget
    figures = {"cap": standing.cap, "reserved": level.held, "settled": level.settled, "remaining": standing.remaining}
    return {
        "name": budget.name,
        "scope": scope_of(budget, counter.labels),
        "unit": budget.unit,
        "window": show_window(budget.window),
        "mode": budget.mode,
        **amounts(budget.unit, figures),
        **({} if counter.carry is None else amounts(budget.unit, {"carried": standing.carried})),
        **({"raised": True} if counter.cap != budget.cap else {}),
        "resets_at": show_time(counter.part.resets_at),
    }
