"""Which budgets a request falls under: by the labels of who asks and where it goes.

Labels: ``tenant team user key session route`` and ``tag:NAME`` say who asks; ``provider model deployment`` say where it goes.
``user`` may be an application's own claim (``end_users``): what selects budgets by it never gives anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import overload

from msgspec.structs import replace

from router_extproc.limits.bound import Place
from router_extproc.limits.end_users import user_of
from router_extproc.registry.snapshot import Registry
from router_extproc.registry.spending import PLACE_LABELS, Budget, KeyGrant, Raise
from router_extproc.request import Request

# What the limits of providers and of their credentials are named by, as budgets.
_PROVIDER_LIMITS = ("provider:", "credential:")
_COUNTED_BY_PROVIDERS = ("requests", "tokens", "parallel")


class Budgets(Sequence[Budget]):
    """Every budget that requests of one caller may fall under; found by labels without looking at all of them."""

    __slots__ = ("_index", "_own", "_raises")

    def __init__(self, index: _Index, own: tuple[Budget, ...], raises: Mapping[str, Sequence[Raise]]) -> None:
        self._index, self._own, self._raises = index, own, raises

    def candidates(self, labels: Mapping[str, str]) -> list[Budget]:
        """At least those that a request with these labels falls under, in the order in which they were written."""
        return [self._raised(budget) for budget in (*self._index.candidates(labels), *self._own)]

    def __len__(self) -> int:
        return len(self._index.budgets) + len(self._own)

    @overload
    def __getitem__(self, place: int) -> Budget: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Budget]: ...
    def __getitem__(self, place: int | slice) -> Budget | Sequence[Budget]:
        found = (*self._index.budgets, *self._own)[place]
        return self._raised(found) if isinstance(found, Budget) else [self._raised(one) for one in found]

    def _raised(self, budget: Budget) -> Budget:
        more = self._raises.get(budget.name)
        return replace(budget, raises=(*budget.raises, *more)) if more else budget


class _Index:
    """The budgets of one configuration by a pair of a label and a value that each of them asks for."""

    def __init__(self, budgets: tuple[Budget, ...]) -> None:
        self.budgets = budgets
        self._by_pair: dict[tuple[str, str], list[int]] = {}
        self._others: list[int] = []
        for place, budget in enumerate(budgets):
            pair = next((one for one in budget.match if _is_exact(one)), None)
            (self._others if pair is None else self._by_pair.setdefault(pair, [])).append(place)

    def candidates(self, labels: Mapping[str, str]) -> Iterator[Budget]:
        found = [place for pair in labels.items() for place in self._by_pair.get(pair, ())]
        return (self.budgets[place] for place in sorted((*found, *self._others)))


def _is_exact(pair: tuple[str, str]) -> bool:
    """Whether exactly one value of a label is asked for, and one that the request itself has."""
    label, value = pair
    return bool(value) and not value.endswith("*") and label not in PLACE_LABELS


# The configurations in use: that of now, and while it is replaced the one before. Looked for by identity, because comparing
# thousands of budgets would cost more than indexing them saves.
_indices: list[_Index] = []
_MOST_INDICES = 4


def _index_of(budgets: tuple[Budget, ...]) -> _Index:
    for known in _indices:
        if known.budgets is budgets:
            return known
    index = _Index(budgets)
    _indices.insert(0, index)
    del _indices[_MOST_INDICES:]
    return index


def budgets_for(
    registry: Registry, key: KeyGrant | None = None, raises: Mapping[str, Sequence[Raise]] | None = None
) -> Budgets:
    """Every budget a request may fall under: the registry's, the key's own, with the raises made at run time by budget name.

    A key's own budget is named ``key:ID:NAME`` and counts what is asked with that key.
    """
    own = () if key is None else tuple(of_key(budget, key.id) for budget in key.budgets)
    return Budgets(_index_of(registry.spending.budgets), own, raises or {})


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
        "user": user_of(request),
        "key": caller.key,
        "session": session,
        "route": route,
    }
    labels = {label: value for label, value in found.items() if value}
    for name, value in caller.tags.items():
        labels[f"tag:{name}"] = value
    return labels


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
    cap = budget.cap
    for one in budget.raises:
        if one.since <= now < one.until:
            cap += one.amount
    return cap
