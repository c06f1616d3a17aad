"""Keys that stand in router.yaml: asked for, held to their permissions, counted by labels, changed while requests run."""

from __future__ import annotations

import hashlib
from pathlib import Path

import httpx
import openai
import pytest

from tests.end_to_end.running import HELLO, Instance, Simulators, until_everywhere
from tests.end_to_end.stopwatch import Stopwatch

pytestmark = pytest.mark.end_to_end

SALT = bytes(range(16))
SECONDS_TO_APPLY = 2.0


def shown(name: str) -> str:
    """The key as whoever calls has it."""
    return f"sk-router-{name}.{'s' * 43}"


def digest(name: str) -> str:
    """What the file holds of it."""
    return f"sha256:{SALT.hex()}:{hashlib.sha256(SALT + shown(name).encode()).hexdigest()}"


KEYS = ("plain", "narrow", "over", "taken-back", "apollo-1", "apollo-2", "capped", "old", "leaving")
SIMULATED = {"one": {"models": ["small", "large"]}}
CONFIGURATION = f"""
providers: {{one: {{base_url: "$one/v1"}}}}
models:
  small: {{tier: economy, capabilities: [], context_window: 100000, output_limit: 1000, prices: {{input: 1, output: 2}},
          deployments: [{{provider: one}}]}}
  large: {{tier: premium, capabilities: [], context_window: 100000, output_limit: 1000, prices: {{input: 5, output: 9}},
          deployments: [{{provider: one}}]}}
tenants: {{search: {{}}, interns: {{permissions: {{tiers: [economy]}}}}}}
keys:
  plain: {{tenant: search, digest: "{digest("plain")}"}}
  narrow: {{tenant: interns, digest: "{digest("narrow")}"}}
  over: {{tenant: search, digest: "{digest("over")}", expires: 2020-01-01}}
  taken-back: {{tenant: search, digest: "{digest("taken-back")}", revoked: true}}
  apollo-1: {{tenant: search, digest: "{digest("apollo-1")}", tags: {{project: apollo}}}}
  apollo-2: {{tenant: search, digest: "{digest("apollo-2")}", tags: {{project: apollo}}}}
  capped: {{tenant: search, digest: "{digest("capped")}", budgets: {{own: {{requests: 1, window: {{rolling: 1h}}}}}}}}
  rotated: {{tenant: search, digests: ["{digest("new")}", {{digest: "{digest("old")}", until: 2020-01-01}}]}}
  leaving: {{tenant: search, digest: "{digest("leaving")}"}}
budgets:
  apollo: {{requests: 4, window: {{rolling: 1h}}, match: {{"tag:project": apollo}}}}
  everybody: {{requests: 1000, window: {{rolling: 1h}}, per: tenant}}
"""


def ask(instance: Instance, name: str, model: str = "small") -> httpx.Response:
    return instance.ask(model, headers={"authorization": f"Bearer {shown(name)}"})


@pytest.mark.parametrize("header", ["authorization", "api-key", "x-api-key"])
def test_a_declared_key_opens(instance: Instance, header: str) -> None:
    """In each of the headers that clients use."""
    value = f"Bearer {shown('plain')}" if header == "authorization" else shown("plain")
    assert instance.ask("small", headers={header: value}).status_code == 200


@pytest.mark.parametrize("key", [None, "sk-router-plain.wrong", "sk-router-nobody.x", "hunter2", "over", "taken-back", "old"])
def test_nothing_else_does(instance: Instance, simulators: Simulators, key: str | None) -> None:
    """No key, an unknown or wrong one, one that has expired or was revoked: 401, and no provider is asked."""
    before = simulators.stats("one")["requests"]
    text = None if key is None else shown(key) if key in KEYS else key
    answer = instance.ask("small", headers={} if text is None else {"authorization": f"Bearer {text}"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
    assert simulators.stats("one")["requests"] == before


def test_a_key_may_use_what_its_tenant_may(instance: Instance) -> None:
    """What is not allowed is answered 403 as the SDK knows it, not listed, and not chosen by a route that has a choice."""
    assert ask(instance, "narrow").status_code == 200
    with instance.client(api_key=shown("narrow")) as client:
        with pytest.raises(openai.PermissionDeniedError):
            client.chat.completions.create(model="large", messages=HELLO)  # type: ignore[arg-type] - plain dicts will do
        listed = {model.id for model in client.models.list()}
    assert "small" in listed
    assert "large" not in listed
    assert ask(instance, "narrow", "best").headers["x-router-model"] == "small"
    assert ask(instance, "plain", "best").headers["x-router-model"] == "large"


def test_keys_share_a_budget_by_a_label(instance: Instance) -> None:
    """Two keys with one tag use up one budget; a third key without the tag does not notice."""
    answers = [ask(instance, name) for name in ("apollo-1", "apollo-2", "apollo-1", "apollo-2", "apollo-1", "apollo-2")]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 200, 429, 429]
    refused = answers[-1]
    assert "apollo" in refused.json()["error"]["message"]
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert int(refused.headers["retry-after"]) > 0
    assert ask(instance, "plain").status_code == 200


def test_a_key_has_budgets_of_its_own(instance: Instance) -> None:
    """The key falls under its own budget and under everybody's: the one without room refuses."""
    assert [ask(instance, "capped").status_code for _ in range(3)] == [200, 429, 429]


def test_the_file_changes_while_requests_run(instance: Instance) -> None:
    """Within two seconds a key that was revoked in the file opens nothing, and a new one does; no worker is restarted."""
    workers = instance.pids("worker")
    written = instance.configuration
    assert ask(instance, "leaving").status_code == 200
    assert ask(instance, "joining").status_code == 401
    changed = written.replace(
        f'leaving: {{tenant: search, digest: "{digest("leaving")}"}}',
        f'leaving: {{tenant: search, digest: "{digest("leaving")}", revoked: true}}\n'
        f'  joining: {{tenant: search, digest: "{digest("joining")}"}}',
    )
    assert changed != written
    with Stopwatch() as watch:
        instance.write(changed)
        until_everywhere(lambda: ask(instance, "joining").status_code == 200)
        until_everywhere(lambda: ask(instance, "leaving").status_code == 401)
    assert watch.seconds < SECONDS_TO_APPLY + 3, "taking turns with others on two cores may double it, not more"
    assert instance.pids("worker") == workers
    # What was spent is not forgotten by a change of the file.
    assert ask(instance, "apollo-1").status_code == 429


def test_no_secret_is_written_anywhere(instance: Instance) -> None:
    """Neither a shown key nor its random part stands in any file of the instance's state."""
    written = {Path(name): content for name, content in instance.written_files().items()}
    state = Path(instance.state.name)
    assert [name for name, content in written.items() if state in name.parents and b"sssssssssssssssssss" in content] == []
    assert any(state in name.parents for name in written)
