"""Tokens a minute, limits that providers tell of themselves, and work that can wait: elsewhere first, then a wait, then 429."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest

from router_extproc.limits.identity import digest_of
from tests.end_to_end.running import HELLO, Instance, Simulators, running, until
from tests.end_to_end.spending import quiet_budget
from tests.end_to_end.test_quota import quota_until

pytestmark = [pytest.mark.end_to_end, pytest.mark.usefixtures("healed")]

SIMULATED: dict[str, dict[str, Any]] = {name: {} for name in ("worded", "spare", "telling", "told", "keyed", "shared")}
FACTS = "tier: economy, capabilities: [], context_window: 100000, output_limit: 2000, prices: {input: 1, output: 2}"
MAX_WAIT_SECONDS = 2.5
TOKENS_PER_MINUTE = 1_000


def secret(name: str) -> str:
    return f"sk-router-{name}.not-so-secret-canary"


def digest(name: str) -> str:
    return digest_of(secret(name), b"0123456789abcdef")


CONFIGURATION = f"""
workers: {{count: 1}}
auth: keys
tenants: {{people: {{}}, nightly: {{priority: batch}}}}
keys:
  person: {{tenant: people, digest: "{digest("person")}"}}
  machine: {{tenant: nightly, digest: "{digest("machine")}"}}
providers:
  worded: {{base_url: $worded/v1, limits: {{tokens_per_minute: {TOKENS_PER_MINUTE}}}}}
  spare: {{base_url: $spare/v1}}
  telling: {{base_url: $telling/v1}}
  told: {{base_url: $told/v1}}
  keyed:
    base_url: $keyed/v1
    credentials:
      - {{name: first, env: KEY_1, limits: {{tokens_per_minute: 300}}}}
      - {{name: second, env: KEY_2, limits: {{tokens_per_minute: 300}}}}
  shared: {{base_url: $shared/v1, limits: {{requests_per_minute: 10}}}}
models:
  worded: {{{FACTS}, deployments: [{{provider: worded}}]}}
  spare: {{{FACTS}, deployments: [{{provider: spare}}]}}
  tellers: {{{FACTS}, deployments: [{{provider: telling}}, {{provider: told}}]}}
  keyed: {{{FACTS}, deployments: [{{provider: keyed}}]}}
  shared: {{{FACTS}, deployments: [{{provider: shared}}]}}
routes:
  either: {{targets: [worded, spare]}}
waiting: {{max_wait: {MAX_WAIT_SECONDS}s, interactive_share: 0.2}}
"""


@pytest.fixture(scope="module")
def instance(simulators: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """An instance with two keys of one provider in its environment."""
    keys = {"KEY_1": "key-1", "KEY_2": "key-2"}
    folder = tmp_path_factory.mktemp("instance")
    with running(Instance(folder, simulators.fill(CONFIGURATION), environment=keys)) as started:
        yield started


def ask(instance: Instance, model: str, name: str = "person", **body: Any) -> httpx.Response:
    return instance.ask(model, headers={"authorization": f"Bearer {secret(name)}"}, **{"max_tokens": 5} | body)


def test_tokens_a_minute_are_kept(instance: Instance, simulators: Simulators) -> None:
    """The provider is never asked for more than its limit; the next place answers, and where there is none, nobody does."""
    simulators.faults("worded", tokens=200)
    before = time.time()
    answers = [ask(instance, "either", max_tokens=200) for _ in range(8)]
    assert {answer.status_code for answer in answers} == {200}
    where = Counter(answer.headers["x-router-model"] for answer in answers)
    assert 3 <= where["worded"] <= 4
    assert where["spare"] == 8 - where["worded"]
    billed = [request["billed"] for request in simulators.requests("worded")]
    assert sum(one["prompt_tokens"] + one["completion_tokens"] for one in billed) <= TOKENS_PER_MINUTE
    # Only of what is settled it is known when it leaves the window.
    quiet_budget(instance, "provider:worded:tokens")
    with instance.client(api_key=secret("person")) as client, pytest.raises(openai.RateLimitError) as refused:
        client.chat.completions.create(model="worded", messages=HELLO, max_tokens=300)  # type: ignore[arg-type]
    assert (refused.value.code, refused.value.type) == ("rate_limit_exceeded", "tokens")
    assert refused.value.response.headers["x-should-retry"] == "false"
    assert before + 60 <= time.time() + int(refused.value.response.headers["retry-after"])
    assert int(refused.value.response.headers["retry-after"]) <= 62
    assert refused.value.response.elapsed.total_seconds() < MAX_WAIT_SECONDS + 1


def test_tokens_of_one_key_are_its_own(instance: Instance, simulators: Simulators) -> None:
    """Two keys of one provider have room for twice as much; neither is sent more than its own."""
    simulators.faults("keyed", tokens=120)
    statuses = [ask(instance, "keyed", max_tokens=120).status_code for _ in range(6)]
    assert Counter(statuses) == {200: 4, 429: 2}
    sums: Counter[str] = Counter()
    for request in simulators.requests("keyed"):
        key = dict(request["headers"])["authorization"]
        sums[key] += request["billed"]["prompt_tokens"] + request["billed"]["completion_tokens"]
    assert len(sums) == 2
    assert max(sums.values()) <= 300


def used_up(seconds: float) -> dict[str, Any]:
    headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": f"{seconds}s"}
    return {"response_headers": headers}


def test_what_providers_tell_is_waited_for(instance: Instance, simulators: Simulators) -> None:
    """One that has none left is passed over; when none has, the earliest reset is waited for, and nobody is refused."""
    for provider, seconds in (("telling", 300), ("told", 6)):
        simulators.faults(provider, **used_up(seconds))
        while provider not in simulators.asked():
            assert ask(instance, "tellers").status_code == 200
        # On a machine that stands still it may be there again before anybody knew.
        over = time.time() + seconds
        until(lambda: quota_until(instance, f"{provider}/tellers") > 0 or time.time() > over)  # noqa: B023
    simulators.faults("told")
    resets_at = simulators.requests("told")[-1]["received_at"] + 6
    time.sleep(max(0.0, resets_at - 2 - time.time()))  # so that the wait for it is one that is allowed
    answer = ask(instance, "tellers")
    assert (answer.status_code, answer.headers["x-router-deployment"]) == (200, "told/tellers")
    assert simulators.requests("told")[-1]["received_at"] >= resets_at - 0.1


def test_batch_work_leaves_a_share_to_others(instance: Instance, simulators: Simulators) -> None:
    """Of ten requests a minute it may have eight; the last two are for whoever is waited for by people."""
    with ThreadPoolExecutor(4) as pool:
        batch = list(pool.map(lambda _: ask(instance, "shared", "machine").status_code, range(12)))
    assert Counter(batch) == {200: 8, 429: 4}
    people = [ask(instance, "shared").status_code for _ in range(3)]
    assert people == [200, 200, 429]
    assert simulators.asked()["shared"] == 10
