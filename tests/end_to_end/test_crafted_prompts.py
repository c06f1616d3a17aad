"""Prompts made to be more tokens than they look get no more out of a cap, from a provider that bills each of their tokens."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from tests.crafted_texts import TEXTS, hidden_from_samples
from tests.end_to_end.own_provider import Answering
from tests.end_to_end.running import CHAT, Instance, running
from tests.end_to_end.spending import ledger, micro_usd, quiet_budget
from tests.exact_tokens import exact_tokens

pytestmark = pytest.mark.end_to_end

CAP = 400_000  # micro-dollars, and tokens: every token costs one
PRICES = "{input: 1, output: 1}"
HEADERS = {"content-type": "application/json"}


class Provider(ThreadingHTTPServer):
    """Bills o200k_base's own count of every message to ``gpt-4o``, and a token a byte to the other."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.bill: dict[str, list[int]] = {"gpt-4o": [], "mystery": []}


class _Answer(Answering):
    server: Provider

    def respond(self, body: dict[str, Any]) -> None:
        texts = [message["content"] for message in body["messages"]]
        texts = [one for text in texts for one in ([text] if isinstance(text, str) else [part["text"] for part in text])]
        count = exact_tokens if body["model"] == "gpt-4o" else _bytes
        tokens = 3 + sum(4 + count(text) for text in texts)
        self.server.bill[body["model"]].append(tokens + 1)
        usage = {"prompt_tokens": tokens, "completion_tokens": 1, "total_tokens": tokens + 1}
        message = {"role": "assistant", "content": "x"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        answer = {
            "id": "a",
            "object": "chat.completion",
            "created": 1,
            "model": body["model"],
            "choices": [choice],
            "usage": usage,
        }
        self.answer(json.dumps(answer).encode())


def _bytes(text: str) -> int:
    return len(text.encode())


@pytest.fixture(scope="module")
def instance(provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """One instance of two workers; each model has a budget in money and one in tokens of its own."""
    configuration = f"""
workers: {{count: 2}}
providers:
  one: {{base_url: "http://127.0.0.1:{provider.server_port}/v1"}}
models:
  gpt-4o: {{deployments: [{{provider: one}}], tier: standard, capabilities: [], context_window: 2000000, prices: {PRICES}}}
  mystery: {{deployments: [{{provider: one}}], tier: standard, capabilities: [], context_window: 2000000, prices: {PRICES}}}
routes:
  known: {{targets: [gpt-4o]}}
  unknown: {{targets: [mystery]}}
budgets:
  known-usd: {{usd: 0.4, window: month, match: {{route: known}}}}
  known-tokens: {{tokens: {CAP}, window: month, match: {{route: known}}}}
  unknown-usd: {{usd: 0.4, window: month, match: {{route: unknown}}}}
"""
    with running(Instance(tmp_path_factory.mktemp("instance"), configuration)) as started:
        yield started


def bodies(route: str) -> list[dict[str, Any]]:
    """Each crafted text as one message, and cut into parts; the longest often, because one alone is no attack."""
    texts = [*TEXTS.values(), *[hidden_from_samples(7_000)] * 20]
    whole = [[{"role": "user", "content": text}] for text in texts]
    half = len(texts[0]) // 2
    cut = [{"type": "text", "text": part} for part in (texts[0][:half], texts[0][half:])]
    return [{"model": route, "max_tokens": 1, "messages": said} for said in (*whole, [{"role": "user", "content": cut}])]


@pytest.mark.parametrize(("route", "model"), [("known", "gpt-4o"), ("unknown", "mystery")])
def test_crafted_prompts(instance: Instance, provider: Provider, route: str, model: str) -> None:
    """All at once, until nothing fits: what is settled is what was billed, and neither is above the cap."""
    with instance.http(headers=HEADERS) as http, ThreadPoolExecutor(8) as pool:

        def ask(body: dict[str, Any]) -> httpx.Response:
            return http.post(CHAT, content=json.dumps(body, ensure_ascii=False).encode())

        statuses = [answer.status_code for answer in pool.map(ask, bodies(route))]
        quiet_budget(instance, f"{route}-usd")
        statuses += [ask(body).status_code for body in bodies(route)]
    assert set(statuses) == {200, 429}
    shown = quiet_budget(instance, f"{route}-usd")
    bill = sum(provider.bill[model])
    rows = [row for row in ledger([instance]) if row["route"] == route]
    assert micro_usd(shown["settled_usd"]) == sum(row["cost_micro_usd"] for row in rows) == bill <= CAP
    # Nor was the cap kept by refusing nearly everything.
    assert bill > CAP / 2
