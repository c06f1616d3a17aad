"""What a request demands of a model, and why a model does not meet it.

Rules of this file
- It is the only place that decides whether a model may serve a request, so fallbacks pass the same gate as first choices.
- What is unknown about a model is never held against it, but for its price where the caller set a limit.
- The stages are tried in order. When nothing is left, the candidate that came furthest tells what was missing.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import NamedTuple

from router_extproc.decision import NO_CONSTRAINTS, Constraints
from router_extproc.policy.choice import Choice
from router_extproc.policy.cost import EXPECTED_ANSWER_TOKENS, estimate_cost, ratios_for
from router_extproc.policy.narrowing import Narrowing
from router_extproc.policy.rules import matches
from router_extproc.registry.health import NO_RATIOS
from router_extproc.registry.snapshot import Deployment, Model, Plan, Tier
from router_extproc.request import EMBEDDINGS, Request

# Estimates of tokens are off by this much often enough to matter (see analysis/tokens.py).
PROMPT_MARGIN = 1.1

# Capabilities that a path asks for by itself. Who names a model outright is not held to them.
PATH_NEEDS = {
    EMBEDDINGS: "embeddings",
    "/v1/audio/speech": "speech",
    "/v1/audio/transcriptions": "transcription",
    "/v1/audio/translations": "transcription",
}


class Stage(enum.IntEnum):
    """How far a candidate came."""

    PATH = 1
    PERMITTED = 2
    ALLOWED = 3
    REGION = 4
    TIER = 5
    QUALITY = 6
    CAPABILITY = 7
    CONTEXT = 8
    OUTPUT = 9
    COST = 10
    BUDGET = 11
    HEALTH = 12


class Rejection(NamedTuple):
    """Why a candidate fell. ``missing`` holds capabilities."""

    stage: Stage
    text: str
    missing: frozenset[str] = frozenset()


class Demand(NamedTuple):
    """One request as the filters see it. ``prompt_tokens`` includes the margin, ``answer_tokens`` is the caller's limit.

    ``expected_answer`` are the tokens that an answer will probably have, for what it costs. ``token_ratios`` holds, by model,
    what is learned of how it counts this prompt. ``constraints`` are what permissions and budgets leave; ``ceiling`` is the
    strongest tier that budgets allow.
    """

    request: Request
    needs: frozenset[str]
    prompt_tokens: int
    answer_tokens: int
    min_tier: Tier | None
    min_quality: float | None
    narrowing: Narrowing
    expected_answer: int = EXPECTED_ANSWER_TOKENS
    token_ratios: Mapping[str, float] = NO_RATIOS
    constraints: Constraints = NO_CONSTRAINTS
    ceiling: Tier | None = None

    def prompt_tokens_for(self, model: Model) -> int:
        """The prompt as this model will probably count it, with the margin."""
        ratio = self.token_ratios.get(model.name)
        return self.prompt_tokens if ratio is None else int(self.prompt_tokens * ratio)


def demand_of(
    request: Request,
    narrowing: Narrowing,
    plan: Plan,
    *,
    named: bool,
    analysed: bool,
    expected_answer: int = EXPECTED_ANSWER_TOKENS,
    token_ratios: Mapping[str, float] = NO_RATIOS,
    constraints: Constraints = NO_CONSTRAINTS,
    ceiling: Tier | None = None,
) -> Demand:
    """What a request demands. ``analysed`` is False on routes that pass everything through."""
    tiers = [tier for tier in (plan.min_tier, narrowing.min_tier) if tier is not None]
    strongest = max(tiers) if tiers else None
    if not analysed:
        return Demand(
            request,
            frozenset(),
            0,
            0,
            strongest,
            plan.min_quality,
            narrowing,
            constraints=constraints,
            ceiling=ceiling,
        )
    needs = request.analysis.needs
    if not named and request.path in PATH_NEEDS:
        needs |= {PATH_NEEDS[request.path]}
    # Embeddings come in batches: the texts share no context window.
    tokens = 0 if request.path == EMBEDDINGS else int(request.analysis.prompt_tokens * PROMPT_MARGIN)
    answer = request.analysis.max_output_tokens or 0
    if constraints.max_output_tokens is not None:
        answer = min(answer, constraints.max_output_tokens)
    ratios = ratios_for(request, token_ratios)
    return Demand(
        request,
        needs,
        tokens,
        answer,
        strongest,
        plan.min_quality,
        narrowing,
        expected_answer,
        ratios,
        constraints,
        ceiling,
    )


def usable_deployments(choice: Choice, demand: Demand) -> tuple[Deployment, ...] | Rejection:
    """The deployments of a choice that may serve the request, or why none may."""
    path, region = demand.request.path, demand.narrowing.region
    serving = tuple(one for one in choice.deployments if serves(one, path))
    if not serving:
        return Rejection(Stage.PATH, f"does not serve {path}")
    if demand.constraints is not NO_CONSTRAINTS and (forbidden := _why_forbidden(choice, demand.constraints)) is not None:
        return forbidden
    allowed = demand.narrowing.models
    if allowed is not None and choice.name not in allowed and choice.model.name not in allowed:
        return Rejection(Stage.ALLOWED, "not among the models that the caller allows")
    if region is not None:
        serving = tuple(one for one in serving if one.region == region)
        if not serving:
            return Rejection(Stage.REGION, f"not in region {region}")
    return why_not(choice.model, demand) or _with_room(choice.model, serving, demand)


def why_deployment_not(deployment: Deployment, demand: Demand) -> Rejection | None:
    """Why one deployment falls while others of its model stay, or None when it stays too."""
    if not serves(deployment, demand.request.path):
        return Rejection(Stage.PATH, f"does not serve {demand.request.path}")
    region = demand.narrowing.region
    if region is not None and deployment.region != region:
        return Rejection(Stage.REGION, f"not in region {region}")
    return _why_closed(deployment, demand.constraints)


def why_not(model: Model, demand: Demand) -> Rejection | None:  # noqa: PLR0911 - one return for each reason
    """Why the model itself may not serve the request, or None when it may."""
    if demand.min_tier is not None and model.tier < demand.min_tier:
        return Rejection(Stage.TIER, f"tier {model.tier.label} is below {demand.min_tier.label}")
    if demand.min_quality is not None and model.quality < demand.min_quality:
        return Rejection(Stage.QUALITY, f"quality {model.quality:g} is below {demand.min_quality:g}")
    if demand.needs and model.capabilities is not None and not demand.needs <= model.capabilities:
        missing = demand.needs - model.capabilities
        return Rejection(Stage.CAPABILITY, f"lacks {', '.join(sorted(missing))}", missing)
    window = model.context_window
    if window is not None and (prompt := demand.prompt_tokens_for(model)) + demand.answer_tokens > window:
        asked = f"a prompt of about {prompt} tokens with margin and an answer of {demand.answer_tokens}"
        return Rejection(Stage.CONTEXT, f"context window of {window} tokens is too small for {asked}")
    if model.output_limit is not None and demand.answer_tokens > model.output_limit:
        return Rejection(Stage.OUTPUT, f"writes at most {model.output_limit} tokens, {demand.answer_tokens} are asked for")
    limit = demand.narrowing.max_cost_usd
    if limit is not None:
        cost = estimate_cost(model, demand.request, demand.expected_answer, demand.token_ratios)
        if cost is None:
            return Rejection(Stage.COST, "has no price to hold against the caller's limit")
        if cost > limit:
            return Rejection(Stage.COST, f"estimated at {cost:.6f} USD, above the caller's limit of {limit:.6f}")
    return None


def _why_forbidden(choice: Choice, constraints: Constraints) -> Rejection | None:
    """Why the caller may not use the model at all, or None when it may."""
    model = choice.model
    if constraints.models is not None and not _is_among(constraints.models, choice.name, model.name):
        return Rejection(Stage.PERMITTED, "not among the models that the caller may use")
    if constraints.tiers is not None and not _is_among(constraints.tiers, model.tier.label):
        return Rejection(Stage.PERMITTED, f"tier {model.tier.label} is not among those that the caller may use")
    if constraints.regions is not None and not any(_is_in(one, constraints.regions) for one in choice.deployments):
        return Rejection(Stage.PERMITTED, "in no region that the caller may use")
    return None


def _with_room(model: Model, serving: tuple[Deployment, ...], demand: Demand) -> tuple[Deployment, ...] | Rejection:
    """Of the deployments that could serve those that budgets leave, or why they leave none."""
    constraints = demand.constraints
    if demand.ceiling is not None and model.tier > demand.ceiling:
        return Rejection(
            Stage.BUDGET, f"tier {model.tier.label} is above {demand.ceiling.label}, the highest that a budget allows"
        )
    if constraints is NO_CONSTRAINTS:
        return serving
    open_ones = tuple(one for one in serving if _why_closed(one, constraints) is None)
    if open_ones:
        return open_ones
    reasons = [found for one in serving if (found := _why_closed(one, constraints)) is not None]
    return max(reasons, key=lambda one: one.stage)


def _why_closed(deployment: Deployment, constraints: Constraints) -> Rejection | None:
    if not _is_in(deployment, constraints.regions):
        return Rejection(Stage.PERMITTED, f"region {deployment.region} is not among those that the caller may use")
    reason = constraints.closed.get(deployment.name)
    return None if reason is None else Rejection(Stage.BUDGET, reason)


def _is_in(deployment: Deployment, regions: tuple[str, ...] | None) -> bool:
    return regions is None or (deployment.region is not None and _is_among(regions, deployment.region))


def _is_among(patterns: tuple[str, ...], *names: str) -> bool:
    return any(matches(pattern, name) for pattern in patterns for name in names)


def serves(deployment: Deployment, path: str) -> bool:
    """Whether the deployment serves the path; one that lists no paths serves all of them."""
    if not deployment.paths:
        return True
    for pattern in deployment.paths:  # noqa: SIM110 - a generator would take twice as long, on every request
        if matches(pattern, path):
            return True
    return False
