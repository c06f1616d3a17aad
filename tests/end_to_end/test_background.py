"""What is made in the background gets no more out of a cap, although nobody waits for what it uses: responses are settled as
they were set aside; batches, runs and sessions are not sent, whatever model they name, nor is a list of further models.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from tests.end_to_end.own_provider import EVENTS, Answering
from tests.end_to_end.running import Instance, running, until
from tests.end_to_end.spending import ledger, micro_usd

pytestmark = pytest.mark.end_to_end

PATH = "/v1/responses"
MODEL = "gpt-4o"
# Micro-dollars; every token costs one.
CAP = 20_000
PROMPT, LONGEST = 9, 4_000


class Provider(ThreadingHTTPServer):
    """Takes every request, and bills the longest answer that it was asked for, as it may."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.bill: list[int] = []


class _Answer(Answering):
    server: Provider

    def respond(self, body: dict[str, Any]) -> None:
        self.server.bill.append(PROMPT + min(body.get("max_output_tokens", LONGEST), LONGEST))
        response: dict[str, Any] = {"id": "resp_1", "object": "response", "status": "queued", "output": [], "usage": None}
        if body.get("stream"):
            # The client sees the beginning: the rest is to be asked for, as after a lost connection.
            event = json.dumps({"type": "response.queued", "response": response})
            self.answer(f"data: {event}\n\n".encode(), EVENTS)
        else:
            self.answer(json.dumps(response).encode())


@pytest.fixture(scope="module")
def instance(provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    model = f"tier: economy, capabilities: [], context_window: 128000, output_limit: {LONGEST}, prices: {{input: 1, output: 1}}"
    configuration = f"""
workers: {{count: 2}}
providers:
  one: {{base_url: "http://127.0.0.1:{provider.server_port}/v1"}}
models:
  {MODEL}: {{deployments: [{{provider: one}}], {model}}}
routes:
  plain: {{targets: [{MODEL}]}}
  streamed: {{targets: [{MODEL}]}}
  short: {{targets: [{MODEL}]}}
budgets:
  each: {{usd: 0.02, window: month, per: route}}
"""
    with running(Instance(tmp_path_factory.mktemp("instance"), configuration)) as started:
        yield started


@pytest.mark.parametrize(
    ("route", "more"),
    [("plain", {}), ("streamed", {"stream": True}), ("short", {"max_output_tokens": 500})],
    ids=["plain", "streamed", "short"],
)
def test_no_cap_is_passed_in_the_background(instance: Instance, provider: Provider, route: str, more: dict[str, Any]) -> None:
    """What the provider bills for all that were let through is within the cap, and is what the ledger has at the most."""
    provider.bill.clear()
    body = {"model": route, "input": "Hello", "background": True, **more}
    with instance.http() as http:
        answers: list[httpx.Response] = []
        while not answers or (answers[-1].status_code == 200 and len(answers) < 60):
            answers.append(http.post(PATH, json=body))
            quiet(instance, route)
    assert (answers[-1].status_code, answers[-1].json()["error"]["code"]) == (429, "budget_exceeded")
    assert len(provider.bill) >= CAP // (2 * (LONGEST + PROMPT)), "the cap is put to use"
    rows = [row for row in ledger([instance]) if row["route"] == route]
    spent = sum(row["cost_micro_usd"] for row in rows)
    assert sum(provider.bill) <= spent <= CAP
    assert {row["usage_source"] for row in rows} == {"estimate"}


@pytest.mark.parametrize("path", ["/v1/batches", "/v1/threads/runs", "/v1/fine_tuning/jobs", "/v1/realtime/client_secrets"])
def test_what_nobody_sees_is_not_sent(instance: Instance, provider: Provider, path: str) -> None:
    """A model that is named beside it makes nothing of it countable."""
    provider.bill.clear()
    with instance.http() as http:
        refused = http.post(path, json={"model": MODEL, "input_file_id": "file-1"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "permission_denied")
    assert f"{path}: what it runs cannot be held to the budget 'each'" in refused.json()["error"]["message"]
    assert provider.bill == []


@pytest.mark.parametrize("name", ["models", "fallbacks"])
def test_no_further_model_is_asked(instance: Instance, provider: Provider, name: str) -> None:
    """A provider that is a gateway itself would go on to it, at a price that nobody set aside."""
    provider.bill.clear()
    with instance.http() as http:
        refused = http.post(PATH, json={"model": MODEL, "input": "Hello", name: ["dear"]})
    assert (refused.status_code, refused.json()["error"]["code"], refused.json()["error"]["param"]) == (
        403, "permission_denied", name,
    )  # fmt: skip
    assert provider.bill == []


def quiet(instance: Instance, route: str) -> None:
    """Waits until nothing is set aside for the route any more."""

    def shown() -> bool:
        budgets = instance.admin.get(f"{instance.admin_url}/budgets").json()["budgets"]
        return all(micro_usd(one["reserved_usd"]) == 0 for one in budgets if one["scope"] == f"route={route}")

    until(shown)
