"""How counters are called: by the unit and name of a budget, and the values of the labels it counts each for itself.

Rules of this file
- Names are made here and nowhere else. One is plain ASCII without spaces and braces, at most 300 bytes.
- Another unit is another counter: amounts of dollars and of tokens never meet.
- The names of sessions and users may be the client's own: they count within their tenant, so that nobody fills the counter
  of another.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from urllib.parse import quote

from router_extproc.account import Unit
from router_extproc.registry.spending import Budget

LONGEST = 300
# What is told apart by a digest keeps a readable beginning.
_READABLE = 200
_PLAIN = "-_.~:/@+*"
_WITHIN_TENANT = frozenset({"session", "user"})
_GLOBAL = "global"


def is_within_tenant(budget: Budget) -> bool:
    """Whether the budget's counters are told apart by tenant although it does not say so."""
    return "tenant" not in budget.per and not _WITHIN_TENANT.isdisjoint(budget.per)


def scope_of(budget: Budget, labels: Mapping[str, str]) -> str:
    """Whom a counter of the budget counts, for people: ``global``, or ``label=value`` pairs parted by commas; labels of ``per``
    with their value, ``*`` where that is not known.
    """
    pairs = [f"{label}={value}" for label, value in budget.match]
    per = ("tenant", *budget.per) if is_within_tenant(budget) and labels.get("tenant") else budget.per
    pairs += [f"{label}={labels.get(label, '*')}" for label in per if label not in dict(budget.match)]
    return ",".join(pairs) or _GLOBAL


def counter_name(budget: Budget, labels: Mapping[str, str]) -> str | None:
    """The counter of a budget for these labels: ``UNIT:NAME|label=value``; None when a label of ``per`` is missing."""
    pairs = [("tenant", labels["tenant"])] if is_within_tenant(budget) and labels.get("tenant") else []
    for label in budget.per:
        value = labels.get(label, "")
        if not value:
            return None
        pairs.append((label, value))
    return _written(budget.unit, budget.name, tuple(pairs))


# Asked with every request, by few callers more often than by others.
@functools.lru_cache(maxsize=4_096)
def _written(unit: Unit, name: str, pairs: tuple[tuple[str, str], ...]) -> str:
    return shortened("|".join((f"{unit}:{plain(name)}", *(f"{plain(label)}={plain(value)}" for label, value in pairs))))


def plain(text: str) -> str:
    """The text without what a counter's name may not hold, percent-encoded; different texts stay different."""
    return quote(text, safe=_PLAIN, errors="surrogatepass")


def shortened(name: str) -> str:
    """The name, or, where it is too long, its beginning and a digest of the whole."""
    if len(name) <= LONGEST:
        return name
    return f"{name[:_READABLE]}#{hashlib.sha256(name.encode()).hexdigest()}"
