"""A key whose quota its provider calls used up is passed over while anything else can serve; where nothing can: 429."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator

import httpx
import openai
import pytest

from tests.end_to_end.running import Instance, Simulators, running, until

pytestmark = pytest.mark.end_to_end

# Each key is a simulator of its own, because limits are counted there. Each test has deployments of its own.
CONFIGURATION = """
providers:
  limited: {base_url: $limited/v1}
  one: {base_url: $one/v1}
  two: {base_url: $two/v1}
  verbose: {base_url: $verbose/v1}
models:
  rationed: {deployments: [{provider: limited}, {provider: two}]}
  brief-plain: {deployments: [{provider: one}, {provider: two}]}
  brief-stream: {deployments: [{provider: one}, {provider: two}]}
  alone: {tier: premium, deployments: [{provider: one}]}
  both: {deployments: [{provider: one}, {provider: two}]}
  wordy: {deployments: [{provider: one}]}
  talkative: {deployments: [{provider: verbose}]}
  odd: {deployments: [{provider: one}, {provider: two}]}
  other: {deployments: [{provider: two}]}
routes:
  to-alone: {targets: [alone], last_resort: [other], min_tier: premium}
  to-alone-or-other: {targets: [alone, other]}
# So long that whoever waited can be told from whoever did not.
waiting: {max_wait: 20s}
"""


def used_up(reset: str, unit: str = "requests") -> dict[str, dict[str, str]]:
    """Faults: the answer is as good as any, and says that it was the last one."""
    return {"response_headers": {f"x-ratelimit-remaining-{unit}": "0", f"x-ratelimit-reset-{unit}": reset}}


@pytest.fixture(scope="module")
def simulators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulators]:
    names: dict[str, dict[str, int]] = {
        "limited": {"requests_per_minute": 6},
        "one": {},
        "two": {},
        "verbose": {"tokens_per_minute": 60},
    }
    started = Simulators(tmp_path_factory.mktemp("simulators"), names)
    yield started
    started.stop()


@pytest.fixture(scope="module")
def instance(simulators: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    with running(Instance(tmp_path_factory.mktemp("instance"), simulators.fill(CONFIGURATION))) as started:
        yield started


@pytest.fixture(autouse=True)
def _healthy(simulators: Simulators) -> None:
    simulators.heal()


def quota_until(instance: Instance, deployment: str) -> float:
    """What the deciders are told, in epoch seconds; 0 when nothing is used up."""
    file = instance.state / "health.json"
    deployments = json.loads(file.read_bytes())["deployments"] if file.exists() else {}
    return float(deployments.get(deployment, {}).get("quota_until", 0))


def wait_until_told(instance: Instance, deployment: str) -> None:
    """Waits until the quota is known to be used up, and the workers have had a second to hear it."""
    until(lambda: quota_until(instance, deployment) > 0)
    time.sleep(1)


def providers_of(answers: list[httpx.Response]) -> Counter[str]:
    """Who answered; every answer is a good one of the first attempt, and none is called degraded."""
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.headers["x-router-attempts"] for answer in answers} == {"1"}
    assert not any("x-router-degraded" in answer.headers for answer in answers)
    return Counter(answer.headers["x-router-deployment"].partition("/")[0] for answer in answers)


def ask_until_answered_by(instance: Instance, provider: str, model: str, *, stream: bool = False) -> httpx.Response:
    for _ in range(100):
        answer = instance.ask(model, stream=stream)
        if answer.headers["x-router-deployment"].startswith(f"{provider}/"):
            return answer
    raise AssertionError(f"{provider} is never asked")


def test_no_request_meets_an_empty_quota(instance: Instance, simulators: Simulators) -> None:
    """A key's last answer moves everything to the other key: no 429 comes, to the client or from the provider."""
    answers: list[httpx.Response] = []
    while not answers or answers[-1].headers["x-ratelimit-remaining-requests"] != "0":
        answers.append(ask_until_answered_by(instance, "limited", "rationed"))
    wait_until_told(instance, "limited/rationed")
    asked = simulators.asked()["limited"]
    assert providers_of([instance.ask("rationed") for _ in range(30)]) == {"two": 30}
    assert simulators.asked()["limited"] == asked
    assert {request["status"] for request in simulators.requests("limited")} == {200}
    last = instance.decision(answers[-1].headers["x-router-decision"])["attempts"][0]
    assert last["remaining_requests"] == 0
    assert 30 < last["quota_reset_seconds"] <= 61
    assert instance.health("limited/rationed") == "closed"
    assert (
        'router_deployment_quota_used_up{deployment="limited/rationed"} 1.0'
        in instance.admin.get(f"{instance.admin_url}/metrics").text
    )


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_it_ends_when_the_provider_said(instance: Instance, simulators: Simulators, *, stream: bool) -> None:
    """Until the reset, counted from the answer, the other key serves; then both do, without a probe."""
    model = "brief-stream" if stream else "brief-plain"
    simulators.faults("one", **used_up("8s"))
    ask_until_answered_by(instance, "one", model, stream=stream)
    (answered,) = simulators.requests("one")
    simulators.heal()
    wait_until_told(instance, f"one/{model}")
    resets_at = quota_until(instance, f"one/{model}")
    assert resets_at - answered["received_at"] == pytest.approx(8, abs=2)
    until(lambda: instance.ask(model, stream=stream).headers["x-router-deployment"].startswith("one/"), seconds=30)
    assert simulators.requests("one")[0]["received_at"] >= resets_at - 0.01
    assert simulators.asked()["two"] > 0
    assert instance.health(f"one/{model}") == "closed"


def refused(instance: Instance, model: str) -> httpx.Response:
    answer = instance.ask(model)
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    assert answer.json()["error"]["type"] == "requests"
    assert answer.headers["x-should-retry"] == "false"
    return answer


def test_another_model_serves_where_the_route_allows_it(instance: Instance, simulators: Simulators) -> None:
    """Who names the model, or may have no weaker one, hears when its quota resets, and the provider is not asked again."""
    simulators.faults("one", **used_up("1m0s"))
    instance.ask("alone")
    wait_until_told(instance, "one/alone")
    asked = simulators.asked()["one"]
    assert providers_of([instance.ask("to-alone-or-other") for _ in range(5)]) == {"two": 5}
    for model in ("alone", "to-alone"):
        before = time.time()
        answer = refused(instance, model)
        resets_at = quota_until(instance, "one/alone")
        assert resets_at - time.time() <= int(answer.headers["retry-after"]) <= resets_at - before + 1
        assert answer.elapsed.total_seconds() < 10
    assert simulators.asked()["one"] == asked
    assert instance.health("one/alone") == "closed"


def test_when_all_are_used_up_the_earliest_reset_is_told(instance: Instance, simulators: Simulators) -> None:
    """Both keys are left alone, and the caller hears of the one that has room first."""
    for provider, reset in (("one", "2m0s"), ("two", "1m0s")):
        simulators.faults(provider, **used_up(reset))
        ask_until_answered_by(instance, provider, "both")
    wait_until_told(instance, "one/both")
    wait_until_told(instance, "two/both")
    asked = simulators.asked()
    assert 40 < int(refused(instance, "both").headers["retry-after"]) <= 61
    assert simulators.asked() == asked


def test_a_quota_of_tokens_is_refused_as_one_of_tokens(instance: Instance, simulators: Simulators) -> None:
    """As OpenAI does it: the type says tokens, and the headers that none is left and when there are again; of requests they
    say nothing, for those are not used up.
    """
    simulators.faults("one", **used_up("1m0s", "tokens"))
    answered = instance.ask("wordy")
    assert answered.headers["x-ratelimit-remaining-tokens"] == "0"
    wait_until_told(instance, "one/wordy")
    before = time.time()
    answer = instance.ask("wordy")
    resets_at = quota_until(instance, "one/wordy")
    least, most = resets_at - time.time(), resets_at - before + 1
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["type"]) == (429, "rate_limit_exceeded", "tokens")
    assert least <= int(answer.headers["retry-after"]) <= most
    told = {name: value for name, value in answer.headers.items() if name.startswith("x-ratelimit-")}
    assert told.keys() == {"x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"}
    assert told["x-ratelimit-remaining-tokens"] == "0"
    assert least <= int(told["x-ratelimit-reset-tokens"].removesuffix("s")) <= most
    record = instance.decision(answered.headers["x-router-decision"])["attempts"][0]
    assert (record["remaining_tokens"], record["quota_unit"]) == (0, "tokens")
    with instance.client() as client, pytest.raises(openai.RateLimitError) as raised:
        client.chat.completions.create(model="wordy", messages=[{"role": "user", "content": "Hi"}])
    assert raised.value.type == "tokens"


def test_a_provider_s_own_429_over_tokens_is_passed_on_as_it_is(instance: Instance, simulators: Simulators) -> None:
    """What it says of tokens is the client's to read: the type, the limit, what is left and when it resets."""
    simulators.faults("verbose", tokens=50)
    answers = [instance.ask("talkative") for _ in range(2)]
    [refused] = [answer for answer in answers if answer.status_code != 200]
    assert 429 in {request["status"] for request in simulators.requests("verbose")}
    assert refused.json()["error"]["type"] == "tokens"
    assert refused.headers["x-ratelimit-limit-tokens"] == "60"
    assert float(refused.headers["retry-after"]) > 0


@pytest.mark.parametrize("reset", ["soon", "-1s", "1e9s", "9" * 200 + "s", "2026-11-21T10:00:00Z"], ids=lambda text: text[:8])
def test_a_reset_time_that_is_none_is_passed_over(instance: Instance, simulators: Simulators, reset: str) -> None:
    """Nothing is left alone on the word of a header that cannot be read."""
    simulators.faults("one", **used_up(reset))
    answer = ask_until_answered_by(instance, "one", "odd")
    record = instance.decision(answer.headers["x-router-decision"])["attempts"][0]
    assert (record["remaining_requests"], record["quota_reset_seconds"]) == (0, None)
    assert quota_until(instance, "one/odd") == 0
