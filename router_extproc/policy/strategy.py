"""In which order candidates are tried: as written, cheapest, fastest or strongest first, or as the request asks for."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from router_extproc.policy.auto import Wish, in_order
from router_extproc.policy.choice import Choice, Group, Option
from router_extproc.policy.cost import EXPECTED_ANSWER_TOKENS, estimate_cost
from router_extproc.policy.health import UNSEEN
from router_extproc.policy.weights import Draws, order_by_weight
from router_extproc.registry.health import NO_RATIOS, DeploymentHealth
from router_extproc.registry.snapshot import Deployment, Model
from router_extproc.request import Request

ORDERED, CHEAP, FAST, BEST, AUTO = "ordered", "cheap", "fast", "best", "auto"

# Of the requests to `fast`, how many go first to a deployment that has no recent figure.
_MEASURING_SHARE = 0.1

Usable = Callable[[Choice], Sequence[Deployment]]


def rank(
    groups: Sequence[Group],
    strategy: str,
    usable: Usable,
    *,
    request: Request,
    health: Mapping[str, DeploymentHealth],
    draws: Draws,
    wish: Wish | None = None,
    token_ratios: Mapping[str, float] = NO_RATIOS,
) -> Iterator[Option]:
    """Yields options, best first, and looks no further than it is asked.

    ``usable`` names the deployments of a choice that may serve the request at all. A model's deployments follow each
    other in an order drawn by their weights, but under ``fast``, which compares deployments, not models. ``wish`` is what
    ``auto`` goes by; None where there is nothing to choose. ``token_ratios`` are by model, for what a prompt costs.
    """
    if strategy == ORDERED or (strategy == AUTO and wish is None):
        choices: Iterable[Choice] = (choice for group in _in_drawn_order(groups, draws) for choice in group.choices)
        return _spread(choices, usable, draws)
    choices = [choice for group in groups for choice in group.choices]
    if strategy == FAST:
        return iter(_by_speed([Option(choice, one) for choice in choices for one in usable(choice)], health, draws))
    if strategy == AUTO and wish is not None:
        ordered = in_order(
            choices,
            wish,
            lambda model: _price(model, request, token_ratios, wish.answer_tokens),
            lambda choice: bool(usable(choice)),
        )
        return _spread(ordered, usable, draws)
    if strategy == CHEAP:
        return _spread(sorted(choices, key=lambda choice: _price(choice.model, request, token_ratios)), usable, draws)
    return _spread(sorted(choices, key=lambda choice: _strength(choice.model, request, token_ratios)), usable, draws)


def _spread(choices: Iterable[Choice], usable: Usable, draws: Draws) -> Iterator[Option]:
    for choice in choices:
        deployments = usable(choice)
        if len(deployments) > 1:
            deployments = order_by_weight(deployments, [one.weight for one in deployments], draws)
        for deployment in deployments:
            yield Option(choice, deployment)


def _in_drawn_order(groups: Sequence[Group], draws: Draws) -> Sequence[Group]:
    """Groups with a weight in an order drawn by weight, then the others as written."""
    weighted = [group for group in groups if group.weight is not None]
    if not weighted:
        return groups
    drawn = order_by_weight(weighted, [group.weight or 0.0 for group in weighted], draws)
    return [*drawn, *(group for group in groups if group.weight is None)]


def _by_speed(options: list[Option], health: Mapping[str, DeploymentHealth], draws: Draws) -> list[Option]:
    """By recent time to first byte. What was not measured lately is tried by a few requests, so that it gets measured.

    Not by all of them: the first figure of a slow deployment comes only when its first answer has ended.
    """
    figures = [health.get(option.deployment.name, UNSEEN).time_to_first_byte_ms for option in options]
    measures = draws.uniform() <= _MEASURING_SHARE or all(figure is None for figure in figures)
    unmeasured = -1 if measures else 1
    keys = [(unmeasured, draws.uniform()) if figure is None else (0, figure) for figure in figures]
    return [options[index] for index in sorted(range(len(options)), key=keys.__getitem__)]


def _price(model: Model, request: Request, token_ratios: Mapping[str, float], expected: int = EXPECTED_ANSWER_TOKENS) -> float:
    cost = estimate_cost(model, request, expected, token_ratios)
    return math.inf if cost is None else cost


def _strength(model: Model, request: Request, token_ratios: Mapping[str, float]) -> tuple[int, float, float]:
    return -model.tier, -model.quality, _price(model, request, token_ratios)
