"""The chain that Envoy serves alone when no worker can decide: fixed, since Envoy reads no body and knows no health."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from router_extproc.registry.models import generates_text, is_wildcard
from router_extproc.registry.snapshot import Deployment, Model, Plan, Target
from router_extproc.request import TOOLS, VISION

# As many attempts as a route makes unless it says otherwise.
LENGTH = 4
# Prompts are longer than answers: the usual blend for comparing models by price is three to one.
_PROMPT_SHARE = 0.75


def blended_price(model: Model) -> float:
    """USD per million tokens at three prompt tokens to one of the answer; infinite when unknown."""
    if model.prices is None:
        return math.inf
    return _PROMPT_SHARE * model.prices.input + (1 - _PROMPT_SHARE) * model.prices.output


def ranked(models: Iterable[Model], strategy: str) -> list[Model]:
    """The models as a strategy prefers them without knowing a request: fast and ordered keep the given order.

    What nobody has read may be hard: for auto the strongest tier goes first, its cheaper models before the dearer.
    """
    if strategy == "auto":
        return sorted(models, key=lambda model: (-model.tier, blended_price(model)))
    if strategy == "cheap":
        return sorted(models, key=blended_price)
    if strategy == "best":
        return sorted(models, key=lambda model: (-model.tier, -model.quality))
    return list(models)


def explicit_chain(targets: tuple[Target, ...], models: dict[str, Model]) -> tuple[str, ...]:
    """What ``default_chain`` of the file names: each target with all its deployments, in the written order."""
    places = [place for target in targets for place in _places(target, models)]
    return tuple(dict.fromkeys(deployment.name for place in places for deployment in place))


def derived_chain(plan: Plan, models: dict[str, Model]) -> tuple[str, ...]:
    """The first deployment of each model that the plan would try, then further keys, up to ``LENGTH`` together.

    Models below the plan's floors never enter it: then the chain may be empty, and Envoy answers 503.
    """
    targets = plan.targets
    if any(target.weight is not None for target in targets):
        targets = tuple(sorted(targets, key=lambda target: -(target.weight or 0.0)))
    places = [place for target in targets for place in _places(target, models) if place]
    if plan.strategy != "ordered":
        order = {model.name: rank for rank, model in enumerate(ranked(models.values(), plan.strategy))}
        places.sort(key=lambda place: order[place[0].model])
    if plan.same_tier and places:
        tiers = dict.fromkeys(models[place[0].model].tier for place in places)
        places += [place for tier in tiers for place in _places(Target(kind="tier", name=tier.label), models) if place]
    places += [place for target in plan.last_resort for place in _places(target, models) if place]
    strong = [place for place in places if plan.is_strong_enough(models[place[0].model])]
    # Nobody will have read the request: what every request can be sent to goes first.
    strong.sort(key=lambda place: not _takes_anything(models[place[0].model]))
    return tuple(dict.fromkeys(_firsts_first(strong)))[:LENGTH] or _wildcards(models, plan)


def _takes_anything(model: Model) -> bool:
    """Whether requests with tools or images are understood; a model of which nothing is known is given the benefit."""
    return model.capabilities is None or {TOOLS, VISION} <= model.capabilities


def _firsts_first(places: list[tuple[Deployment, ...]]) -> Iterator[str]:
    """One deployment of each place, then the second ones, and so on."""
    for rank in range(max((len(place) for place in places), default=0)):
        yield from (place[rank].name for place in places if rank < len(place))


def _places(target: Target, models: dict[str, Model]) -> list[tuple[Deployment, ...]]:
    """The deployments behind a target, by model; a tier's models from the cheapest up."""
    if target.kind == "model":
        model = models.get(target.name)
        return [model.deployments] if model is not None else []
    if target.kind == "tier":
        return [
            model.deployments
            for model in ranked(models.values(), "cheap")
            if model.tier.label == target.name and generates_text(model) and not is_wildcard(model.name)
        ]
    return [(deployment,) for model in models.values() for deployment in model.deployments if deployment.name == target.name]


def _wildcards(models: dict[str, Model], plan: Plan) -> tuple[str, ...]:
    """Where nothing but wildcards is configured, they serve: Envoy then leaves the client's model name as it is."""
    wild = [model for name, model in models.items() if is_wildcard(name) and plan.is_strong_enough(model)]
    return tuple(deployment.name for model in wild for deployment in model.deployments)[:LENGTH]
