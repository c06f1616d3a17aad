"""From what a client wrote in ``model`` to a route: exact names, aliases, wildcards; else the nearest name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import NamedTuple

from router_extproc.errors import ModelNotFoundError
from router_extproc.registry.snapshot import Plan, Registry, Route, Target

_SHOWN = 120
# Comparing takes some 50 microseconds a name; among more names than this, far ones are passed over.
_FEW = 50
# What a wildcard passes on ends up in headers and logs.
_LONGEST_MATCHED = 256


class Resolved(NamedTuple):
    """A route and how it was found, by which name. ``matched`` is what the ``*`` of a wildcard stood for, or None."""

    route: Route
    name: str
    matched: str | None = None
    by_alias: bool = False


def resolve(name: str, registry: Registry) -> Resolved:
    """Finds the route for a name: its own, then by alias, then the longest wildcard. Nobody can ask for a wildcard itself.

    Raises:
        ModelNotFoundError: nothing matches; the message names the nearest name that exists.
    """
    final, seen = name, {name}
    while final not in registry.routes and final in registry.aliases:
        final = registry.aliases[final]
        if final in seen:
            break
        seen.add(final)
    if not final.endswith("*"):
        route = registry.routes.get(final)
        if route is None and final in registry.models:
            route = route_of_model(final)
        if route is not None:
            return Resolved(route, final, None, final != name)
    pattern = longest_match(final, registry.routes, registry.models)
    if pattern is None or final.endswith("*") or len(final) > _LONGEST_MATCHED or not final.isprintable():
        raise ModelNotFoundError(f"The model '{name[:_SHOWN]}' does not exist.{_hint(name, registry)}", param="model")
    route = registry.routes.get(pattern) or route_of_model(pattern)
    return Resolved(route, final, final[len(pattern) - 1 :], final != name)


def longest_match(name: str, *names: Iterable[str]) -> str | None:
    """The longest wildcard that matches the name."""
    patterns = (pattern for some in names for pattern in some if pattern.endswith("*") and name.startswith(pattern[:-1]))
    return max(patterns, key=len, default=None)


def route_of_model(name: str) -> Route:
    """The route that a model's own name stands for when the registry wrote down none."""
    return Route(name=name, plan=Plan(targets=(Target("model", name),), same_tier=False), named_model=name)


def _hint(name: str, registry: Registry) -> str:
    known = [*dict.fromkeys((*registry.routes, *registry.models, *registry.aliases))]
    nearest = difflib.get_close_matches(name[:_SHOWN], known, n=1, cutoff=0.0 if len(known) <= _FEW else 0.5)
    return f" Did you mean '{nearest[0]}'?" if nearest else " GET /v1/models lists what exists."
