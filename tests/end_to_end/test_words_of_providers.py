"""What providers tell in words of their own: thinking that stands in the total alone, and resets of a quota in any spelling."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from tests.end_to_end.own_provider import EVENTS, JSON, Answering
from tests.end_to_end.running import CHAT, Instance, running, until
from tests.end_to_end.spending import ledger, micro_usd, quiet_budget
from tests.end_to_end.test_quota import quota_until

pytestmark = pytest.mark.end_to_end

# Of 135 tokens the completion names 9, and 94 were thought: the example of xAI's documentation.
PROMPT, SEEN, TOTAL = 32, 9, 135
# Micro-dollars: a token of the prompt costs one, of the answer a hundred.
PRICE = PROMPT + 100 * (TOTAL - PROMPT)
IN_CHATS = {"prompt_tokens": PROMPT, "completion_tokens": SEEN, "total_tokens": TOTAL}
IN_RESPONSES = {"input_tokens": PROMPT, "output_tokens": SEEN, "total_tokens": TOTAL}


class Provider(ThreadingHTTPServer):
    """Answers each request with ``headers``, and what it used."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.headers: dict[str, str] = {}


class _Answer(Answering):
    server: Provider

    def respond(self, body: dict[str, Any]) -> None:
        is_chat = self.path.endswith("/chat/completions")
        if is_chat:
            message = {"role": "assistant", "content": body.get("reply", "x")}
            answer = {"object": "chat.completion", "choices": [{"index": 0, "message": message}], "usage": IN_CHATS}
        else:
            answer = {"object": "response", "output": [], "usage": IN_RESPONSES}
        if body.get("stream"):
            begun = {"choices": [{"index": 0, "delta": {"content": "x"}}]}
            ended = {"choices": [], "usage": IN_CHATS} if is_chat else {"type": "response.completed", "response": answer}
            written = "".join(f"data: {json.dumps(event)}\n\n" for event in (begun, ended)).encode() + b"data: [DONE]\n\n"
        else:
            written = json.dumps(answer).encode()
        self.answer(written, EVENTS if body.get("stream") else JSON, self.server.headers)


@pytest.fixture(scope="module")
def instance(provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """Many deployments of one provider: a quota that one has used up is none of the others'."""
    model = "tier: economy, capabilities: [], context_window: 128000, output_limit: 4000, prices: {input: 1, output: 100}"
    models = "".join(f"\n  m{number}: {{deployments: [{{provider: one}}], {model}}}" for number in range(14))
    configuration = f"""
providers:
  one: {{base_url: "http://127.0.0.1:{provider.server_port}/v1"}}
models:{models}
routes:
  checked: {{targets: [m0], check: {{answer: true}}}}
waiting: {{max_waiters: 0}}
budgets: {{house: {{usd: 1000, window: month}}}}
"""
    with running(Instance(tmp_path_factory.mktemp("instance"), configuration)) as started:
        yield started


def ask(instance: Instance, path: str = CHAT, **body: Any) -> httpx.Response:
    said = {"messages": [{"role": "user", "content": "Hi"}]} if path == CHAT else {"input": "Hi"}
    with instance.http() as http:
        return http.post(path, json={"model": "m0", **said, **body})


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, {}),
        (CHAT, {"stream": True}),
        (CHAT, {"model": "checked", "reply": ""}),
        ("/v1/responses", {}),
        ("/v1/responses", {"stream": True}),
    ],
    ids=["chat", "stream", "turned down", "response", "streamed response"],
)
def test_what_was_thought_is_paid(instance: Instance, path: str, body: dict[str, Any]) -> None:
    """Ledger, budget and decision log have all the tokens that are billed, also where an answer was turned down."""
    before = micro_usd(quiet_budget(instance, "house")["settled_usd"])
    answer = ask(instance, path, **body)
    decision = answer.headers["x-router-decision"]
    rows = until(lambda: [row for row in ledger([instance]) if row["request"] == decision])
    assert len(rows) == int(answer.headers["x-router-attempts"])
    for row in rows:
        assert (row["prompt_tokens"], row["completion_tokens"], row["cost_micro_usd"]) == (PROMPT, TOTAL - PROMPT, PRICE)
        assert row["usage_source"] == "provider"
    assert micro_usd(quiet_budget(instance, "house")["settled_usd"]) - before == PRICE * len(rows)
    if answer.status_code == 200:
        assert instance.decision(decision)["usage"]["completion_tokens"] == TOTAL - PROMPT


@pytest.mark.parametrize(
    ("model", "spelling"),
    [
        ("m1", lambda _: "1m30s"),
        ("m2", lambda _: "90"),
        ("m3", lambda then: f"{then:.0f}"),
        ("m4", lambda then: f"{then * 1_000:.0f}"),
        ("m5", lambda then: datetime.fromtimestamp(round(then), UTC).isoformat()),
    ],
    ids=["duration", "seconds", "epoch", "epoch in milliseconds", "date"],
)
def test_a_reset_is_understood_in_any_spelling(instance: Instance, provider: Provider, model: str, spelling: Any) -> None:
    """A quota that is used up is left alone until then, and the 429 says how long that is."""
    then = time.time() + 90
    use_up(instance, provider, model, {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": spelling(then)})
    assert_left_alone(instance, model, "tokens", then)


@pytest.mark.parametrize(
    ("model", "unit", "headers"),
    [
        (
            "m6",
            "tokens",
            lambda _: {"x-ratelimit-remaining-tokens-minute": "0", "x-ratelimit-reset-tokens-minute": "90.03840924263005"},
        ),
        ("m7", "requests", lambda _: {"x-ratelimit-remaining-requests-day": "0", "x-ratelimit-reset-requests-day": "90.0384"}),
        ("m8", "requests", lambda then: {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": f"{then * 1_000:.0f}"}),
        ("m9", "tokens", lambda _: {"x-tokenlimit-remaining": "0", "x-ratelimit-remaining": "9", "x-ratelimit-reset": "90"}),
        ("m10", "requests", lambda _: {"x-ratelimit-remaining-req-minute": "0", "x-ratelimit-reset-req-minute": "90"}),
        (
            "m11",
            "tokens",
            lambda then: {
                "anthropic-ratelimit-output-tokens-remaining": "0",
                "anthropic-ratelimit-output-tokens-reset": datetime.fromtimestamp(round(then), UTC).isoformat(),
            },
        ),
        ("m12", "tokens", lambda _: {"x-ratelimit-remaining-project-tokens": "0", "x-ratelimit-reset-project-tokens": "1m30s"}),
    ],
    ids=["cerebras", "cerebras, by day", "openrouter, moonshot", "together", "mistral", "anthropic", "openai, of a project"],
)
def test_a_quota_is_understood_by_every_name(
    instance: Instance, provider: Provider, model: str, unit: str, headers: Any
) -> None:
    """Whatever a provider calls it: Envoy writes it down, and nobody is sent there until it is whole again."""
    then = time.time() + 90
    use_up(instance, provider, model, headers(then))
    assert_left_alone(instance, model, unit, then)


def test_a_quota_without_a_reset_is_not_waited_for(instance: Instance, provider: Provider) -> None:
    """Nobody said when it is whole again: the next request may be answered, or hear it in a 429."""
    decision = use_up(instance, provider, "m13", {"x-ratelimit-remaining-req-minute": "0"})
    until(lambda: instance.decision(decision)["attempts"][0]["remaining_requests"] == 0)
    assert quota_until(instance, "one/m13") == 0
    assert ask(instance, model="m13").status_code == 200


def use_up(instance: Instance, provider: Provider, model: str, headers: dict[str, str]) -> str:
    """Has the provider say so with a good answer; its decision."""
    provider.headers = headers
    answer = ask(instance, model=model)
    provider.headers = {}
    assert answer.status_code == 200
    return str(answer.headers["x-router-decision"])


def assert_left_alone(instance: Instance, model: str, unit: str, then: float) -> None:
    until(lambda: quota_until(instance, f"one/{model}"))
    refused = until(lambda: next((answer for answer in [ask(instance, model=model)] if answer.status_code != 200), None))
    assert (refused.status_code, refused.json()["error"]["type"]) == (429, unit)
    assert abs(then - time.time() - float(refused.headers["retry-after"])) < 5
