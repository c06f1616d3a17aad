"""Who may answer: a named model is never replaced, and what a request needs is held to by every attempt."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import pytest

from tests.end_to_end.running import HELLO, Instance, Simulators

pytestmark = [pytest.mark.end_to_end, pytest.mark.usefixtures("healed")]

CONFIGURATION = """
cooling: {failures: 1000000, failure_ratio: 1.0, window: 1ms}
providers:
  alpha: {base_url: $alpha/v1, models: ["wild-*"], region: eu}
  beta: {base_url: $beta/v1, region: us}
  gamma: {base_url: $gamma/v1}
models:
  lonely: {deployments: [{provider: alpha, model: vendor-lonely}], tier: premium}
  doubled: {deployments: [{provider: alpha, weight: 1000000}, {provider: gamma, weight: 0.000001}], tier: premium}
  shared: {deployments: [{provider: alpha}, {provider: gamma}], tier: economy}
  flexible: {deployments: [{provider: alpha}], tier: standard}
  stand-in: {deployments: [{provider: beta}], tier: standard}
  able:
    deployments: [{provider: alpha}]
    tier: economy
    context_window: 60000
    capabilities: [vision, tools, json_mode, json_schema, audio, files, logprobs]
  unable: {deployments: [{provider: beta}], tier: economy, context_window: 2000, capabilities: []}
  dear: {deployments: [{provider: beta}], tier: premium, prices: {input: 0, output: 100}}
  modest: {deployments: [{provider: alpha}], tier: economy, prices: {input: 0, output: 1}}
aliases: {nickname: lonely, any-wild: wild-7b, quick: hurried, solid: strong}
routes:
  flexible: {allow_cross_model: true, targets: [flexible, stand-in]}
  needs: {targets: [able, unable], last_resort: [unable]}
  through: {mode: passthrough, targets: [unable]}
  hurried: {targets: [lonely], same_tier: false, timeouts: {deadline: 1s}}
  strong: {targets: [able, unable], min_tier: premium}
  priced: {targets: [dear, modest]}
rules:
  - {name: never-for-through, when: {route: [through], tools: true}, then: {targets: [able]}}
"""

PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + base64.b64encode(bytes(150_000)).decode()}}
SOUND = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
FILE = {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}}
FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}

SIMULATED = {"alpha": {}, "beta": {}, "gamma": {}}


def asking(part: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, part]}]}


NEEDS: dict[str, dict[str, Any]] = {
    "vision": asking(PICTURE),
    "audio": asking(SOUND),
    "files": asking(FILE),
    "tools": {"tools": [FUNCTION]},
    "a tool's result": {"messages": [*HELLO, {"role": "tool", "tool_call_id": "1", "content": "x"}]},
    "json_mode": {"response_format": {"type": "json_object"}},
    "json_schema": {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}},
    "logprobs": {"logprobs": True},
    "a long context": {"messages": [{"role": "user", "content": "many words " * 5_000}]},
    "a long answer": {"max_completion_tokens": 5_000},
}


def answered(simulators: Simulators, answer: httpx.Response) -> str:
    """The deployment that the headers name, once it is sure that its provider really gave this answer."""
    deployment = str(answer.headers["x-router-deployment"])
    served = [
        provider
        for provider in simulators.ports
        for request in simulators.requests(provider)
        if request["status"] == 200 and dict(request["headers"])["x-request-id"] == answer.headers["x-router-decision"]
    ]
    assert served == [deployment.partition("/")[0]]
    return deployment


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("name", "model", "sent"),
    [
        ("lonely", "lonely", "vendor-lonely"),
        ("nickname", "lonely", "vendor-lonely"),
        ("wild-7b", "wild-7b", "wild-7b"),
        ("any-wild", "wild-7b", "wild-7b"),
    ],
)
def test_a_named_model_is_never_replaced(
    instance: Instance, simulators: Simulators, name: str, model: str, sent: str, *, stream: bool
) -> None:
    """By its name, an alias or a wildcard: its only deployment's failure is the client's, nobody else answers."""
    answer = instance.ask(name, stream=stream)
    answered(simulators, answer)
    assert answer.headers["x-router-model"] == model
    assert json.loads(base64.b64decode(simulators.requests("alpha")[0]["body_base64"]))["model"] == sent
    for fault in ({"status": 503}, {"refuse": True}):
        simulators.heal()
        simulators.faults("alpha", **fault)
        answer = instance.ask(name, stream=stream)
        assert answer.status_code == 503
        assert answer.headers["x-router-attempts"] == "1"
        assert set(simulators.asked()) <= {"alpha"}


def test_a_named_model_may_change_its_place(instance: Instance, simulators: Simulators) -> None:
    """Another deployment of the same model is no replacement: there it falls back."""
    simulators.faults("alpha", status=500)
    answer = instance.ask("doubled")
    assert answered(simulators, answer) == "gamma/doubled"
    assert (answer.headers["x-router-model"], answer.headers["x-router-fallback-from"]) == ("doubled", "alpha/doubled")


def test_a_named_models_load_is_balanced(instance: Instance, simulators: Simulators) -> None:
    """A model with two deployments uses both, and the headers tell which each time."""
    seen = {answered(simulators, instance.ask("shared")) for _ in range(40)}
    assert seen == {"alpha/shared", "gamma/shared"}


def test_a_named_model_may_be_replaced_where_the_file_says_so(instance: Instance, simulators: Simulators) -> None:
    """With `allow_cross_model` another model may answer, and the headers and the log say which did."""
    assert answered(simulators, instance.ask("flexible")) == "alpha/flexible"
    simulators.faults("alpha", status=500)
    answer = instance.ask("flexible")
    assert answered(simulators, answer) == "beta/stand-in"
    assert (answer.headers["x-router-route"], answer.headers["x-router-model"]) == ("flexible", "stand-in")
    record = instance.decision(answer.headers["x-router-decision"])
    assert (record["model"], record["fallback_from"]) == ("stand-in", "alpha/flexible")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("need", NEEDS)
def test_no_attempt_lacks_what_is_needed(instance: Instance, simulators: Simulators, need: str, *, stream: bool) -> None:
    """What needs more than a model has never reaches it: not first, not as a fallback, not as the last resort."""
    answer = instance.ask("needs", stream=stream, **NEEDS[need])
    assert answered(simulators, answer) == "alpha/able"
    simulators.faults("alpha", status=503)
    answer = instance.ask("needs", stream=stream, **NEEDS[need])
    assert (answer.status_code, answer.headers["x-router-attempts"]) == (503, "1")
    assert set(simulators.asked()) == {"alpha"}
    assert answered(simulators, instance.ask("needs", stream=stream)) == "beta/unable", "what needs nothing may go there"


def test_a_picture_is_not_text(instance: Instance) -> None:
    """A picture of 200 kB in a data URL fits a window of 60,000 tokens, which as text it would not."""
    answer = instance.ask("able", **NEEDS["vision"])
    assert answer.status_code == 200, answer.text


def test_passthrough_looks_at_nothing(instance: Instance, simulators: Simulators) -> None:
    """A passthrough route sends on what it gets: no need is checked, no rule applied, no estimate made."""
    for need, body in NEEDS.items():
        answer = instance.ask("through", **body)
        assert answered(simulators, answer) == "beta/unable", need
        assert answer.headers["x-router-reason"] == "passthrough"
        assert "x-router-cost-usd" not in answer.headers


@pytest.mark.parametrize("name", ["hurried", "quick"])
def test_an_alias_obeys_the_limits_of_its_route(instance: Instance, simulators: Simulators, name: str) -> None:
    """A deadline holds under the alias as under the name."""
    simulators.faults("alpha", hang="forever")
    answer = instance.ask(name)
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "timeout")


@pytest.mark.parametrize("name", ["strong", "solid"])
def test_no_weaker_model_answers(instance: Instance, simulators: Simulators, name: str) -> None:
    """A route with a lowest tier refuses rather than be served by a weaker model, under an alias too."""
    answer = instance.ask(name)
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == answer.headers["x-router-reason"] == "min_tier_unavailable"
    assert simulators.asked() == {}


@pytest.mark.parametrize(
    ("route", "headers", "expected"),
    [
        ("priced", {}, "beta/dear"),
        ("priced", {"x-router-models": "modest"}, "alpha/modest"),
        ("priced", {"x-router-max-cost-usd": "0.01"}, "alpha/modest"),
        ("priced", {"x-router-region": "eu"}, "alpha/modest"),
        ("needs", {"x-router-models": "unable"}, "beta/unable"),
        ("priced", {"x-router-min-tier": "premium"}, "beta/dear"),
        ("priced", {"x-router-max-cost-usd": "0.0000001"}, "max_cost_exceeded"),
        ("priced", {"x-router-models": "able"}, "no_allowed_model"),
        ("needs", {"x-router-min-tier": "premium"}, "min_tier_unavailable"),
        ("needs", {"x-router-min-tier": "cheapest"}, "invalid_header"),
        ("lonely", {"x-router-region": "us"}, "no_model_in_region"),
        ("lonely", {"x-router-models": "stand-in"}, "no_allowed_model"),
    ],
)
def test_headers_narrow_and_never_widen(
    instance: Instance, simulators: Simulators, route: str, headers: dict[str, str], expected: str
) -> None:
    """A client may ask for less than its route offers; when nothing is left it is told which header did it."""
    answer = instance.ask(route, headers=headers)
    if "/" in expected:
        assert answered(simulators, answer) == expected
        return
    error = answer.json()["error"]
    assert error["code"] == answer.headers["x-router-reason"] == expected
    assert expected == "min_tier_unavailable" or error["param"] == next(iter(headers))
    assert simulators.asked() == {}
