"""What every answer says about its own making: golden header sets for answers, streams, fallbacks and errors."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from tests.end_to_end.running import CHAT, HELLO, Instance, Simulators, until

pytestmark = [pytest.mark.end_to_end, pytest.mark.usefixtures("healed")]

# Prompts cost nothing and answers are limited to 100 tokens, so that estimates are round figures. A 429 makes a deployment
# rest, so each test that needs one has a model of its own.
CONFIGURATION = """
limits: {max_body_bytes: 64KiB}
cooling: {failures: 1000000, window: 1ms}
providers:
  one: {base_url: $one/v1}
  two: {base_url: $two/v1}
  three: {base_url: $three/v1}
models:
  small: {deployments: [{provider: one, model: vendor-small}], tier: economy, prices: {input: 0, output: 1}}
  large: {deployments: [{provider: two, model: vendor-large}], tier: premium, prices: {input: 0, output: 10}}
  spare: {deployments: [{provider: three, name: last-one}], tier: standard, prices: {input: 0, output: 5}}
  unpriced: {deployments: [{provider: one}]}
  limited: {deployments: [{provider: two}], prices: {input: 0, output: 10}}
  limited-stream: {deployments: [{provider: two}], prices: {input: 0, output: 10}}
  limited-first: {deployments: [{provider: one}], tier: economy, prices: {input: 0, output: 1}}
  limited-stream-first: {deployments: [{provider: one}], tier: economy, prices: {input: 0, output: 1}}
  text: {deployments: [{provider: one}], capabilities: []}
aliases: {gpt-4: large}
routes:
  auto: {targets: [small, large, spare], strategy: cheap}
  chain: {targets: [small, large], last_resort: [spare]}
  long-prompts: {targets: [small, large], after: {context_length: [spare]}}
  limited-chain: {targets: [limited-first, large]}
  limited-stream-chain: {targets: [limited-stream-first, large]}
  through: {mode: passthrough, targets: [small]}
rules:
  - {name: tools-to-large, when: {tools: true}, then: {targets: [large]}}
"""
DECISION = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]

SIMULATED = {"one": {}, "two": {}, "three": {}}


def ask(instance: Instance, model: str = "auto", **more: Any) -> httpx.Response:
    return instance.ask(model, max_completion_tokens=100, **more)


def said(answer: httpx.Response) -> dict[str, str]:
    """The headers of ours, by their name without the prefix; the decision's id is checked here and left out."""
    own = {name.removeprefix("x-router-"): value for name, value in answer.headers.items() if name.startswith("x-router-")}
    assert DECISION.fullmatch(own.pop("decision")), answer.headers
    assert not [name for name in answer.headers if name.startswith("x-envoy-")]
    return own


def fallback(cause: str, deployment: str = "one/small") -> dict[str, str]:
    """What the headers say when the first place failed."""
    return {"fallback-from": deployment, "fallback-cause": cause}


SMALL = {"model": "small", "deployment": "one/small", "tier": "economy", "cost-usd": "0.00010000"}
SPARE = {"model": "spare", "deployment": "last-one", "tier": "standard", "cost-usd": "0.00050000"}
LARGE = {"model": "large", "deployment": "two/large", "tier": "premium", "cost-usd": "0.00100000"}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("model", "more", "expected"),
    [
        ("auto", {}, {"route": "auto", "reason": "cheap", "attempts": "1", **SMALL}),
        ("auto", {"tools": TOOLS}, {"route": "auto", "reason": "rule:tools-to-large", "attempts": "1", **LARGE}),
        ("large", {}, {"route": "large", "reason": "named", "attempts": "1", **LARGE}),
        ("gpt-4", {}, {"route": "large", "reason": "alias", "attempts": "1", **LARGE}),
        ("chain", {}, {"route": "chain", "reason": "ordered", "attempts": "1", **SMALL}),
        ("chain", {"n": 3}, {"route": "chain", "reason": "ordered", "attempts": "1", **SMALL, "cost-usd": "0.00030000"}),
        (
            "unpriced",
            {},
            {"route": "unpriced", "reason": "named", "attempts": "1"}
            | {"model": "unpriced", "deployment": "one/unpriced", "tier": "standard"},
        ),
        (
            "through",
            {},
            {"route": "through", "reason": "passthrough", "attempts": "1"}
            | {"model": "small", "deployment": "one/small", "tier": "economy"},
        ),
    ],
)
def test_an_answer(instance: Instance, model: str, more: dict[str, Any], expected: dict[str, str], *, stream: bool) -> None:
    """Route, reason, model, deployment, tier, attempts and the estimate stand on every answer, streams included."""
    answer = ask(instance, model, stream=stream, **more)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream" if stream else "application/json")
    assert said(answer) == expected


def test_a_stream_tells_before_its_first_token(instance: Instance, simulators: Simulators) -> None:
    """The headers of a stream are there while its provider still thinks."""
    simulators.faults("one", stall_after_tokens=0)
    body = {"model": "auto", "messages": HELLO, "max_completion_tokens": 100, "stream": True}
    with instance.http() as http, http.stream("POST", CHAT, json=body) as answer:
        assert said(answer) == {"route": "auto", "reason": "cheap", "attempts": "1", **SMALL}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("fault", "cause"), [({"status": 503}, "server_error"), ({"refuse": True}, "no_answer")])
def test_a_fallback(instance: Instance, simulators: Simulators, fault: dict[str, Any], cause: str, *, stream: bool) -> None:
    """After a fallback the headers name who answered, who should have and why not, and how many were tried."""
    simulators.faults("one", **fault)
    expected = {"route": "chain", "reason": "ordered", "cost-usd": SMALL["cost-usd"], **fallback(cause)}
    answer = ask(instance, "chain", stream=stream)
    assert said(answer) == LARGE | expected | {"attempts": "2"}, "the estimate is the decision's"
    simulators.faults("two", **fault)
    answer = ask(instance, "chain", stream=stream)
    assert said(answer) == SPARE | expected | {"attempts": "3"}


@pytest.mark.parametrize("model", ["limited", "limited-stream"])
def test_a_fallback_after_a_rate_limit(instance: Instance, simulators: Simulators, model: str) -> None:
    """A 429 is told in the same way, and that the deployment rests afterwards is seen in who is asked first."""
    simulators.faults("one", status=429, retry_after=60)
    answer = ask(instance, f"{model}-chain", stream=model.endswith("stream"))
    expected = {"route": f"{model}-chain", "reason": "ordered", **LARGE}
    moved = {"attempts": "2", "cost-usd": SMALL["cost-usd"], **fallback("rate_limited", f"one/{model}-first")}
    assert said(answer) == expected | moved
    until(lambda: said(ask(instance, f"{model}-chain")) == expected | {"attempts": "1"})


def test_a_fallback_with_a_chain_of_its_own(instance: Instance, simulators: Simulators) -> None:
    """An attempt that was turned down for its cause is told in the same way."""
    simulators.faults("one", context_length_exceeded=True)
    answer = ask(instance, "long-prompts")
    assert answer.status_code == 200
    expected = {"route": "long-prompts", "reason": "ordered", "attempts": "2", **fallback("context_length")}
    assert said(answer) == SPARE | expected | {"cost-usd": SMALL["cost-usd"]}


@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
@pytest.mark.parametrize("stream", [False, True])
def test_a_providers_error(instance: Instance, simulators: Simulators, status: int, *, stream: bool) -> None:
    """An error of a provider says which deployment it came from."""
    simulators.faults("two", status=status)
    model = "large" if status != 429 else "limited-stream" if stream else "limited"
    answer = ask(instance, model, stream=stream)
    assert answer.status_code == status
    own = {"model": model, "deployment": f"two/{model}", "tier": "premium" if model == "large" else "standard"}
    assert said(answer) == LARGE | own | {"route": model, "reason": "named", "attempts": "1"}


def test_the_last_error_of_a_chain(instance: Instance, simulators: Simulators) -> None:
    """When all of a chain fail, the last one's error comes with the number of attempts."""
    for name in simulators.ports:
        simulators.faults(name, status=500)
    answer = ask(instance, "chain")
    assert answer.status_code == 500
    expected = {"route": "chain", "reason": "ordered", "attempts": "3", **fallback("server_error")}
    assert said(answer) == SPARE | expected | {"cost-usd": SMALL["cost-usd"]}


def test_nobody_answers(instance: Instance, simulators: Simulators) -> None:
    """When no connection succeeds, the headers still tell who was tried last."""
    for name in simulators.ports:
        simulators.faults(name, refuse=True)
    answer = ask(instance, "chain")
    assert answer.status_code == 503
    headers = said(answer)
    expected = {"route": "chain", "reason": "ordered", "attempts": "3", **fallback("no_answer")}
    assert headers == SPARE | expected | {"cost-usd": SMALL["cost-usd"]}


@pytest.mark.parametrize(
    ("path", "body", "status", "expected"),
    [
        (CHAT, {"model": "nobody", "messages": HELLO}, 404, {"reason": "model_not_found"}),
        (CHAT, {"messages": HELLO}, 400, {"reason": "missing_model"}),
        (
            CHAT,
            {"model": "small", "messages": [{"role": "user", "content": "x" * 70_000}]},
            413,
            {"reason": "request_too_large"},
        ),
        (
            CHAT,
            {"model": "text", "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
            400,
            {"route": "text", "reason": "missing_capability"},
        ),
        ("/elsewhere", {}, 404, {"reason": "path_not_found"}),
        ("/v1/models/nobody", None, 404, {"reason": "model_not_found"}),
        ("/v1/models", None, 200, {"reason": "models"}),
    ],
)
def test_an_answer_for_which_nobody_was_called(
    instance: Instance, path: str, body: Any, status: int, expected: dict[str, str]
) -> None:
    """Refusals name a decision and a reason, and no model: none was asked."""
    with instance.http() as http:
        answer = http.get(path) if body is None else http.post(path, json=body)
    assert answer.status_code == status
    headers = said(answer)
    assert headers.pop("attempts", "0") == "0"
    assert headers == expected


def test_the_decision_is_the_one_in_the_log(instance: Instance, simulators: Simulators) -> None:
    """Id, attempts and final cost stand in the decision log under the id that the client was given."""
    simulators.faults("one", status=500)
    answer = ask(instance, "chain", stream=True, stream_options={"include_usage": True})
    record = instance.decision(answer.headers["x-router-decision"])
    for name in ("route", "reason", "model", "deployment", "tier"):
        assert record[name] == answer.headers[f"x-router-{name}"]
    assert record["fallback_from"] == answer.headers["x-router-fallback-from"]
    assert record["estimated_cost_usd"] == float(answer.headers["x-router-cost-usd"])
    assert record["final_cost_usd"] == record["usage"]["completion_tokens"] * 10 / 1_000_000 > 0
    assert [(one["deployment"], one["number"], one["status"], one["cause"]) for one in record["attempts"]] == [
        ("one/small", 1, 500, "server_error"),
        ("two/large", 2, 200, "none"),
    ]
    assert all(0 <= one["time_to_first_byte_ms"] <= one["total_ms"] <= record["total_ms"] for one in record["attempts"])


def test_a_provider_cannot_speak_for_the_router(instance: Instance, simulators: Simulators) -> None:
    """What a provider sends under our names, or Envoy's, or for its own host, does not reach the client; the rest does."""
    forged = {
        "x-router-model": "forged",
        "x-router-budget-remaining": "1000000",
        "x-envoy-upstream-service-time": "1",
        "x-envoy-ratelimited": "true",
        "set-cookie": "session=1",
        "alt-svc": 'h3=":443"',
        "strict-transport-security": "max-age=1",
        "x-of-the-provider": "stays",
    }
    simulators.faults("one", response_headers=forged)
    answer = ask(instance, "chain")
    assert said(answer) == {"route": "chain", "reason": "ordered", "attempts": "1", **SMALL}
    assert answer.headers["x-of-the-provider"] == "stays"
    assert answer.headers["x-ratelimit-remaining-requests"]
    assert not {"set-cookie", "alt-svc", "strict-transport-security"} & set(answer.headers)


def test_a_provider_cannot_stop_the_chain(instance: Instance, simulators: Simulators) -> None:
    """A provider's own `x-envoy-ratelimited` or `x-router-cause` does not keep a failed request from the next deployment."""
    simulators.faults("one", status=503, response_headers={"x-envoy-ratelimited": "true", "x-router-cause": "none"})
    answer = ask(instance, "chain")
    assert (answer.status_code, answer.headers["x-router-deployment"]) == (200, "two/large")


def test_a_client_cannot_choose_its_id(instance: Instance, simulators: Simulators) -> None:
    """The decision's id is Envoy's own; one that a client sends is neither used nor passed on."""
    mine = "11111111-1111-4111-8111-111111111111"
    answer = instance.ask("small", headers={"x-request-id": mine, "x-router-decision": mine})
    assert answer.headers["x-router-decision"] != mine
    (request,) = simulators.requests("one")
    assert mine not in str(request["headers"])
