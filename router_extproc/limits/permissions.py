"""What a caller may use: the tenant's and the key's permissions together, held against one request.

Rules of this file
- Permissions only take away. Of two lists what both allow is allowed, of two limits the lower holds.
- Names that end in ``*`` match by prefix, in permissions and in what they are held against alike.
- A list of models says nothing of routes: ``auto`` then chooses among those models. A list of routes says nothing of models,
  but every model's own name is a route.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from msgspec.structs import replace

from router_extproc.caller import EVERYTHING, Caller, Permissions
from router_extproc.decision import NO_CONSTRAINTS, Constraints
from router_extproc.errors import PermissionDeniedError
from router_extproc.limits.asked import read_asked
from router_extproc.limits.uncounted import refuse_unseen
from router_extproc.registry.snapshot import Model, Plan, Registry, Route
from router_extproc.request import Request

_SHOWN = 120


def narrower(one: Permissions, other: Permissions) -> Permissions:
    """What both allow."""
    if EVERYTHING in (one, other):
        return other if one == EVERYTHING else one
    return Permissions(
        routes=_both(one.routes, other.routes),
        models=_both(one.models, other.models),
        tiers=_both(one.tiers, other.tiers),
        regions=_both(one.regions, other.regions),
        max_context_tokens=_lower(one.max_context_tokens, other.max_context_tokens),
        max_output_tokens=_lower(one.max_output_tokens, other.max_output_tokens),
    )


def check(caller: Caller, request: Request, route: str) -> None:
    """Lets a request pass whose route and prompt the caller may use; models are the business of ``constrain``.

    ``route`` is the name that ``Router.route_of`` found. ``Router.decide`` calls this itself.

    Raises:
        PermissionDeniedError: the route is not the caller's, or nobody sees what is run, or the prompt has more tokens than
            allowed, or may have: what a provider adds to it nobody can count here.
    """
    permissions = caller.permissions
    if permissions.routes is not None and not any(_is_among(permissions.routes, name) for name in (route, request.model)):
        raise PermissionDeniedError(
            f"You may not use '{(request.model or request.path)[:_SHOWN]}'. GET /v1/models lists what you may.",
            param="model",
        )
    refuse_unseen(request)
    most = permissions.max_context_tokens
    if most is None:
        return
    if (tokens := request.analysis.prompt_tokens) > most:
        raise PermissionDeniedError(f"The prompt has about {tokens} tokens; you may send {most} at the most.", param="messages")
    if read_asked(request).has_unseen:
        raise PermissionDeniedError(
            "The provider adds to this prompt what it keeps or finds, and nobody can count that before;"
            f" you may send {most} tokens at the most.",
            param="messages",
        )


def constrain(permissions: Permissions, constraints: Constraints = NO_CONSTRAINTS) -> Constraints:
    """The constraints with what the permissions take away. ``Router.decide`` calls this itself with the request's caller."""
    if permissions == EVERYTHING:
        return constraints
    return replace(
        constraints,
        models=_both(constraints.models, permissions.models),
        tiers=_both(constraints.tiers, permissions.tiers),
        regions=_both(constraints.regions, permissions.regions),
        max_output_tokens=_lower(constraints.max_output_tokens, permissions.max_output_tokens),
    )


def visible_names(permissions: Permissions, names: Iterable[str], registry: Registry) -> tuple[str, ...]:
    """Of these names of routes, models and aliases those that the caller may write in ``model``, for ``GET /v1/models``."""
    return tuple(name for name in names if _is_visible(permissions, name, registry))


def _is_visible(permissions: Permissions, name: str, registry: Registry) -> bool:
    final, seen = name, {name}
    while final not in registry.routes and (target := registry.aliases.get(final)) is not None and target not in seen:
        final = target
        seen.add(final)
    if permissions.routes is not None and not any(_is_among(permissions.routes, one) for one in (final, name)):
        return False
    route = registry.routes.get(final)
    if route is not None and (route.named_model is None or route.allow_cross_model):
        return _leads_somewhere(permissions, route, registry)
    model = registry.models.get(final if route is None or route.named_model is None else route.named_model)
    if model is None:
        return True
    return _may_answer(permissions, model)


def _may_answer(permissions: Permissions, model: Model) -> bool:
    if permissions.models is not None and not _is_among(permissions.models, model.name):
        return False
    if permissions.tiers is not None and not _is_among(permissions.tiers, model.tier.label):
        return False
    regions = permissions.regions
    return regions is None or any(_is_among(regions, one.region or "") for one in model.deployments)


def _leads_somewhere(permissions: Permissions, route: Route, registry: Registry) -> bool:
    """Whether a route, or a rule that may replace its plan, can end at a model that is allowed."""
    if permissions.models is None and permissions.tiers is None and permissions.regions is None:
        return True
    allowed = [model for model in registry.models.values() if _may_answer(permissions, model)]
    plans = [route.plan] if route.passthrough else [route.plan, *(rule.plan for rule in registry.rules)]
    return any(_can_choose(plan, allowed, registry) for plan in plans)


def _can_choose(plan: Plan, allowed: Sequence[Model], registry: Registry) -> bool:
    if not plan.targets:
        return not all(map(_is_wildcard, allowed))
    targets = {(target.kind, target.name) for target in (*plan.targets, *plan.last_resort)}
    if any(kind == "model" and name not in registry.models for kind, name in targets):
        return True  # only a wildcard knows that model
    named = [model for model in registry.models.values() if not targets.isdisjoint(_names_in_plans(model))]
    tiers = {model.tier for model in named} if plan.same_tier else set()
    return any(model in named or (model.tier in tiers and not _is_wildcard(model)) for model in allowed)


def _names_in_plans(model: Model) -> Iterator[tuple[str, str]]:
    """The targets, kind and name, that mean this model."""
    yield "model", model.name
    yield from (("deployment", one.name) for one in model.deployments)
    if not _is_wildcard(model):
        yield "tier", model.tier.label


def _is_wildcard(model: Model) -> bool:
    """Whether the model stands for many: nothing chooses among them, so it answers only where one is named."""
    return model.name.endswith("*")


def _is_among(patterns: Sequence[str], name: str) -> bool:
    return any(name.startswith(one[:-1]) if one.endswith("*") else name == one for one in patterns)


def _both(one: tuple[str, ...] | None, other: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """The names that both lists allow, as a list: of two that overlap the narrower."""
    if one is None or other is None:
        return other if one is None else one
    return tuple(dict.fromkeys(name for name in (*one, *other) if _covers(one, name) and _covers(other, name)))


def _covers(patterns: Sequence[str], name: str) -> bool:
    """Whether a list allows everything that a name, perhaps one that ends in ``*``, stands for."""
    if name.endswith("*"):
        return any(one.endswith("*") and name.startswith(one[:-1]) for one in patterns)
    return _is_among(patterns, name)


def _lower(one: int | None, other: int | None) -> int | None:
    return min((limit for limit in (one, other) if limit is not None), default=None)
