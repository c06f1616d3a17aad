"""The chain: which places are tried one after the other.

Rules of this file
- Order: the first model on all its keys, the plan's further targets, their tier's other models, the last resort.
- Whatever is used up by its provider's word stands behind all that has room, the last resort included, earliest reset first.
- Nothing is tried twice, and never more than the route allows. The last place is kept for the last resort, and one for
  another model than the first, so that many keys of one model do not crowd out what would help when it is down.
- Whoever may be probed goes first, because only a first attempt is sure to be made.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from router_extproc.decision import Attempt
from router_extproc.policy.choice import Group, Menu, Option
from router_extproc.policy.health import least_bad
from router_extproc.policy.pool import Pool
from router_extproc.policy.strategy import FAST, ORDERED
from router_extproc.registry.health import DeploymentHealth

PRIMARY, SAME_MODEL, TARGET, SAME_TIER, LAST_RESORT = "primary", "same_model", "target", "same_tier", "last_resort"
ALL_COOLING_DOWN = "all-cooling-down"

# A chain this long can survive one failure.
_ENOUGH = 2


class Chain(NamedTuple):
    """``first`` is the option behind the first attempt; ``half_open`` names the deployment that is probed.

    ``opens_in`` is set where no candidate has room: the seconds until the earliest, which is ``first``, has some again.
    """

    first: Option
    attempts: tuple[Attempt, ...]
    after: dict[str, tuple[Attempt, ...]]
    half_open: str | None = None
    degraded: str | None = None
    opens_in: float | None = None


class _Place(NamedTuple):
    option: Option
    level: str

    @property
    def model(self) -> str:
        return self.option.choice.model.name

    @property
    def deployment(self) -> str:
        return self.option.deployment.name


def build_chain(menu: Menu, pool: Pool, max_attempts: int) -> Chain | None:
    """The chain for one request and those that follow its causes of failure; None when nothing is left to try."""
    idle: list[_Place] = []
    candidates = _candidates(menu, pool)
    resort: Iterable[_Place] = _places(menu.last_resort, ORDERED, LAST_RESORT, pool)
    if pool.used_up:
        candidates, resort = list(candidates), list(resort)
        used_up = _used_up([*candidates, *resort], pool)
        candidates, resort = _with_room(candidates, pool), _with_room(resort, pool)
        if menu.plan.strategy == FAST:
            candidates = _first_model_together(candidates)
        places = _line(candidates, resort, pool, max_attempts, idle)
        _add_used_up(places, used_up, pool, max_attempts, idle)
    else:
        places = _line(candidates, resort, pool, max_attempts, idle)
    # Better to try what may have recovered than to have nowhere to go.
    _fill(places, iter(idle), min(_ENOUGH, max_attempts))
    if not places:
        return None
    half_open = places[0].deployment if places[0].deployment in pool.probes else None
    after = {cause: chain for cause, groups in menu.after.items() if (chain := _after(groups, pool, max_attempts - 1))}
    return Chain(places[0].option, _attempts(places), after, half_open, None, pool.used_up.get(places[0].deployment))


def least_bad_chain(pool: Pool, health: Mapping[str, DeploymentHealth]) -> Chain:
    """When all that could serve, which must be something, cools down: the least bad of it, tried once."""
    option = least_bad(pool.cooling, health)
    return Chain(option, (option.attempt(PRIMARY),), {}, None, ALL_COOLING_DOWN)


def _places(groups: Sequence[Group], strategy: str, level: str, pool: Pool) -> Iterator[_Place]:
    return (_Place(option, LAST_RESORT if pool.is_last_resort(option) else level) for option in pool.options(groups, strategy))


def _candidates(menu: Menu, pool: Pool) -> Iterable[_Place]:
    """The targets and their tier, best first."""
    strategy = menu.plan.strategy
    candidates = _places(menu.targets, strategy, TARGET, pool)
    if menu.same_tier:
        candidates = itertools.chain(candidates, _places((Group(None, menu.same_tier),), strategy, SAME_TIER, pool))
    return _first_model_together(list(candidates)) if strategy == FAST else candidates


def _with_room(places: Iterable[_Place], pool: Pool) -> list[_Place]:
    return [place for place in places if place.deployment not in pool.used_up]


def _used_up(places: Iterable[_Place], pool: Pool) -> list[_Place]:
    """Those that are used up, the earliest reset first."""
    found = (place for place in places if place.deployment in pool.used_up)
    return sorted(found, key=lambda place: pool.used_up[place.deployment])


def _add_used_up(places: list[_Place], used_up: list[_Place], pool: Pool, limit: int, idle: list[_Place]) -> None:
    """Lets those follow that have no room; before any of them, what may be probed and has."""
    if not places:
        places.extend((idle or used_up)[:1])
    _fill(places, _ready(used_up, pool, idle), limit)


def _line(candidates: Iterable[_Place], resort: Iterable[_Place], pool: Pool, limit: int, idle: list[_Place]) -> list[_Place]:
    """The candidates, then the last resort, for which a place is kept; at most ``limit``."""
    ready = _ready(resort, pool, idle)
    reserved = next(ready, None)
    places = _head(candidates, pool, limit - 1 if reserved is not None and limit > 1 else limit, idle)
    if reserved is not None:
        _fill(places, itertools.chain((reserved,), ready), limit)
    return places


def _head(candidates: Iterable[_Place], pool: Pool, limit: int, idle: list[_Place]) -> list[_Place]:
    """The best candidates, at most ``limit``; half-open deployments that cannot go first are left idle."""
    places: list[_Place] = []
    seen: set[str] = set()
    other: _Place | None = None
    for place in candidates:
        if place.deployment in seen:
            continue
        seen.add(place.deployment)
        if place.deployment in pool.probes and places:
            if place.model != places[0].model or places[0].deployment in pool.probes:
                idle.append(place)
                continue
            places.insert(0, place)
        else:
            places.append(place)
        if other is None and place.model != places[0].model:
            other = place
        if len(places) >= limit and other is not None:
            break
    kept = places[:limit]
    if other is not None and limit > 1 and other not in kept:
        kept[-1] = other
    return kept


def _first_model_together(places: list[_Place]) -> Iterator[_Place]:
    """The fastest deployment, then its model's others, then the rest, each as fast as they come."""
    return iter(sorted(places, key=lambda place: place.model != places[0].model))


def _ready(places: Iterable[_Place], pool: Pool, idle: list[_Place]) -> Iterator[_Place]:
    for place in places:
        if place.deployment in pool.probes:
            idle.append(place)
        else:
            yield place


def _fill(places: list[_Place], more: Iterator[_Place], limit: int) -> None:
    """Adds places that are not there yet, up to the limit."""
    seen = {place.deployment for place in places}
    while len(places) < limit and (place := next(more, None)) is not None:
        if place.deployment not in seen:
            seen.add(place.deployment)
            places.append(place)


def _after(groups: tuple[Group, ...], pool: Pool, limit: int) -> tuple[Attempt, ...]:
    found: Iterable[_Place] = _places(groups, ORDERED, TARGET, pool)
    if pool.used_up:
        found = list(found)
        found = [*_with_room(found, pool), *_used_up(found, pool)]
    places: list[_Place] = []
    _fill(places, _ready(found, pool, []), limit)
    return tuple(place.option.attempt(place.level) for place in places)


def _attempts(places: list[_Place]) -> tuple[Attempt, ...]:
    first = places[0]
    attempts = [first.option.attempt(PRIMARY if first.level == TARGET else first.level)]
    for place in places[1:]:
        is_sibling = place.model == first.model and place.level == TARGET
        attempts.append(place.option.attempt(SAME_MODEL if is_sibling else place.level))
    return tuple(attempts)
