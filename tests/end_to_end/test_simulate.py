"""Every fault of a simulated provider can be scripted for one request by `x-simulate`, in test mode only."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest

from router_extproc.simulator.faults import Faults
from tests.end_to_end.running import CHAT, HELLO, Instance, Simulators, running

pytestmark = pytest.mark.end_to_end

# Each case has a model of its own: what fails in one rests, and no other must see that.
CONFIGURATION = """
cooling: {failures: 1000000, window: 1ms}
providers:
  one: {base_url: $one/v1}
  two: {base_url: $two/v1}
defaults: {retry: {max_attempts: 2}, check: {answer: true}}
models:
  second: {deployments: [{provider: two}]}
  MODELS
routes:
  ROUTES
"""

FALLS_BACK, STANDS, BREAKS = "falls back", "stands", "breaks"
# Fault, whether the request is a stream, and what becomes of it.
SCRIPTS: list[tuple[dict[str, Any], bool, str]] = [
    ({"status": 503}, False, FALLS_BACK),
    ({"status": 429, "retry_after": 1}, True, FALLS_BACK),
    ({"status": 429, "error_code": "insufficient_quota"}, False, FALLS_BACK),
    ({"status": 400}, False, STANDS),
    ({"status": 503, "only_key": "sk-another"}, False, STANDS),
    ({"error_rate": 1.0}, False, FALLS_BACK),
    ({"error_rate": 0.0, "status": 503}, False, STANDS),
    ({"refuse": True}, True, FALLS_BACK),
    ({"hang": "forever"}, False, FALLS_BACK),
    ({"hang": "forever"}, True, FALLS_BACK),
    ({"latency_ms": 5_000}, False, FALLS_BACK),
    ({"latency_ms": [1, 5]}, False, STANDS),
    ({"first_token_ms": 5_000}, False, FALLS_BACK),
    ({"first_token_ms": {"median": 5, "sigma": 0.1}}, True, STANDS),
    ({"inter_token_ms": 5_000}, False, FALLS_BACK),
    ({"inter_token_ms": [1, 2], "tokens": 7}, True, STANDS),
    ({"context_length_exceeded": True}, False, FALLS_BACK),
    ({"malformed": "broken"}, False, FALLS_BACK),
    ({"malformed": "truncated"}, True, FALLS_BACK),
    ({"empty": True}, False, FALLS_BACK),
    ({"empty": True}, True, FALLS_BACK),
    ({"answer_bytes": 100_000}, False, STANDS),
    ({"unknown_members": ["logprobs"]}, False, STANDS),
    ({"gzip": "always"}, False, STANDS),
    ({"logprob": -0.25}, False, STANDS),
    ({"response_headers": {"x-scripted": "yes"}}, True, STANDS),
    ({"stall_after_tokens": 3}, True, BREAKS),
    ({"stall_after_tokens": 3, "stall": 0.1}, True, STANDS),
    ({"cut_after_tokens": 3}, True, BREAKS),
    ({"cut_after_tokens": 3, "cut": "close"}, True, BREAKS),
    ({"end_early": "before_done"}, True, BREAKS),
    ({"end_early": "before_finish"}, True, BREAKS),
]
LATE = [number for number, (fault, *_) in enumerate(SCRIPTS) if "forever" in fault.values() or 5_000 in fault.values()]
LATE += [number for number, (fault, *_) in enumerate(SCRIPTS) if fault == {"stall_after_tokens": 3}]
IN_A_HURRY = ", timeouts: {attempt: 1s, stream_idle: 1s}"


def configuration(simulators: Simulators) -> str:
    names = range(len(SCRIPTS) + 1)
    models = "\n  ".join(f"first-{name}: {{deployments: [{{provider: one}}]}}" for name in names)
    routes = "\n  ".join(
        f"chain-{name}: {{targets: [first-{name}, second]{IN_A_HURRY if name in LATE else ''}}}" for name in names
    )
    return simulators.fill(CONFIGURATION.replace("MODELS", models).replace("ROUTES", routes))


@pytest.fixture(scope="module")
def simulators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulators]:
    simulated = Simulators(tmp_path_factory.mktemp("providers"), {"one": {}, "two": {}}, obey_header=True)
    yield simulated
    simulated.stop()


@pytest.fixture(scope="module")
def instance(simulators: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    with running(Instance(tmp_path_factory.mktemp("instance"), configuration(simulators))) as instance:
        yield instance


@pytest.fixture(autouse=True)
def healed(simulators: Simulators) -> None:
    simulators.heal()


def scripted(instance: Instance, case: int, script: dict[str, Any], *, stream: bool) -> tuple[httpx.Response, bool]:
    """The answer, and whether it came whole."""
    body = {"model": f"chain-{case}", "messages": HELLO, "stream": stream, "logprobs": True}
    headers = {"x-simulate": json.dumps(script)}
    with instance.http() as http, http.stream("POST", CHAT, json=body, headers=headers) as answer:
        try:
            text = answer.read().decode()
        except httpx.RemoteProtocolError:
            return answer, False
    is_stream = answer.headers["content-type"].startswith("text/event-stream")
    return answer, not is_stream or (text.endswith("data: [DONE]\n\n") and '"error"' not in text)


@pytest.mark.parametrize("case", range(len(SCRIPTS)), ids=[f"{json.dumps(one[0])}-{one[1]}" for one in SCRIPTS])
def test_a_fault_by_header(instance: Instance, simulators: Simulators, case: int) -> None:
    """The first provider shows the fault for this one request, and what follows is what would follow in earnest."""
    fault, stream, outcome = SCRIPTS[case]
    answer, is_whole = scripted(instance, case, {"one": fault}, stream=stream)
    assert is_whole == (outcome != BREAKS)
    answered = "two/second" if outcome == FALLS_BACK else f"one/first-{case}"
    assert answer.headers["x-router-deployment"] == answered
    (request,) = simulators.requests("one")
    shown = {} if "only_key" in fault else fault
    assert msgspec.convert(request["faults"], Faults) == msgspec.convert(shown, Faults), (
        "the provider showed what was asked for"
    )
    assert len(simulators.requests("two")) == (outcome == FALLS_BACK)


def test_every_fault_has_been_scripted() -> None:
    """No fault is missing above, but the one that has no meaning for one request."""
    assert {name for fault, *_ in SCRIPTS for name in fault} == {field.name for field in msgspec.structs.fields(Faults)} - {
        "times"
    }


def test_one_script_for_all(instance: Instance) -> None:
    """`*` stands for every provider that has no script of its own."""
    case = len(SCRIPTS)
    answer, _ = scripted(instance, case, {"*": {"status": 503}}, stream=False)
    assert (answer.status_code, answer.headers["x-router-attempts"]) == (503, "2")
    answer, _ = scripted(instance, case, {"*": {"status": 503}, "two": {}}, stream=False)
    assert (answer.status_code, answer.headers["x-router-deployment"]) == (200, "two/second")


def test_a_script_that_cannot_be_read(instance: Instance) -> None:
    """A mistake in the script is told, not passed over."""
    with instance.http() as http:
        answer = http.post(CHAT, json={"model": "chain-0", "messages": HELLO}, headers={"x-simulate": '{"one": {"statos": 1}}'})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_simulate_header")


def test_outside_test_mode_the_header_means_nothing(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Simulators that were not started for it do not obey the header, whoever sends it."""
    simulated = Simulators(tmp_path_factory.mktemp("providers"), {"one": {}, "two": {}})
    try:
        with running(Instance(tmp_path_factory.mktemp("earnest"), configuration(simulated))) as instance:
            answer, _ = scripted(instance, 0, {"*": {"status": 503}}, stream=False)
            assert (answer.status_code, answer.headers["x-router-deployment"]) == (200, "one/first-0")
    finally:
        simulated.stop()
