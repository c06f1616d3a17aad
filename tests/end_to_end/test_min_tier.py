"""Rather no answer than a weaker one: what a route, or a client, does that asks for a tier or a quality."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.end_to_end.running import HELLO, Instance, Simulators, running, until

pytestmark = pytest.mark.end_to_end

# The strong cool down after one failure and stay so for the whole test.
CONFIGURATION = """
cooling: {failures: 1, time: 120s, max_time: 120s}
providers:
  strong: {base_url: $strong/v1}
  weak: {base_url: $weak/v1}
models:
  weak: {tier: economy, deployments: [{provider: weak}], prices: {input: 0.01, output: 0.01}}
  middle: {tier: standard, deployments: [{provider: weak}]}
  down: {tier: premium, quality: 0.9, deployments: [{provider: strong}]}
  down-too: {tier: premium, deployments: [{provider: strong}]}
routes:
  strong-only: {targets: [down, down-too], same_tier: false, min_tier: premium, last_resort: [weak]}
  strong-by-tier: {strategy: cheap, min_tier: premium}
  by-quality: {targets: [down, middle], min_quality: 0.8, last_resort: [down-too]}
  any-strength: {targets: [down, weak], same_tier: false}
"""

KINDS = pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])

SIMULATED = {"strong": {}, "weak": {}}


@pytest.fixture
def instance(simulators: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """A fresh one for each test: what cooled down stays so."""
    simulators.heal()
    with running(Instance(tmp_path_factory.mktemp("instance"), simulators.fill(CONFIGURATION))) as started:
        yield started


def cool_down(instance: Instance, *deployments: str) -> None:
    """Waits until the deciders are told that these are cooling down."""
    until(lambda: all(instance.health(deployment) == "open" for deployment in deployments))


def asked_while(instance: Instance, route: str, is_so: Callable[[httpx.Response], bool], **body: Any) -> httpx.Response | None:
    """An answer that is as expected, or None: a worker may not have read yet what the observer has written."""
    answer = instance.ask(route, **body)
    return answer if is_so(answer) else None


def refusal(instance: Instance, route: str, **body: Any) -> httpx.Response:
    """The router's own answer, as soon as it is one."""
    answer: httpx.Response = until(
        lambda: asked_while(instance, route, lambda answer: "x-router-deployment" not in answer.headers, **body)
    )
    return answer


@KINDS
def test_when_all_strong_are_down_the_answer_is_503(instance: Instance, simulators: Simulators, *, stream: bool) -> None:
    """While they fail, and once they cool down, no weaker model is asked; the refusal says why and until when."""
    simulators.faults("strong", status=500)
    failing = instance.ask("strong-only", stream=stream)
    assert (failing.status_code, failing.headers["x-router-attempts"]) == (500, "2")
    cool_down(instance, "strong/down", "strong/down-too")
    before = simulators.asked()
    refused = refusal(instance, "strong-only", stream=stream)
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["type"]) == (503, "min_tier_unavailable", "server_error")
    assert "premium" in error["message"]
    assert refused.headers["x-router-reason"] == "min_tier_unavailable"
    assert 1 <= int(refused.headers["retry-after"]) <= 120
    assert "x-router-model" not in refused.headers
    record = instance.decision(refused.headers["x-router-decision"])
    assert (record["status"], record["refused"], record["attempts"]) == (503, "min_tier_unavailable", [])
    simulators.heal()
    for route in ("strong-only", "down"):
        instance.ask(route, headers={"x-router-min-tier": "premium"}, stream=stream)
    assert "weak" not in before
    assert "weak" not in simulators.asked()


def test_a_client_may_ask_for_a_tier_itself(instance: Instance, simulators: Simulators) -> None:
    """`x-router-min-tier` holds like the route's own, on a route that would have fallen back to a weak model."""
    simulators.faults("strong", status=500)
    weak = instance.ask("any-strength")
    assert (weak.status_code, weak.headers["x-router-model"]) == (200, "weak")
    cool_down(instance, "strong/down")
    refused = refusal(instance, "any-strength", headers={"x-router-min-tier": "premium"})
    assert refused.json()["error"]["code"] == "min_tier_unavailable"
    assert simulators.asked()["weak"] == 1


@KINDS
def test_a_quality_is_kept_like_a_tier(instance: Instance, simulators: Simulators, *, stream: bool) -> None:
    """Only what is good enough is asked; when it cools down the refusal says that quality is what lacks."""
    answer = instance.ask("by-quality", stream=stream)
    assert (answer.status_code, answer.headers["x-router-model"]) == (200, "down")
    simulators.faults("strong", status=500)
    failing = instance.ask("by-quality", stream=stream)
    assert (failing.status_code, failing.headers["x-router-attempts"]) == (500, "1")
    cool_down(instance, "strong/down")
    refused = refusal(instance, "by-quality", stream=stream)
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["type"]) == (503, "min_quality_unavailable", "server_error")
    assert refused.headers["x-router-reason"] == "min_quality_unavailable"
    assert 1 <= int(refused.headers["retry-after"]) <= 120
    assert "weak" not in simulators.asked()
    record = instance.decision(refused.headers["x-router-decision"])
    assert (record["status"], record["refused"], record["attempts"]) == (503, "min_quality_unavailable", [])


def test_the_sdk_raises_with_the_reason(instance: Instance, simulators: Simulators) -> None:
    """A program sees the code in the exception, and the time to come back in the header that SDKs obey."""
    simulators.faults("strong", status=500)
    instance.ask("strong-only")
    cool_down(instance, "strong/down", "strong/down-too")
    refusal(instance, "strong-only")
    with instance.client() as client, pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model="strong-only", messages=HELLO)  # type: ignore[call-overload]
    assert (caught.value.status_code, caught.value.code) == (503, "min_tier_unavailable")


@KINDS
def test_a_tier_is_kept_while_anyone_of_it_is_well(instance: Instance, simulators: Simulators, *, stream: bool) -> None:
    """One strong model that works is enough, however cheap the weak ones are."""
    simulators.faults("strong", {"status": 500, "times": 1}, {})
    answer = instance.ask("strong-by-tier", stream=stream)
    assert (answer.status_code, answer.headers["x-router-tier"], answer.headers["x-router-attempts"]) == (200, "premium", "2")
    assert simulators.asked() == {"strong": 2}
