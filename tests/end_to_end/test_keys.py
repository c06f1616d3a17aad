"""Two keys of one provider are two deployments: one that is at its limit hands over to the other, and then rests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest

from tests.end_to_end.running import HELLO, Instance, Simulators, running, until

pytestmark = [pytest.mark.end_to_end, pytest.mark.usefixtures("healed")]

KEYS = {"KEY_ONE": "sk-first-of-two", "KEY_TWO": "sk-second-of-two"}
ONE, TWO = KEYS.values()

# A key that is at its limit rests, so each test has a model, and with it deployments, of its own.
CONFIGURATION = """
providers:
  keyed:
    base_url: $keyed/v1
    credentials: [{env: KEY_ONE}, {env: KEY_TWO}]
models:
  handover-plain: {deployments: [{provider: keyed}]}
  handover-stream: {deployments: [{provider: keyed}]}
  load: {deployments: [{provider: keyed}]}
  dead: {deployments: [{provider: keyed}]}
  both: {deployments: [{provider: keyed}]}
  shared: {deployments: [{provider: keyed}]}
"""

SIMULATED = {"keyed": {"api_keys": list(KEYS.values())}}


@pytest.fixture(scope="module")
def instance(simulators: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    folder = tmp_path_factory.mktemp("instance")
    with running(Instance(folder, simulators.fill(CONFIGURATION), environment=KEYS)) as started:
        yield started


def keys_used(simulators: Simulators) -> list[tuple[str, int]]:
    """Key and status of each request the provider saw, oldest first."""
    requests = simulators.requests("keyed")
    return [(dict(one["headers"])["authorization"].removeprefix("Bearer "), one["status"]) for one in requests]


def test_requests_are_shared_among_the_keys(instance: Instance) -> None:
    """While both keys are well, both are used."""
    answers = [instance.ask("shared") for _ in range(60)]
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.headers["x-router-deployment"] for answer in answers} == {"keyed/shared@1", "keyed/shared@2"}
    assert {answer.headers["x-router-attempts"] for answer in answers} == {"1"}


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_a_limited_key_hands_over_to_the_other(instance: Instance, simulators: Simulators, *, stream: bool) -> None:
    """A 429 of one key is answered by the other, and headers and record name both."""
    simulators.faults("keyed", status=429, times=1)
    model = "handover-stream" if stream else "handover-plain"
    answer = instance.ask(model, stream=stream)
    (first, _), (second, _) = keys_used(simulators)
    assert (answer.status_code, {first, second}) == (200, {ONE, TWO})
    names = {ONE: f"keyed/{model}@1", TWO: f"keyed/{model}@2"}
    assert (answer.headers["x-router-fallback-from"], answer.headers["x-router-deployment"]) == (names[first], names[second])
    attempts = instance.decision(answer.headers["x-router-decision"])["attempts"]
    assert [(attempt["deployment"], attempt["status"]) for attempt in attempts] == [(names[first], 429), (names[second], 200)]


def test_under_load_no_client_sees_the_limit_of_one_key(instance: Instance, simulators: Simulators) -> None:
    """From the first request on every client is served, and the limited key is left alone until its time has come."""
    simulators.faults("keyed", status=429, retry_after=300, only_key=ONE)
    with instance.client() as client:

        def ask(_: int) -> str:
            answer = client.chat.completions.create(model="load", messages=HELLO, max_tokens=5)  # type: ignore[call-overload]
            return str(answer.choices[0].finish_reason)

        with ThreadPoolExecutor(8) as pool:
            assert len(list(pool.map(ask, range(200)))) == 200
        # Who comes before the first refusal is known meets the same: how many do is a matter of time, and not promised.
        assert Counter(keys_used(simulators))[ONE, 429] >= 1
        until(lambda: instance.health("keyed/load@1") == "open")
        until(lambda: all(instance.ask("load").headers["x-router-attempts"] == "1" for _ in range(10)))
        before = Counter(keys_used(simulators))
        with ThreadPoolExecutor(8) as pool:
            assert len(list(pool.map(ask, range(100)))) == 100
    used = Counter(keys_used(simulators)) - before
    assert used == {(TWO, 200): 100}


def test_a_key_that_is_refused_hands_over_and_is_left_alone(instance: Instance, simulators: Simulators) -> None:
    """No client learns that one of our keys was revoked: the other serves, and after one refusal alone."""
    simulators.faults("keyed", status=401, only_key=ONE)
    until(lambda: instance.ask("dead").status_code == 200 and instance.health("keyed/dead@1") == "open")
    until(lambda: all(instance.ask("dead").headers["x-router-attempts"] == "1" for _ in range(10)))
    before = Counter(keys_used(simulators))
    answers = [instance.ask("dead", stream=stream) for stream in (False, True) for _ in range(10)]
    assert {answer.status_code for answer in answers} == {200}
    assert Counter(keys_used(simulators)) - before == {(TWO, 200): 20}


def test_when_both_keys_are_limited_the_client_is_told_to_wait(instance: Instance, simulators: Simulators) -> None:
    """Nothing is left to try: the client gets the 429 with the provider's words and its retry-after."""
    simulators.faults("keyed", status=429, retry_after=7)
    with instance.client() as client, pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(model="both", messages=HELLO)  # type: ignore[call-overload]
    assert {key for key, _ in keys_used(simulators)} == {ONE, TWO}
    assert caught.value.response.headers["retry-after"] == "7"
    assert caught.value.response.headers["x-router-attempts"] == "2"
    assert caught.value.response.json() == simulators.own_answer("keyed")
