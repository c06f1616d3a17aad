"""The route leg as a conversation: what Envoy says, what the leg answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from router_extproc.extproc.deadline import DeadlinePassedError, Guard, unguarded
from router_extproc.extproc.live import View
from router_extproc.extproc.route_leg import RouteLeg
from router_extproc.extproc.ticket import TicketOffice
from router_extproc.registry.health import HALF_OPEN, OPEN, DeploymentHealth, Health
from router_extproc.registry.snapshot import AnalysisSettings, Deployment, Model, Plan, Prices, Registry, Route, Target, Tier
from router_extproc.router import Router
from tests.extproc.conversation import metadata, read, request_body, request_headers, said

HEADERS = {
    ":method": "POST",
    ":path": "/v1/chat/completions",
    "content-type": "application/json",
    "x-request-id": "id-1",
}
PATHS = ("/v1/chat/completions", "/v1/embeddings", "/v1/files*")


def deployment(name: str, model: str, provider_model: str | None = None) -> Deployment:
    return Deployment(name=name, model=model, provider=name, provider_model=provider_model or model, paths=PATHS)


def model(name: str, *deployments: Deployment, tier: Tier = Tier.STANDARD) -> Model:
    return Model(name=name, tier=tier, quality=0.5, deployments=deployments, prices=Prices(input=1, output=2))


SMALL = model("small", deployment("one/small", "small"), tier=Tier.ECONOMY)
LARGE = model("large", deployment("one/large", "large", "large-2026"), deployment("two/large", "large"), tier=Tier.PREMIUM)
REGISTRY = Registry(
    models={"small": SMALL, "large": LARGE},
    routes={
        "small": Route(name="small", named_model="small"),
        "large": Route(name="large", named_model="large", first_token_timeout_ms=700),
        "brief": Route(name="brief", plan=Plan(targets=(Target("model", "small"),), same_tier=False), stream_idle_ms=5_000),
        "auto": Route(name="auto", plan=Plan(targets=(Target("model", "small"),), last_resort=(Target("model", "large"),))),
    },
    aliases={"nick": "small"},
)


class Claims:
    """Bookings that answer from a list."""

    def __init__(self, answers: list[bool] | None = None) -> None:
        self.answers, self.asked = answers or [], list[str]()

    def claim(self, probe: str) -> bool:
        self.asked.append(probe)
        return self.answers.pop(0)


def answers(
    body: Any,
    headers: dict[str, str] | None = None,
    health: Health | None = None,
    claims: Claims | None = None,
    *,
    pieces: int = 1,
    draw: int = 1,
) -> list[bytes]:
    """What the leg says to one request with this body (bytes, or anything that JSON knows; None for no body)."""
    leg = RouteLeg(View(Router(REGISTRY), REGISTRY, health or Health()), TicketOffice(), claims or Claims(), draw=draw)
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    if leg.headers(request_headers(HEADERS | (headers or {}), end=body is None)):
        size = max(1, -(-len(content) // pieces))
        parts = [content[start : start + size] for start in range(0, len(content), size)] or [b""]
        for number, part in enumerate(parts, 1):
            assert leg.body(request_body(part, end=number == len(parts))) == (number == len(parts))
    return leg.answer()


def ticket(answer: bytes) -> dict[str, Any]:
    found: dict[str, Any] = metadata(answer)["router"]
    return found


def chat(name: str, **more: Any) -> dict[str, Any]:
    return {"model": name, "messages": [{"role": "user", "content": "Hello"}], **more}


def test_a_decided_request_costs_one_exchange_with_two_answers() -> None:
    """Headers and body are answered together; the ticket, the limits for Envoy's router and nothing else come along."""
    first, second = answers(chat("small"))
    assert said(first) == "request_headers x-envoy-max-retries=0 x-envoy-upstream-rq-timeout-ms=600000 clear_route_cache"
    assert said(second) == "request_body"
    assert ticket(first)["priority_groups"] == [
        {"name": "one/small", "clusters": [{"cluster_name": "one/small", "weight": 1.0}]}
    ]
    assert metadata(first)["router.request"].keys() == {"cost", "signals", "text_tokens"}


def test_a_stream_has_no_overall_timeout_but_a_bounded_attempt() -> None:
    """Envoy's overall timeout would cut running streams; the attempt's timeout ends with the response headers."""
    first, _ = answers(chat("small", stream=True))
    assert "x-envoy-upstream-rq-timeout-ms=0 x-envoy-upstream-rq-per-try-timeout-ms=120000" in said(first)
    assert ticket(first)["deadline_ms"] == 600_000


def test_an_attempt_as_long_as_silence_may_be_needs_no_limit_of_its_own() -> None:
    """Envoy's idle timeout bounds it already, and goes on to do so in a stream that lasts longer."""
    first, *_ = answers(chat("brief", stream=True))
    assert "x-envoy-upstream-rq-per-try-timeout-ms" not in said(first)
    assert ticket(first)["attempt_timeout_ms"] == 5_000


def test_only_the_model_changes_in_the_body() -> None:
    """The provider's id is spliced in; every other byte is the client's own."""
    body = b'{ "new": 1.50,"model" :"auto", "messages":[{"role":"user","content":"model\\u00e9"}]}'
    [only] = answers(body)
    assert read(only).request_headers.response.body_mutation.body == body.replace(b'"auto"', b'"small"')


@pytest.mark.parametrize("pieces", [1, 3])
def test_ticket_and_changed_body_are_one_message(pieces: int) -> None:
    """A worker that dies amid its answer must not leave a ticket beside a body that says what the client wrote."""
    body = chat("auto")
    [only] = answers(body, pieces=pieces)
    response = read(only).request_headers.response
    assert response.status == response.CONTINUE_AND_REPLACE
    assert json.loads(response.body_mutation.body) == body | {"model": "small"}
    assert ticket(only)["route"] == "auto"


def test_each_piece_of_an_unchanged_body_gets_an_answer() -> None:
    """Envoy waits for one answer to each message it sent."""
    assert [said(answer) for answer in answers(chat("small"), pieces=3)[1:]] == ["request_body"] * 3


def test_later_attempts_carry_their_own_model_ids() -> None:
    """A chain over models asks for the renaming leg and says what each provider calls the model."""
    found = ticket(answers(chat("auto"))[0])
    assert found["rename"] == "1"
    assert found["models"] == {"one/small": "small", "one/large": "large-2026", "two/large": "large"}
    assert "judge" not in found


def test_a_first_token_timeout_asks_for_the_judging_leg_on_streams_only() -> None:
    """A plain answer has no first token to wait for."""
    assert ticket(answers(chat("large", stream=True))[0])["judge"] == "1"
    assert "judge" not in ticket(answers(chat("large"))[0])


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"{", {}, 400, "invalid_json"),
        (b"", {}, 400, None),
        (b"[]", {}, 400, None),
        ({"messages": []}, {}, 400, None),
        (chat("smal"), {}, 404, "model_not_found"),
        (chat("small"), {":path": "/v1/nonsense"}, 404, "path_not_found"),
        (chat("small"), {"x-router-min-tier": "enormous"}, 400, None),
        (None, {":method": "GET", ":path": "/v1/models/none"}, 404, "model_not_found"),
    ],
)
def test_what_cannot_be_routed_is_refused_in_the_clients_own_shape(
    body: Any, headers: dict[str, str], status: int, code: str | None
) -> None:
    """One immediate answer with OpenAI's error object, the decision's id, and a mark that the error body is ours."""
    [answer] = answers(body, headers)
    immediate = read(answer).immediate_response
    error = json.loads(immediate.body)["error"]
    assert immediate.status.code == status
    assert error.keys() == {"message", "type", "param", "code"}
    assert code is None or error["code"] == code
    assert immediate.details.startswith("router_")
    assert "x-router-decision=id-1" in [
        f"{one.header.key}={one.header.raw_value.decode()}" for one in immediate.headers.set_headers
    ]
    assert ticket(answer)["refused"] == error["code"]


def test_models_are_listed_without_calling_anybody() -> None:
    """GET /v1/models shows routes and models; a query string does not matter."""
    [answer] = answers(None, {":method": "GET", ":path": "/v1/models?limit=3"})
    listed = json.loads(read(answer).immediate_response.body)
    assert {"auto", "small", "large"} <= {entry["id"] for entry in listed["data"]}
    [answer] = answers(None, {":method": "GET", ":path": "/v1/models/small"})
    assert json.loads(read(answer).immediate_response.body)["id"] == "small"


@pytest.mark.parametrize("name", ["auto", "large"])
def test_a_dry_run_answers_with_the_decision_that_the_request_would_get(name: str) -> None:
    """Nobody is called, and for each draw the chain is the one that the same request then takes, with the same cost."""
    chains = set()
    for draw in range(20):
        [answer] = answers(chat(name), {"x-router-dry-run": "1"}, draw=draw)
        explained = json.loads(read(answer).immediate_response.body)["decision"]
        taken = answers(chat(name), draw=draw)[0]
        chain = [attempt["deployment"] for attempt in explained["chain"]]
        assert chain == [group["name"] for group in ticket(taken)["priority_groups"]]
        assert (explained["route"], explained["reason"]) == (ticket(taken)["route"], ticket(taken)["reason"])
        assert f"{explained['estimated_cost_usd']:.8f}" == metadata(taken)["router.request"]["cost"]
        chains.add(tuple(chain))
    assert len(chains) > 1, "the weights are drawn"


def test_the_ticket_tells_the_log_what_was_asked_and_why_each_place_stands() -> None:
    """What the client wrote is kept beside the route it led to, and each deployment's level."""
    found = ticket(answers(chat("nick"))[0])
    assert (found["requested"], found["route"], found["reason"]) == ("nick", "small", "alias")
    levels = ticket(answers(chat("auto"))[0])["levels"]
    assert levels == {"one/small": "primary", "one/large": "last_resort", "two/large": "last_resort"}


@pytest.mark.parametrize(
    ("body", "headers", "told"),
    [
        (chat("smal"), {}, {"reason": "model_not_found", "refused": "model_not_found", "requested": "smal"}),
        (
            chat("nick"),
            {"x-router-min-tier": "premium"},
            {"reason": "min_tier_unavailable", "refused": "min_tier_unavailable", "requested": "nick", "route": "small"},
        ),
        (chat("m" * 999), {}, {"reason": "model_not_found", "refused": "model_not_found", "requested": "m" * 200}),
        (chat("nick"), {"x-router-dry-run": "1"}, {"reason": "dry-run", "requested": "nick", "route": "small"}),
        (None, {":method": "GET", ":path": "/v1/models"}, {"reason": "models", "requested": ""}),
    ],
)
def test_what_is_answered_without_a_provider_is_told_to_the_log(
    body: Any, headers: dict[str, str], told: dict[str, str]
) -> None:
    """What was asked for and why nobody was called, as far as it is known."""
    assert ticket(answers(body, headers)[0]) == told


@pytest.mark.parametrize("value", ["", "0", "false", "No"])
def test_a_dry_run_that_is_switched_off_is_none(value: str) -> None:
    """The header counts by its value, not by its presence."""
    assert "priority_groups" in ticket(answers(chat("auto"), {"x-router-dry-run": value})[0])


def test_a_half_open_deployment_is_probed_by_the_worker_that_claims_it() -> None:
    """The winner's request goes there first."""
    health = Health(deployments={"one/small": DeploymentHealth(state=HALF_OPEN, probe="p1")})
    claims = Claims([True])
    found = ticket(answers(chat("small"), health=health, claims=claims)[0])
    assert claims.asked == ["p1"]
    assert found["priority_groups"][0]["name"] == "one/small"


def test_a_worker_that_comes_second_leaves_the_cooling_deployment_alone() -> None:
    """A lost claim means another decision, as if no probe were free."""
    health = Health(deployments={"one/small": DeploymentHealth(state=HALF_OPEN, probe="p1")})
    found = ticket(answers(chat("auto"), health=health, claims=Claims([False]))[0])
    assert "one/small" not in [group["name"] for group in found["priority_groups"]]


def test_when_everything_cools_the_least_bad_is_tried_once_and_marked() -> None:
    """One attempt, and the answer will say that it is less than was promised."""
    health = Health(
        deployments={
            "one/large": DeploymentHealth(state=OPEN, open_until=9e9),
            "two/large": DeploymentHealth(state=OPEN, open_until=8e9),
        }
    )
    found = ticket(answers(chat("large"), health=health)[0])
    assert [group["name"] for group in found["priority_groups"]] == ["two/large"]
    assert found["degraded"] == "all-cooling-down"


class Late:
    """A guard whose work never ends in time."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def __call__(self, work: Callable[[], Any], seconds: float) -> Any:  # noqa: ARG002 - never run
        self.seconds.append(seconds)
        raise DeadlinePassedError


CHOOSING = replace(
    REGISTRY,
    routes=REGISTRY.routes | {"auto": Route(name="auto", plan=Plan(strategy="auto"))},
    analysis=AnalysisSettings(deadline_ms=30),
)


def choosing(body: Any, guard: Guard, headers: dict[str, str] | None = None) -> tuple[RouteLeg, bytes]:
    """A leg whose ``auto`` goes by analysis, and the first of its answers."""
    leg = RouteLeg(View(Router(CHOOSING), CHOOSING, Health()), TicketOffice(), Claims(), draw=1, guard=guard)
    leg.headers(request_headers(HEADERS | (headers or {}), end=False))
    leg.body(request_body(json.dumps(body).encode()))
    return leg, leg.answer()[0]


def test_a_decision_that_comes_too_late_is_made_again_without_analysis() -> None:
    """The strongest model takes the request, the ticket says why, and the counters learn of it."""
    guard = Late()
    leg, answer = choosing(chat("auto"), guard)
    assert guard.seconds == [pytest.approx(0.030, abs=0.001)]
    assert (ticket(answer)["reason"], ticket(answer)["first"]) == ("analysis-deadline", "large")
    assert leg.outcome.is_cut_short
    assert leg.outcome.decided


def test_a_named_model_that_was_cut_short_is_still_the_named_model() -> None:
    """Nothing of what the client asked for depends on analysis."""
    _, answer = choosing(chat("small"), Late())
    assert (ticket(answer)["reason"], ticket(answer)["first"]) == ("named", "small")


def test_a_large_body_has_more_time() -> None:
    """What must be read whatever it takes is not counted against the analysis."""
    guard = Late()
    choosing(chat("auto", padding="x" * (1 << 20)), guard)
    assert guard.seconds == [pytest.approx(0.050, abs=0.002)]


def test_a_dry_run_is_guarded_too() -> None:
    """It asks for everything, so it has more time; when that is over it shows the decision without analysis."""
    guard = Late()
    _, answer = choosing(chat("auto"), guard, {"x-router-dry-run": "1"})
    assert guard.seconds == [pytest.approx(0.300, abs=0.001)]
    assert json.loads(read(answer).immediate_response.body)["decision"]["reason"] == "analysis-deadline"


def test_signals_travel_with_the_request_and_not_with_the_chain() -> None:
    """What was found out is told to the log for each request, and reaches the counters."""
    leg, answer = choosing(chat("auto"), unguarded)
    own = metadata(answer)["router.request"]
    told = json.loads(own["signals"])
    assert told["tokens"][0] == int(own["text_tokens"]) > 0
    assert told.keys() == {signal.name for signal in leg.outcome.signals}
    assert not leg.outcome.is_cut_short


@given(st.binary(max_size=200))
@settings(max_examples=200)
def test_no_body_breaks_the_leg(body: bytes) -> None:
    """Whatever bytes come, there is a decision or a refusal, never an exception."""
    assert answers(body)
