"""What the brain promises for every registry, every request and every situation."""

from __future__ import annotations

import contextlib
import json
import math

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from router_extproc import Router, Situation
from router_extproc.caller import Caller
from router_extproc.decision import Attempt, Decision
from router_extproc.errors import (
    RequestError,
    RequestLimitError,
)
from router_extproc.policy.cost import estimate_cost, ratios_for
from router_extproc.policy.narrowing import read_narrowing
from router_extproc.registry.health import CLOSED, HALF_OPEN, OPEN, DeploymentHealth
from router_extproc.registry.snapshot import (
    Model,
    Registry,
    Route,
    Tier,
)
from router_extproc.registry.spending import Spending, Waiting
from router_extproc.request import CHAT_COMPLETIONS, EMBEDDINGS, Request
from tests.policy import registries as build

NOW = 1_000.0


def attempts_of(decision: Decision) -> list[Attempt]:
    return [attempt for chain in (decision.chain, *decision.cause_chains.values()) for attempt in chain]


def outcome(router: Router, request: Request, situation: Situation) -> Decision | RequestError:
    try:
        return router.decide(request, situation)
    except RequestError as error:
        return error


def owner_of(attempt: Attempt, registry: Registry) -> Model:
    return next(one for one in registry.models.values() if any(each.name == attempt.deployment for each in one.deployments))


@st.composite
def cases(draw: st.DrawFn) -> tuple[Registry, Request, Situation]:
    registry = draw(build.registries())
    ratios = draw(st.dictionaries(st.sampled_from(list(registry.models)), st.floats(0.5, 2)))
    constraints = draw(build.constraints(registry))
    situation = Situation(draw(build.healths(registry)), draw(st.integers(0, 2**64)), NOW, ratios, constraints)
    request = draw(build.REQUESTS)
    if draw(st.booleans()):
        # Most names that can be asked for are unknown to most registries: half of the requests keep to what is there.
        request = msgspec.structs.replace(request, path=CHAT_COMPLETIONS, model=draw(st.sampled_from(list(registry.routes))))
    caller = Caller("acme", permissions=draw(build.PERMISSIONS))
    return registry, msgspec.structs.replace(request, caller=caller), situation


@settings(max_examples=150)
@given(cases())
def test_whatever_is_decided_keeps_every_promise(case: tuple[Registry, Request, Situation]) -> None:
    """Nothing but RequestError is raised; no member of any chain lacks what the request needs, and no limit is passed."""
    registry, request, situation = case
    router = Router(registry)
    decision = outcome(router, request, situation)
    explanation = router.explain(request, situation)
    if isinstance(decision, RequestError):
        assert explanation.refusal is not None
        assert explanation.refusal.message == decision.message
        return
    assert explanation.decision == msgspec.structs.replace(decision, candidates=explanation.candidates)
    assert Router(registry).decide(request, situation) == decision
    names = [attempt.deployment for attempt in decision.chain]
    assert len(names) == len(set(names))
    assert 1 <= len(names) <= decision.max_attempts
    for chain in decision.cause_chains.values():
        places = [attempt.deployment for attempt in chain]
        assert len(places) == len(set(places)) <= decision.max_attempts - 1
    if not request.model:
        assert len(names) == 1
        return
    route = registry.routes[decision.route]
    rule = next((rule for rule in registry.rules if rule.name == decision.rule), None)
    plan = route.plan if rule is None else rule.plan
    for attempt in attempts_of(decision):
        model = owner_of(attempt, registry)
        assert "*" not in attempt.provider_model
        assert attempt.tier == model.tier.label
        if plan.min_tier is not None:
            assert model.tier >= plan.min_tier
        assert plan.min_quality is None or model.quality >= plan.min_quality
        narrowing = read_narrowing(request.headers, registry)
        assert narrowing.min_tier is None or model.tier >= narrowing.min_tier
        assert narrowing.models is None or {model.name, attempt.model} & narrowing.models
        ratios = ratios_for(request, situation.token_ratios)
        cost = estimate_cost(model, request, token_ratios=ratios)
        assert narrowing.max_cost_usd is None or route.passthrough or (cost is not None and cost <= narrowing.max_cost_usd)
        if route.named_model is not None and not route.allow_cross_model:
            assert model.name == route.named_model
        if not route.passthrough:
            assert model.capabilities is None or request.analysis.needs <= model.capabilities
            prompt = 0 if request.path == EMBEDDINGS else int(request.analysis.prompt_tokens * 1.1)
            prompt = int(prompt * ratios.get(model.name, 1))
            answer = request.analysis.max_output_tokens or 0
            if situation.constraints.max_output_tokens is not None:
                answer = min(answer, situation.constraints.max_output_tokens)
            assert model.context_window is None or prompt + answer <= model.context_window
            assert model.output_limit is None or answer <= model.output_limit
        standing = situation.health.get(attempt.deployment)
        if decision.degraded is None and standing is not None:
            assert standing.state != OPEN
            assert standing.state == CLOSED or standing.probe is not None


@st.composite
def used_up_cases(draw: st.DrawFn) -> tuple[Registry, Request, Situation]:
    """Cases in which many deployments are used up, some for longer than anybody may wait."""
    registry, request, situation = draw(cases())
    if draw(st.booleans()):
        # Most requests of all kinds are refused for other reasons: half of these ask for nothing special.
        request = build.chat(draw(st.sampled_from([*registry.routes, *registry.models])))
    resets = st.sampled_from([0.0, NOW, NOW + 1, NOW + 2, NOW + 2.5, NOW + 300])
    until = {one.name: draw(resets) for one in registry.deployments()}
    health = {
        name: msgspec.structs.replace(situation.health.get(name, DeploymentHealth()), quota_until=reset)
        for name, reset in until.items()
    }
    return registry, request, msgspec.structs.replace(situation, health=health)


@settings(max_examples=120)
@given(used_up_cases(), st.sampled_from(["enforce", "try"]))
def test_a_quota_costs_an_order_or_a_wait(case: tuple[Registry, Request, Situation], learned: str) -> None:
    """What is told of quotas makes nobody eligible and refuses nobody who has a candidate with room. Those with room go first;
    where none has, whoever may wait as long is decided, by the earliest reset, and only the others are refused with its time.
    """
    registry, request, situation = case
    limits = registry.spending.waiting.max_wait_ms / 1_000
    willing = msgspec.structs.replace(registry, spending=Spending(waiting=Waiting(learned="try")))
    unaware = {name: msgspec.structs.replace(one, quota_until=0.0) for name, one in situation.health.items()}
    untold = outcome(Router(registry), request, msgspec.structs.replace(situation, health=unaware))
    tried = outcome(Router(willing), request, situation)
    told = outcome(Router(registry), request, situation) if learned == "enforce" else tried
    if isinstance(tried, RequestError) or isinstance(untold, RequestError):
        assert str(told) == str(tried) == str(untold)
        return
    if not request.model or tried.degraded is not None:
        assert told == tried == untold
        return
    waits = [max(0.0, situation.health[attempt.deployment].quota_until - NOW) for attempt in tried.chain]
    with_room = waits.count(0)
    assert not any(waits[:with_room])
    assert waits[with_room:] == sorted(waits[with_room:])
    candidates = Router(willing).explain(request, situation).candidates
    floor = 0 if tried.tier_floor is None else Tier[tried.tier_floor.upper()]
    able = [one for one in candidates if one.rejected is None and Tier[one.tier.upper()] >= floor]
    assert waits[0] == min(one.quota_resets_in_seconds or 0.0 for one in able)
    if learned == "enforce" and waits[0] > limits:
        assert isinstance(told, RequestLimitError)
        assert told.retry_after is not None
        assert 1 <= told.retry_after <= math.ceil(waits[0])
    else:
        assert told == tried


@settings(max_examples=100)
@given(used_up_cases())
def test_a_quota_blocks_no_longer_than_its_reset(case: tuple[Registry, Request, Situation]) -> None:
    """From the last reset on everything is decided as if no quota had ever been told."""
    registry, request, situation = case
    later = msgspec.structs.replace(situation, now=NOW + 300)
    unaware = {name: msgspec.structs.replace(one, quota_until=0.0) for name, one in situation.health.items()}
    untold = outcome(Router(registry), request, msgspec.structs.replace(later, health=unaware))
    told = outcome(Router(registry), request, later)
    if isinstance(untold, RequestError):
        assert str(told) == str(untold)
    else:
        assert told == untold


@settings(max_examples=100)
@given(cases())
def test_a_probe_goes_first_and_alone(case: tuple[Registry, Request, Situation]) -> None:
    """A half-open deployment is the first attempt and booked, or the only thing left after a chain of one."""
    registry, request, situation = case
    decision = outcome(Router(registry), request, situation)
    if isinstance(decision, RequestError) or not request.model or decision.degraded is not None:
        return
    half_open = [
        index
        for index, attempt in enumerate(decision.chain)
        if situation.health.get(attempt.deployment, DeploymentHealth()).state == HALF_OPEN
    ]
    if 0 in half_open:
        assert decision.half_open == decision.chain[0].deployment
    else:
        assert decision.half_open is None
    assert set(half_open) <= ({0, 1} if len(decision.chain) == 2 else {0})


@settings(max_examples=100)
@given(
    method=st.sampled_from(["GET", "POST", "DELETE"]),
    path=st.sampled_from([CHAT_COMPLETIONS, "/v1/embeddings", "/v1/files", "/v1/responses", "/v2", "", "/v1/audio/speech?x=1"]),
    content_type=st.sampled_from(["application/json", "multipart/form-data; boundary=x", "multipart/form-data", ""]),
    body=st.binary(max_size=60)
    | st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["model", "messages", "content", "role", "n", "tools", "input", "type", "text", "stream", "max_tokens"]
                ),
                inner,
                max_size=4,
            )
        ),
    ).map(lambda value: json.dumps(value).encode()),
)
def test_any_bytes_become_a_decision_or_a_request_error(method: str, path: str, content_type: str, body: bytes) -> None:
    """Foreign bytes never raise anything that the caller cannot be told."""
    router = Router(build.registry(build.model("alpha"), routes=(Route("auto"),)))
    with contextlib.suppress(RequestError):
        decision = router.decide(router.read(method, path, {"content-type": content_type}, body))
        assert decision.chain
