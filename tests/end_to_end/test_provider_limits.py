"""What a provider allows, and what may be spent there: kept before it refuses, and requests go elsewhere meanwhile."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.end_to_end.running import Instance, Simulators, running

pytestmark = pytest.mark.end_to_end

SIMULATED = {name: {"models": ["m"]} for name in ("rationed", "spare", "spent", "keyed", "alone")}
FACTS = "capabilities: [], context_window: 10000, output_limit: 500, prices: {input: 1, output: 2}"
CONFIGURATION = f"""
providers:
  rationed: {{base_url: "$rationed/v1", limits: {{requests_per_minute: 3}}}}
  spare: {{base_url: "$spare/v1"}}
  spent: {{base_url: "$spent/v1", budget: {{usd: 0, window: month}}}}
  keyed:
    base_url: "$keyed/v1"
    credentials:
      - {{name: small, env: KEY_1, weight: 99, limits: {{requests_per_minute: 1}}}}
      - {{name: large, env: KEY_2}}
  alone: {{base_url: "$alone/v1", limits: {{requests_per_minute: 2}}}}
models:
  shared: {{{FACTS}, deployments: [{{provider: rationed, model: m}}, {{provider: spare, model: m}}]}}
  moved: {{{FACTS}, deployments: [{{provider: spent, model: m}}, {{provider: spare, model: m}}]}}
  stuck: {{{FACTS}, deployments: [{{provider: spent, model: m}}]}}
  two-keys: {{{FACTS}, deployments: [{{provider: keyed, model: m}}]}}
  lonely: {{{FACTS}, deployments: [{{provider: alone, model: m}}]}}
routes:
  in-order: {{targets: [{{deployment: rationed/shared}}, {{deployment: spare/shared}}]}}
waiting: {{max_wait: 200ms}}
"""


@pytest.fixture(scope="module")
def instance(simulators: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """An instance with two keys of one provider in its environment."""
    keys = {"KEY_1": "key-1", "KEY_2": "key-2"}
    folder = tmp_path_factory.mktemp("instance")
    with running(Instance(folder, simulators.fill(CONFIGURATION), environment=keys)) as started:
        yield started


def deployments(instance: Instance, model: str, requests: int) -> list[str]:
    """Who answered, one request after the other; every one of them is served."""
    answers = [instance.ask(model, max_tokens=5) for _ in range(requests)]
    assert [answer.status_code for answer in answers] == [200] * requests, [answer.text for answer in answers]
    return [answer.headers["x-router-deployment"] for answer in answers]


def test_beyond_a_provider_s_limit_others_are_asked(instance: Instance, simulators: Simulators) -> None:
    """As many as the provider allows in a minute, then the next in order: the provider never has to refuse."""
    found = deployments(instance, "in-order", 6)
    assert found == ["rationed/shared"] * 3 + ["spare/shared"] * 3
    assert simulators.stats("rationed")["requests"] == 3


def test_a_limit_of_one_key_leaves_the_other(instance: Instance) -> None:
    """The key that is drawn nearly always has room for one request a minute; the others go by the second key."""
    found = Counter(deployments(instance, "two-keys", 6))
    assert found["keyed/two-keys@small"] <= 1
    assert found["keyed/two-keys@small"] + found["keyed/two-keys@large"] == 6


def test_a_provider_without_money_is_not_chosen(instance: Instance, simulators: Simulators) -> None:
    """At the end of what may be spent there requests go elsewhere; where there is nowhere else, the budget is named."""
    assert deployments(instance, "moved", 4) == ["spare/moved"] * 4
    refused = instance.ask("stuck", max_tokens=5)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "budget_exceeded")
    assert "provider:spent:budget" in refused.json()["error"]["message"]
    assert refused.headers["x-should-retry"] == "false"
    assert simulators.stats("spent")["requests"] == 0


def test_where_nothing_has_room_the_wait_is_told(instance: Instance, simulators: Simulators) -> None:
    """A request that would have to wait longer than allowed is answered 429 with the true time, and reaches nobody."""
    deployments(instance, "lonely", 2)
    refused = instance.ask("lonely", max_tokens=5)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    assert 1 <= int(refused.headers["retry-after"]) <= 61
    assert simulators.stats("alone")["requests"] == 2
