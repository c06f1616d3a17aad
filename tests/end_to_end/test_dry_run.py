"""What `x-router-dry-run`, `POST /explain` and `router-extproc explain` say is what then happens."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import httpx
import pytest

from tests.end_to_end.running import CHAT, HELLO, Instance, Simulators, until

pytestmark = [pytest.mark.end_to_end, pytest.mark.usefixtures("healed")]

CONFIGURATION = """
analysis: {deadline: 5s}
cooling: {failures: 3, failure_ratio: 1.0, window: 1ms, time: 120s}
providers:
  alpha: {base_url: $alpha/v1}
  beta: {base_url: $beta/v1}
  gamma: {base_url: $gamma/v1}
  sick: {base_url: $alpha/v1}
models:
  small:
    deployments: [{provider: alpha, model: vendor-small}]
    tier: economy
    capabilities: []
    context_window: 4000
    prices: {input: 0.1, output: 0.2}
  seer: {deployments: [{provider: beta}], tier: standard, capabilities: [vision, tools], prices: {input: 1, output: 2}}
  strong: {deployments: [{provider: gamma}], tier: premium, prices: {input: 10, output: 20}}
  ailing: {deployments: [{provider: sick}], tier: economy, prices: {input: 0.01, output: 0.02}}
aliases: {nickname: strong}
routes:
  auto: {targets: [small, seer, strong], strategy: cheap}
  best: {targets: [small, seer, strong]}
  ordered: {targets: [seer, small], last_resort: [strong]}
  through: {mode: passthrough, targets: [seer]}
  firm: {targets: [small, seer], min_tier: premium}
  with-ailing: {targets: [ailing, small]}
rules:
  - {name: code-is-hard, when: {code: true}, then: {targets: [strong]}}
  - {name: team-a, when: {headers: {x-team: a}}, then: {targets: [seer]}}
"""
CODE = "```python\ndef f(x):\n    return [y for y in x if y]\n```\nWhy does this fail?"
PICTURE = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]

Case = tuple[str, dict[str, Any], dict[str, str]]
CASES: dict[str, Case] = {
    "auto": ("auto", {}, {}),
    "auto streamed": ("auto", {"stream": True}, {}),
    "a picture": ("auto", {"messages": [{"role": "user", "content": PICTURE}]}, {}),
    "tools": ("auto", {"tools": TOOLS}, {}),
    "code": ("auto", {"messages": [{"role": "user", "content": CODE}]}, {}),
    "a long prompt": ("auto", {"messages": [{"role": "user", "content": "many words " * 3_000}]}, {}),
    "a rule by header": ("auto", {}, {"x-team": "a"}),
    "best": ("best", {}, {}),
    "by order": ("ordered", {"max_completion_tokens": 7, "n": 2}, {}),
    "a named model": ("small", {}, {}),
    "an alias": ("nickname", {}, {}),
    "passthrough": ("through", {}, {}),
    "narrowed by models": ("auto", {}, {"x-router-models": "strong"}),
    "narrowed by cost": ("best", {}, {"x-router-max-cost-usd": "0.001"}),
    "narrowed by tier": ("auto", {}, {"x-router-min-tier": "standard"}),
    "unknown": ("nobody", {}, {}),
    "too weak": ("firm", {}, {}),
    "incapable": ("small", {"tools": TOOLS}, {}),
    "too long": ("small", {"messages": [{"role": "user", "content": "many words " * 3_000}]}, {}),
    "a header nobody can read": ("auto", {}, {"x-router-min-tier": "cheapest"}),
}

SIMULATED = {"alpha": {}, "beta": {}, "gamma": {}}


def ask_all(instance: Instance, case: Case) -> dict[str, Any]:
    """The three explanations of one request: by header, by the admin API, by the command line."""
    model, more, headers = case
    body = {"model": model, "messages": HELLO, **more}
    dry = instance.ask(model, headers={**headers, "x-router-dry-run": "1"}, **more)
    assert dry.status_code == 200, dry.text
    assert dry.headers["x-router-reason"] == "dry-run"
    api = instance.admin.post(f"{instance.admin_url}/explain", json=body, headers=headers)
    file = instance.folder / "request.json"
    # The very bytes: what a body is estimated at depends on its white space too.
    file.write_bytes(api.request.content)
    words = [word for name, value in headers.items() for word in ("--header", f"{name}:{value}")]
    line = [sys.executable, "-m", "router_extproc", "explain", str(file), "--config", str(instance.file), "--json", *words]
    command = subprocess.run(line, capture_output=True, text=True, check=False, cwd=instance.folder)
    assert command.returncode in (0, 1), command.stderr
    return {"header": dry.json(), "API": api.json(), "command": json.loads(command.stdout)}


def check(explanation: dict[str, Any], actual: httpx.Response, record: dict[str, Any]) -> None:
    """The explanation is true of what happened: of the answer, its headers and its record, or of the refusal."""
    headers, decision = actual.headers, explanation["decision"]
    if decision is None:
        refusal = explanation["refusal"]
        error = actual.json()["error"]
        assert (refusal["status"], refusal["code"], refusal["message"]) == (actual.status_code, error["code"], error["message"])
        return
    assert explanation["refusal"] is None
    assert (decision["route"], decision["reason"]) == (headers["x-router-route"], headers["x-router-reason"])
    attempts = decision["chain"][: int(headers["x-router-attempts"])]
    assert [attempt["deployment"] for attempt in attempts] == [attempt["deployment"] for attempt in record["attempts"]]
    assert attempts[-1]["deployment"] == headers["x-router-deployment"]
    assert (attempts[-1]["model"], attempts[-1]["tier"]) == (headers["x-router-model"], headers["x-router-tier"])
    cost = decision["estimated_cost_usd"]
    assert headers.get("x-router-cost-usd") == (None if cost is None else f"{cost:.8f}")
    assert explanation["stream"] == record["stream"] == actual.headers["content-type"].startswith("text/event-stream")


def outcome(explanation: dict[str, Any]) -> tuple[Any, ...]:
    """What was decided from which signals, and who was looked at and fell: all but latencies."""
    decision = explanation["decision"]
    if decision is not None:
        found = [(signal["name"], signal["value"]) for signal in decision["signals"]]
        decision = {key: value for key, value in decision.items() if key != "candidates"} | {"signals": found}
    looked_at = [(one["deployment"], one["rejected"]) for one in explanation["candidates"]]
    return explanation["route"], explanation["revision"], decision, explanation["refusal"], looked_at, explanation["rules"]


@pytest.mark.parametrize("name", CASES)
def test_what_is_said_is_what_happens(instance: Instance, simulators: Simulators, name: str) -> None:
    """Each way of asking beforehand names the answer's route, reason, deployment, tier and cost, or the same refusal."""
    model, more, headers = CASES[name]
    explanations = ask_all(instance, CASES[name])
    assert simulators.asked() == {}, "to explain is to call nobody"
    actual = instance.ask(model, headers=headers, **more)
    record = instance.decision(actual.headers["x-router-decision"])
    for way, explanation in explanations.items():
        check(explanation, actual, record)
        assert outcome(explanation) == outcome(explanations["header"]), way


def test_the_whole_chain_is_what_happens(instance: Instance, simulators: Simulators) -> None:
    """When all that is named fails, exactly the explained places were tried, in the explained order."""
    explanations = ask_all(instance, CASES["by order"])
    for name in simulators.ports:
        simulators.faults(name, status=500)
    actual = instance.ask("ordered", **CASES["by order"][1])
    record = instance.decision(actual.headers["x-router-decision"])
    assert actual.status_code == 500
    for explanation in explanations.values():
        chain = [attempt["deployment"] for attempt in explanation["decision"]["chain"]]
        assert chain == ["beta/seer", "alpha/small", "gamma/strong"]
        assert chain == [attempt["deployment"] for attempt in record["attempts"]]


def test_health_is_part_of_it(instance: Instance, simulators: Simulators) -> None:
    """A deployment that cools down is explained as such by all three, and is not asked."""
    simulators.faults("alpha", status=500)
    for _ in range(3):
        assert instance.ask("ailing").status_code == 500

    def says_so() -> list[dict[str, Any]]:
        explanations = ask_all(instance, ("with-ailing", {}, {})).values()
        looked_at = [candidate for one in explanations for candidate in one["candidates"]]
        return [one for one in looked_at if one["deployment"] == "sick/ailing" and one["rejected"]]

    rejected = until(lambda: len(found := says_so()) == 3 and found)
    assert all("cool" in one["rejected"] for one in rejected)
    simulators.heal()
    explanations = ask_all(instance, ("with-ailing", {}, {}))
    actual = instance.ask("with-ailing")
    assert actual.headers["x-router-deployment"] == "alpha/small"
    record = instance.decision(actual.headers["x-router-decision"])
    for explanation in explanations.values():
        check(explanation, actual, record)


def test_a_dry_run_leaves_no_trace(instance: Instance, simulators: Simulators) -> None:
    """A dry run costs nothing: no provider is asked, no usage is booked, and its record names nobody."""
    answer = instance.ask("auto", headers={"x-router-dry-run": "1"}, stream=True)
    record = instance.decision(answer.headers["x-router-decision"])
    assert (record["attempts"], record["deployment"], record["usage"], record["final_cost_usd"]) == ([], None, None, None)
    assert simulators.asked() == {}


def test_what_cannot_be_read_cannot_be_explained(instance: Instance) -> None:
    """A malformed body is refused with and without the header alike."""
    with instance.http() as http:
        answers = [http.post(CHAT, content=b"{", headers=headers) for headers in ({}, {"x-router-dry-run": "1"})]
    assert [answer.status_code for answer in answers] == [400, 400]
    assert answers[0].json() == answers[1].json()


def test_a_model_that_counts_otherwise_costs_otherwise(instance: Instance) -> None:
    """What a provider reports reaches the next estimate: every way of asking says by how much, and Prometheus too."""
    prompt = {"messages": [{"role": "user", "content": "many words " * 100}], "max_tokens": 5}

    def looked_at() -> list[dict[str, Any]]:
        explanations = ask_all(instance, ("seer", prompt, {})).values()
        return [candidate for one in explanations for candidate in one["candidates"]]

    before = looked_at()
    assert [one["token_ratio"] for one in before] == [None] * 3
    answers = [instance.ask("seer", **prompt) for _ in range(20)]
    reported = answers[-1].json()["usage"]["prompt_tokens"]
    instance.decision(answers[-1].headers["x-router-decision"])

    def agreed() -> list[dict[str, Any]] | None:
        """Each hears of it at a time of its own."""
        found = looked_at()
        return found if found[0]["token_ratio"] and len({one["token_ratio"] for one in found}) == 1 else None

    after = until(agreed)
    ratio = after[0]["token_ratio"]
    assert 1.05 < ratio <= 2, "the simulated provider counts these words otherwise than OpenAI"
    assert [one["token_ratio"] for one in after] == [ratio] * 3
    cost = after[0]["estimated_cost_usd"]
    assert cost > before[0]["estimated_cost_usd"]
    assert cost == pytest.approx((reported + 5 * 2) / 1_000_000, rel=0.02)
    assert instance.ask("seer", **prompt).headers["x-router-cost-usd"] == f"{cost:.8f}"
    assert f'router_token_ratio{{model="seer"}} {ratio}' in instance.admin.get(f"{instance.admin_url}/metrics").text
