"""From ``router.yaml`` to the registry: everything filled in, so that a decider has nothing left to look up.

The file says little; the registry holds what it left out: deployments from the providers' lists and keys, limits and
prices from the catalogue, the routes that every configuration has, the chain that Envoy serves alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from router_extproc.config import schema
from router_extproc.config.analysis import NO_FLOOR, Analysis
from router_extproc.config.conditions import covers_text
from router_extproc.config.deployments import configured_deployments
from router_extproc.config.schema import RouterConfig
from router_extproc.config.section import Section
from router_extproc.config.when import Probability, Range
from router_extproc.registry.catalogue import Catalogue
from router_extproc.registry.compile_spending import compile_spending
from router_extproc.registry.default_chain import derived_chain, explicit_chain
from router_extproc.registry.models import compile_models
from router_extproc.registry.plans import PlanCompiler
from router_extproc.registry.snapshot import (
    RISKS,
    AnalysisSettings,
    Bounds,
    Condition,
    Model,
    Plan,
    Registry,
    Route,
    Rule,
    SemanticRoute,
    Target,
    Tier,
)

# Names that every configuration serves, with the strategy that each stands for.
DEFAULT_ROUTES = {"auto": "auto", "fast": "fast", "cheap": "cheap", "best": "best"}
AUTO = "auto"
_REVISION_DIGITS = 16

_Section = TypeVar("_Section", bound=Section)
_Floor = TypeVar("_Floor", Tier, float)


def compile_registry(config: RouterConfig, catalogue: Catalogue, unreachable: Collection[str] = ()) -> Registry:
    """Compiles a checked configuration; ``revision`` is the beginning of the SHA-256 of the content.

    ``unreachable`` names deployments to leave out, such as those without a key; their models and routes stay.
    """
    configured = configured_deployments(config)
    models = {name: _without(model, unreachable) for name, model in compile_models(config, configured, catalogue).items()}
    plans = PlanCompiler(models, configured)
    routes = _routes(config, models, plans)
    rules = tuple(rule for written in config.rules for rule in _keeping_floors(_rule(written, plans), routes))
    chosen = plans.targets(config.default_chain)
    registry = Registry(
        models=models,
        routes=routes,
        aliases=resolved_aliases(config),
        rules=rules,
        default_chain=explicit_chain(chosen, models) if chosen else derived_chain(routes[AUTO].plan, models),
        catalogue=f"{catalogue.source}, {catalogue.built}",
        max_body_bytes=config.limits.max_body_bytes,
        max_body_bytes_in_flight=config.limits.max_body_bytes_in_flight,
        never_asked_for_usage=frozenset(one.name for one in configured if not one.provider.include_stream_usage),
        analysis=_analysis(config.analysis),
        spending=compile_spending(config, configured),
    )
    return replace(registry, revision=_revision(registry))


def _analysis(written: Analysis) -> AnalysisSettings:
    floors = {name: tier for name in RISKS if (tier := getattr(written.risk_floor, name)) != NO_FLOOR}
    return AnalysisSettings(
        deadline_ms=written.deadline,
        encoder=written.encoder,
        risk_floor={name: Tier[tier.upper()] for name, tier in floors.items()},
        reasoning_tier=Tier[written.reasoning_tier.upper()],
        tasks=dict(written.tasks),
        semantic_routes={
            name: SemanticRoute(route.utterances, route.description, route.threshold)
            for name, route in written.semantic_routes.items()
        },
    )


def _revision(registry: Registry) -> str:
    """Sets have another order in every process, and the file's order of names has a meaning: both are accounted for."""
    content = (registry, tuple(registry.models), tuple(registry.routes), tuple(registry.aliases))
    return hashlib.sha256(msgspec.json.encode(content, order="deterministic")).hexdigest()[:_REVISION_DIGITS]


def _without(model: Model, unreachable: Collection[str]) -> Model:
    return replace(model, deployments=tuple(one for one in model.deployments if one.name not in unreachable))


def resolved_aliases(config: RouterConfig) -> dict[str, str]:
    """Each alias with the name it finally stands for; aliases of aliases are followed."""
    resolved = {}
    for alias, name in config.aliases.items():
        final, seen = name, {alias}
        while final in config.aliases and final not in seen:
            seen.add(final)
            final = config.aliases[final]
        resolved[alias] = final
    return resolved


def _routes(config: RouterConfig, models: dict[str, Model], plans: PlanCompiler) -> dict[str, Route]:
    """The default routes, the file's own, and one for every model."""
    names = dict.fromkeys((*DEFAULT_ROUTES, *config.routes, *models))
    return {name: _route(name, config, models, plans) for name in names}


def _route(name: str, config: RouterConfig, models: dict[str, Model], plans: PlanCompiler) -> Route:
    written = config.routes.get(name, schema.Route())
    timeouts = _filled(config.defaults.timeouts, written.timeouts)
    retry = _filled(config.defaults.retry, written.retry)
    check = _filled(config.defaults.check, written.check)
    return Route(
        name=name,
        plan=_route_plan(name, written, models, plans),
        named_model=name if name in models else None,
        allow_cross_model=written.allow_cross_model,
        passthrough=written.mode == "passthrough",
        deadline_ms=timeouts.deadline,
        attempt_timeout_ms=timeouts.attempt,
        first_token_timeout_ms=timeouts.first_token,
        stream_idle_ms=timeouts.stream_idle,
        max_attempts=retry.max_attempts,
        retry_within_ms=retry.within,
        check_answer=check.answer,
        on_router_failure=written.on_router_failure,
        safety_critical=written.safety_critical,
    )


def _route_plan(name: str, written: schema.Route, models: dict[str, Model], plans: PlanCompiler) -> Plan:
    strategy = DEFAULT_ROUTES.get(name, AUTO)
    plan = plans.plan(written, strategy=strategy)
    if name in models:
        if not written.targets:
            ordered = written.strategy or "ordered"
            plan = replace(plan, strategy=ordered, targets=(Target(kind="model", name=name),))
        # A named model is never replaced in silence; who allows another may also have the tier's.
        return plan if written.allow_cross_model else replace(plan, same_tier=False)
    if name in DEFAULT_ROUTES and name != AUTO and written.strategy is None:
        # `fast` over some targets still promises the fastest of them.
        plan = replace(plan, strategy=strategy)
    return plan


def _filled(defaults: _Section, written: _Section | None) -> _Section:
    """The section as written, what it leaves out taken from the file's defaults."""
    if written is None:
        return defaults
    return defaults.model_copy(update={name: getattr(written, name) for name in written.model_fields_set})


def _rule(written: schema.Rule, plans: PlanCompiler) -> Rule:
    when = written.when
    keywords = when.keywords
    condition = Condition(
        routes=when.route or (AUTO,),
        headers=tuple(when.headers.items()),
        path=when.path,
        stream=when.stream,
        tools=when.tools,
        images=when.images,
        prompt_tokens=_bounds(when.prompt_tokens),
        code=when.code,
        turn=_bounds(when.turn),
        any_keyword=() if keywords is None else keywords.any,
        all_keywords=() if keywords is None else keywords.all,
        no_keyword=() if keywords is None else keywords.none,
        languages=when.language,
        semantic_routes=when.semantic_route,
        tasks=when.task,
        risks=when.risk,
        complexity=_bounds(when.complexity),
        needs_strong=_bounds(when.needs_strong),
        injection=_bounds(when.injection),
    )
    return Rule(name=written.name, when=condition, plan=plans.plan(written.then))


def _bounds(written: Range | Probability | None) -> Bounds | None:
    return None if written is None else Bounds(written.at_least, written.at_most)


def _higher(own: _Floor | None, promised: _Floor | None) -> _Floor | None:
    """The higher of two floors; None is no floor."""
    if own is None or promised is None:
        return promised if own is None else own
    return max(own, promised)


def _keeping_floors(rule: Rule, routes: dict[str, Route]) -> list[Rule]:
    """The rule, and before it one for each route whose floor its plan would otherwise undercut.

    A rule replaces a route's plan, but ``min_tier`` and ``min_quality`` of a route are promises: of each the higher holds.
    """
    raised = []
    for name, route in routes.items():
        plan = replace(
            rule.plan,
            min_tier=_higher(rule.plan.min_tier, route.plan.min_tier),
            min_quality=_higher(rule.plan.min_quality, route.plan.min_quality),
        )
        if plan != rule.plan and any(covers_text(pattern, name) for pattern in rule.when.routes):
            raised.append(replace(rule, when=replace(rule.when, routes=(name,)), plan=plan))
    kept = {rule.when.routes[0] for rule in raised}
    others = tuple(name for name in rule.when.routes if name not in kept)
    return [*raised, replace(rule, when=replace(rule.when, routes=others))] if others else raised
