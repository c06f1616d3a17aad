"""The brain on one page: a request and a situation in, a decision out. Pure: no clock, no network, no randomness of its own.

The ext_proc service, ``explain`` and programs that import the library call exactly this.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec.structs import replace

from router_extproc.analysis.analyser import Analyser, no_clock
from router_extproc.analysis.classifier import NOTHING_LEARNED, Classifier
from router_extproc.analysis.configured import configure
from router_extproc.analysis.reading import read_request as _read_request
from router_extproc.analysis.semantic_routes import RouteExamples
from router_extproc.caller import EVERYTHING
from router_extproc.decision import NO_CONSTRAINTS, Attempt, Constraints, Decision
from router_extproc.errors import ModelNotFoundError, PathNotFoundError, RequestError
from router_extproc.limits.permissions import check, constrain
from router_extproc.policy.auto import QUALITY, Wish, read_wish
from router_extproc.policy.capability import Demand, Rejection, Stage, demand_of, usable_deployments
from router_extproc.policy.chain import Chain, build_chain, least_bad_chain
from router_extproc.policy.choice import Choice, Menu, make_menu
from router_extproc.policy.cost import EXPECTED_ANSWER_TOKENS, estimate_cost
from router_extproc.policy.explanation import (
    Explanation,
    explain_candidates,
    explain_error,
    explain_prices,
    explain_request,
    explain_rules,
)
from router_extproc.policy.health import seconds_until_back
from router_extproc.policy.naming import Resolved, resolve
from router_extproc.policy.narrowing import NOTHING, read_narrowing
from router_extproc.policy.pool import Pool
from router_extproc.policy.refusal import floor_refusal, quota_refusal, refusal
from router_extproc.policy.rules import applies_to, first_matching
from router_extproc.policy.strategy import AUTO
from router_extproc.policy.timing import attempt_timeout
from router_extproc.policy.weights import Draws
from router_extproc.registry.health import NO_RATIOS, UNKNOWN_HEALTH, DeploymentHealth
from router_extproc.registry.snapshot import Registry, Route, Rule, Tier
from router_extproc.request import AUDIO, BY_PATH, CHAT_COMPLETIONS, FILES, JSON_SCHEMA, NOTHING_KNOWN, TOOLS, VISION, Request

# Names that only wildcards match come from clients without end: beyond this many the caches start again.
_CACHED = 4_096
# Only these answers are understood well enough to be judged.
_JUDGED_PATHS = frozenset({CHAT_COMPLETIONS, "/v1/completions"})
# What is estimated by other rules than a count of text: how a tokenizer counts is not learned from it.
_MORE_THAN_TEXT = frozenset({VISION, AUDIO, FILES, TOOLS, JSON_SCHEMA})


_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class Situation(msgspec.Struct, frozen=True):
    """What is true at the moment of a decision: live health, the time in epoch seconds, and a seed for weighted orders.

    ``token_ratios`` says, by model, how many tokens it counts in a prompt for each one that is estimated; without one: 1.
    ``constraints`` are what budgets leave of the candidates; what the caller may use is known from the request.
    """

    health: Mapping[str, DeploymentHealth] = UNKNOWN_HEALTH
    draw: int = 0
    now: float = 0.0
    token_ratios: Mapping[str, float] = NO_RATIOS
    constraints: Constraints = NO_CONSTRAINTS

    @classmethod
    def unknown(cls) -> Situation:
        """Everything healthy and unmeasured."""
        return _UNKNOWN


_UNKNOWN = Situation()


class _Name(NamedTuple):
    """What a name in ``model`` leads to: the route and its rules."""

    resolved: Resolved
    rules: tuple[Rule, ...]


class _Course(NamedTuple):
    """Where a request is headed before health is looked at."""

    route: Route
    rule: Rule | None
    menu: Menu
    demand: Demand
    wish: Wish | None
    reason: str | None


class Router:
    """Decides for one registry. Decisions depend on the request and the situation alone; the caches only save time."""

    def __init__(
        self, registry: Registry, classifier: Classifier = NOTHING_LEARNED, clock: Callable[[], float] | None = None
    ) -> None:
        """``classifier`` reads what texts are; without it ``auto`` takes the strongest models. ``clock`` counts the seconds
        that the signals of a decision tell, such as ``time.perf_counter``; without it they tell none.
        """
        self.registry = registry
        self.analyser = _analyser(registry, classifier, clock)
        self._names: dict[str, _Name] = {}
        self._menus: dict[tuple[str, str | None, str | None], Menu] = {}

    @classmethod
    def from_file(cls, path: str | Path, classifier: Classifier | None = None) -> Router:
        """Reads ``router.yaml``; without a ``classifier`` the shipped one is loaded.

        Raises:
            ConfigurationError: the file cannot be used; all its problems are listed.
        """
        # A worker must never load YAML and the schema: they are imported only here, by name.
        load_config = importlib.import_module("router_extproc.config.load").load_config
        load_catalogue = importlib.import_module("router_extproc.registry.catalogue").load_catalogue
        compile_registry = importlib.import_module("router_extproc.registry.compile").compile_registry
        return cls(
            compile_registry(load_config(path), load_catalogue()), Classifier.load() if classifier is None else classifier
        )

    def read(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Request:
        """Reads what names the route; the rest is read when a decision asks for it, and only that.

        Raises:
            RequestError: it cannot be routed; the error says what the client is told.
        """
        return _read_request(method, path, headers, body, self.analyser)

    def decide(self, request: Request, situation: Situation = _UNKNOWN) -> Decision:
        """Where the request goes: the chain of attempts, in order, with their limits.

        Whoever lacks the time interrupts this (no ``except Exception`` here may keep it), calls
        ``request.analysis.cut_short()`` and decides again: that asks nothing of the text any more, and ``auto`` then takes
        the strongest models, with the reason ``analysis-deadline``.

        Raises:
            RequestError: nothing may serve it; the error says what the client is told.
        """
        if not request.model:
            return self._decide_by_path(request, situation)
        course = self._plot(request, situation)
        return self._decide(course, self._pool(course, situation), request, situation)

    def explain(self, request: Request, situation: Situation = _UNKNOWN) -> Explanation:
        """The decision, or the refusal, with everything it was made from. Raises nothing that ``decide`` would."""
        outcome = self._outcome(request, situation)
        # Only now every fact: the signals of the decision are those that it asked for.
        try:
            about = explain_request(request)
        except RequestError:
            about = explain_request(replace(request, analysis=NOTHING_KNOWN))
        return replace(about, revision=self.registry.revision, catalogue=self.registry.catalogue, **outcome)

    def _outcome(self, request: Request, situation: Situation) -> dict[str, Any]:
        """What an explanation says beside the request itself."""
        try:
            if not request.model:
                return {"decision": self._decide_by_path(request, situation)}
            course = self._plot(request, situation)
        except RequestError as error:
            return {"refusal": explain_error(error)}
        pool = self._pool(course, situation)
        decision, refused = None, None
        try:
            decision = self._decide(course, pool, request, situation)
        except RequestError as error:
            refused = explain_error(error)
        candidates = explain_candidates(course.menu, pool, course.demand, situation.health)
        return {
            "route": course.route.name,
            "rules": explain_rules(self._name(request.model).rules, request),
            "candidates": candidates,
            "prices": explain_prices(course.menu),
            "decision": None if decision is None else replace(decision, candidates=candidates),
            "refusal": refused,
        }

    def route_of(self, model: str) -> str | None:
        """The name of the route that a name in ``model`` leads to, None when it leads nowhere."""
        try:
            return self._name(model).resolved.route.name
        except ModelNotFoundError:
            return None

    def _plot(self, request: Request, situation: Situation) -> _Course:
        resolved, rules = self._name(request.model)
        route = resolved.route
        constraints = situation.constraints
        if request.caller.permissions != EVERYTHING:
            # Before the rest is forgotten: a prompt may be too long for a caller on whichever route.
            check(request.caller, request, route.name)
            constraints = constrain(request.caller.permissions, constraints)
        if route.passthrough:
            request = replace(request, analysis=NOTHING_KNOWN)
        narrowing = read_narrowing(request.headers, self.registry)
        rule = first_matching(rules, request) if rules else None
        menu = self._menu(resolved, rule)
        is_held = route.named_model is not None
        wish = None
        if menu.plan.strategy == AUTO and (not is_held or route.allow_cross_model):
            quality = route.plan.quality if menu.plan.quality is None else menu.plan.quality
            settings = self.registry.analysis
            wish = read_wish(
                request.analysis, QUALITY if quality is None else quality, settings.risk_floor, settings.reasoning_tier
            )
        expected = EXPECTED_ANSWER_TOKENS if wish is None else wish.answer_tokens
        demand = demand_of(
            request,
            narrowing,
            menu.plan,
            named=is_held,
            analysed=not route.passthrough,
            expected_answer=expected,
            token_ratios=situation.token_ratios,
            constraints=constraints,
        )
        if constraints.tier_ceiling is not None and not route.safety_critical:
            demand, wish = _lowered(demand, wish, Tier[constraints.tier_ceiling.upper()])
        return _Course(route, rule, menu, demand, wish, _reason(resolved, rule, menu))

    def _pool(self, course: _Course, situation: Situation) -> Pool:
        return Pool(course.demand, situation.health, Draws(situation.draw), situation.now, course.wish)

    def _decide(self, course: _Course, pool: Pool, request: Request, situation: Situation) -> Decision:
        route, demand = course.route, course.demand
        chain = build_chain(course.menu, pool, route.max_attempts)
        if chain is None:
            if not pool.cooling:
                raise refusal(demand, pool.fallen, route.name)
            back = seconds_until_back(pool.cooling, situation.health, situation.now)
            if (refused := floor_refusal(demand, route.name, back)) is not None:
                raise refused
            chain = least_bad_chain(pool, situation.health)
        if chain.opens_in is not None:
            self._check_quota(chain, chain.opens_in, pool, route, situation)
        return _decision(course, chain, request)

    def _check_quota(self, chain: Chain, resets_in: float, pool: Pool, route: Route, situation: Situation) -> None:
        """Nothing that is ready has room by its provider's word: whoever may wait as long is decided, others are refused."""
        waiting = self.registry.spending.waiting
        if waiting.learned == "try" or resets_in * 1_000 <= waiting.max_wait_ms:
            return
        opens_in = resets_in
        if pool.cooling:
            opens_in = min(opens_in, seconds_until_back(pool.cooling, situation.health, situation.now))
        if situation.constraints.opens_at is not None:
            opens_in = min(opens_in, situation.constraints.opens_at - situation.now)
        unit = situation.health[chain.first.deployment.name].quota_unit
        raise quota_refusal(route.name, opens_in, unit, resets_in)

    def _decide_by_path(self, request: Request, situation: Situation) -> Decision:
        """Files, batches and other paths without a model: always the same place, the first that serves the path."""
        check(request.caller, request, BY_PATH)
        constraints = constrain(request.caller.permissions, situation.constraints)
        demand = Demand(request, frozenset(), 0, 0, None, None, NOTHING, constraints=constraints)
        fallen: dict[str, Rejection] = {}
        for model in self.registry.models.values():
            found = usable_deployments(Choice(model, model.name, None, model.deployments), demand)
            if isinstance(found, Rejection):
                fallen[model.name] = found
                continue
            attempt = Attempt(found[0].name, model.name, "", model.tier.label)
            deadline = self.registry.routes.get("auto", Route(name=BY_PATH)).deadline_ms
            return Decision(BY_PATH, BY_PATH, (attempt,), deadline_ms=deadline, max_attempts=1)
        if all(one.stage is Stage.PATH for one in fallen.values()):
            raise PathNotFoundError(f"No provider serves {request.path[:200]}.")
        raise refusal(demand, fallen, BY_PATH)

    def _name(self, name: str) -> _Name:
        found = self._names.get(name)
        if found is None:
            resolved = resolve(name, self.registry)
            names = (resolved.route.name, resolved.name)
            looked_at = () if resolved.route.passthrough else self.registry.rules
            rules = tuple(rule for rule in looked_at if any(applies_to(rule.when, one) for one in names))
            found = _Name(resolved, rules)
            _keep(self._names, name, found)
        return found

    def _menu(self, resolved: Resolved, rule: Rule | None) -> Menu:
        key = (resolved.route.name, None if rule is None else rule.name, resolved.matched)
        menu = self._menus.get(key)
        if menu is None:
            plan = resolved.route.plan if rule is None else rule.plan
            menu = make_menu(plan, resolved.route, self.registry, resolved.matched)
            _keep(self._menus, key, menu)
        return menu


def read_request(method: str, path: str, headers: Mapping[str, str], body: bytes, router: Router | None = None) -> Request:
    """Reads a request; what a text is can only be asked of one that was read with a router.

    Raises:
        RequestError: it cannot be routed; the error says what the client is told.
    """
    analyser = Analyser() if router is None else router.analyser
    return _read_request(method, path, headers, body, analyser)


def _analyser(registry: Registry, classifier: Classifier, clock: Callable[[], float] | None) -> Analyser:
    settings = registry.analysis
    configured = configure(
        classifier,
        phrases=[phrase for rule in registry.rules for phrase in rule.when.keywords],
        tasks=settings.tasks,
        routes=[
            RouteExamples(name, route.utterances, route.description, route.threshold)
            for name, route in settings.semantic_routes.items()
        ],
        encoder=settings.encoder,
    )
    return Analyser(classifier, clock or no_clock, configured)


def _lowered(demand: Demand, wish: Wish | None, ceiling: Tier) -> tuple[Demand, Wish | None]:
    """What is asked for under the ceiling of a budget, which gives way to every floor."""
    ceiling = max(ceiling, demand.min_tier or ceiling, ceiling if wish is None else wish.floor)
    if wish is not None:
        wish = wish._replace(tier=min(wish.tier, ceiling))
    return demand._replace(ceiling=ceiling), wish


def _keep(cache: dict[_Key, _Value], key: _Key, value: _Value) -> None:
    if len(cache) >= _CACHED:
        cache.clear()
    cache[key] = value


def _reason(resolved: Resolved, rule: Rule | None, menu: Menu) -> str | None:
    """Why, as far as it is known before a model is chosen; None for what ``auto`` wished."""
    if rule is not None:
        return f"rule:{rule.name}"
    if menu.plan.strategy == AUTO and not resolved.route.passthrough:
        return None
    if resolved.route.passthrough:
        return "passthrough"
    if resolved.by_alias:
        return "alias"
    return "named" if resolved.route.named_model is not None else menu.plan.strategy


def _most_attempts(route: Route, chain: Chain) -> int:
    """Causes with a chain of their own may prolong the route's."""
    longest = len(chain.attempts) + max((len(after) for after in chain.after.values()), default=0)
    return min(longest, route.max_attempts)


def _decision(course: _Course, chain: Chain, request: Request) -> Decision:
    route = course.route
    judged = request.path in _JUDGED_PATHS
    chosen, demand = chain.first.choice.model, course.demand
    floors = [tier for tier in (demand.min_tier, None if course.wish is None else course.wish.floor) if tier is not None]
    cost = None if route.passthrough else estimate_cost(chosen, request, demand.expected_answer, demand.token_ratios)
    return Decision(
        route=route.name,
        reason=course.reason or (course.wish.reason(chosen) if course.wish is not None else AUTO),
        chain=chain.attempts,
        requested=request.model,
        cause_chains=chain.after,
        rule=None if course.rule is None else course.rule.name,
        deadline_ms=route.deadline_ms,
        attempt_timeout_ms=attempt_timeout(route, stream=request.stream, attempts=_most_attempts(route, chain)),
        first_token_timeout_ms=route.first_token_timeout_ms if request.stream and judged else None,
        stream_idle_ms=route.stream_idle_ms,
        retry_within_ms=route.retry_within_ms,
        max_attempts=route.max_attempts,
        check_answer=route.check_answer and judged,
        stream=request.stream,
        estimated_cost_usd=cost,
        half_open=chain.half_open,
        degraded=chain.degraded,
        signals=request.analysis.signals(),
        text_tokens=None if route.passthrough else _text_tokens(request),
        tier_floor=max(floors).label if floors else None,
    )


def _text_tokens(request: Request) -> int | None:
    """The tokens counted in a chat of text alone; None for anything else, and where counting was cut short."""
    analysis = request.analysis
    if request.path != CHAT_COMPLETIONS or not analysis.needs.isdisjoint(_MORE_THAN_TEXT) or not analysis.characters:
        return None
    return analysis.prompt_tokens
