"""Admission through the real Envoy: who gets in, what is set aside, what clients, providers and logs are told of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import openai
import pytest

from router_extproc.account import decode_account
from router_extproc.limits.identity import digest_of
from tests.end_to_end.running import CHAT, HELLO, Instance, Simulators, running, until

pytestmark = pytest.mark.end_to_end


def secret(name: str) -> str:
    return f"sk-router-{name}.not-so-secret-canary"


def key(name: str, more: str) -> str:
    return f'  {name}: {{tenant: acme, digest: "{digest_of(secret(name), b"0123456789abcdef")}", {more}}}\n'


# An output token costs a micro-dollar from the small model and ten from the large one.
CONFIGURATION = (
    """
providers:
  one: {base_url: $one/v1}
  two: {base_url: $two/v1}
  mute: {base_url: $mute/v1}
models:
  mute: {deployments: [{provider: mute}]}
  small: {tier: economy, deployments: [{provider: one}], prices: {input: 0, output: 1}, output_limit: 1000}
  large: {tier: premium, deployments: [{provider: two}], prices: {input: 0, output: 10}, output_limit: 1000}
routes:
  either: {targets: [large, small], same_tier: false}
  checked: {targets: [mute, small], same_tier: false}
defaults: {check: {answer: true}}
auth: {mode: keys}
tenants:
  acme: {tier: gold, features: [beta], tags: {project: apollo}}
keys:
"""
    + key("open", "user: ann")
    + key("poor", "budgets: {pocket: {usd: 0.000290, window: month}}")
    + key("waning", "budgets: {purse: {usd: 0.010000, window: month, downgrade_at: 0.5}}")
    + key("rare", "budgets: {pace: {requests: 2, window: {rolling: 1h}}}")
    + key("wordy", "budgets: {words: {tokens: 300, window: {rolling: 1m}}, pace: {requests: 50, window: {rolling: 1m}}}")
    + key("narrow", "permissions: {models: [small], max_output_tokens: 20}")
    + key("gone", "revoked: 2020-01-01")
)


class Speechless(BaseHTTPRequestHandler):
    """A provider that says nothing and counts tokens for it."""

    def do_POST(self) -> None:
        """One empty answer."""
        self.rfile.read(int(self.headers["content-length"]))
        answer = json.dumps({"choices": [{"message": {"content": ""}}], "usage": {"prompt_tokens": 9, "completion_tokens": 7}})
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer.encode())

    def log_message(self, *_: Any) -> None:
        """Says nothing here either."""


@pytest.fixture(scope="module")
def simulators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulators]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Speechless) as speechless:
        threading.Thread(target=speechless.serve_forever, daemon=True).start()
        started = Simulators(tmp_path_factory.mktemp("simulators"), {"one": {}, "two": {}})
        started.ports["mute"] = speechless.server_port
        yield started
        started.stop()
        speechless.shutdown()


@pytest.fixture(scope="module")
def instance(simulators: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """One instance; the provider that is none of the simulators' is theirs no longer."""
    configuration = simulators.fill(CONFIGURATION)
    del simulators.ports["mute"]
    with running(Instance(tmp_path_factory.mktemp("instance"), configuration)) as started:
        yield started


def bearer(name: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret(name)}"}


def ask(instance: Instance, name: str, model: str = "small", **body: Any) -> httpx.Response:
    return instance.ask(model, headers=bearer(name), **{"max_tokens": 100} | body)


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer nonsense"}, {"authorization": f"Bearer {secret('gone')}"}])
def test_without_a_valid_key_there_is_a_401(instance: Instance, simulators: Simulators, headers: dict[str, str]) -> None:
    """For every path, in OpenAI's shape, and no provider hears of it."""
    simulators.heal()
    with instance.http(headers=headers) as http:
        for answer in (http.post(CHAT, json={"model": "small", "messages": HELLO}), http.get("/v1/models")):
            assert answer.status_code == 401
            assert answer.json()["error"].keys() == {"message", "type", "param", "code"}
    assert simulators.asked() == {}


def test_each_way_to_show_a_key_is_good(instance: Instance) -> None:
    """Bearer, ``api-key`` and ``x-api-key``, and none of them reaches the provider."""
    for name in ("api-key", "x-api-key"):
        answer = instance.ask("small", headers={name: secret("open")})
        assert answer.status_code == 200, answer.text
    with instance.client(api_key=secret("open")) as client:
        assert client.chat.completions.create(model="small", messages=HELLO).choices


def test_a_model_beyond_the_permissions_is_a_403(instance: Instance) -> None:
    """The SDK raises its own exception; the list of models shows what is allowed."""
    with instance.client(api_key=secret("narrow")) as client:
        with pytest.raises(openai.PermissionDeniedError):
            client.chat.completions.create(model="large", messages=HELLO)
        names = {model.id for model in client.models.list()}
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("large")
    assert "small" in names
    assert "large" not in names


def test_a_limit_on_answers_reaches_the_provider(instance: Instance, simulators: Simulators) -> None:
    """The caller may have no longer answer than allowed, whatever it asks for."""
    simulators.heal()
    assert ask(instance, "narrow", max_tokens=500).status_code == 200
    assert simulators.bodies("one")[-1]["max_tokens"] == 20


def test_the_log_says_who_asked_and_what_is_to_be_settled(instance: Instance) -> None:
    """Tenant, tier and features as proved, although the client claims others; the account is whole."""
    claims = {"x-router-tenant": "rich", "x-router-user": "root", "x-router-peer": "spiffe://x", **bearer("open")}
    answer = instance.ask("small", headers=claims)
    logged = instance.access_line(answer.headers["x-router-decision"])
    assert logged["caller"] == {
        "tenant": "acme",
        "team": "",
        "user": "ann",
        "key": "open",
        "tier": "gold",
        "features": ["beta"],
        "tags": {"project": "apollo"},
    }
    account = decode_account(logged["account"])
    assert (account.tenant, account.user, account.reservation) == ("acme", "ann", logged["decision"])
    assert secret("open") not in json.dumps(logged)


def test_a_budget_is_told_shortens_the_last_answer_and_then_refuses(instance: Instance, simulators: Simulators) -> None:
    """While requests are under way what they may cost is set aside: the last that fits is shortened to what is left."""
    simulators.heal()
    simulators.faults("one", stall_after_tokens=3)
    with ExitStack() as under_way:
        answers = [under_way.enter_context(instance.begun("small", bearer("poor"), max_tokens=100)) for _ in range(3)]
        refused = ask(instance, "poor")
    simulators.heal()
    assert [answer.headers["x-router-budget-remaining"] for answer in answers] == ["0.000190", "0.000090", "0.000000"]
    assert answers[-1].headers["x-router-reason"] == "named+max-tokens-lowered:key:poor:pocket"
    assert (refused.status_code, refused.headers["x-should-retry"]) == (429, "false")
    assert refused.json()["error"]["code"] == "budget_exceeded"
    assert "pocket" in refused.json()["error"]["message"]


def test_near_the_cap_a_cheaper_model_answers(instance: Instance, simulators: Simulators) -> None:
    """From half of the cap on, as this budget wishes; the reason names it, and the client gets its answer."""
    simulators.heal()
    simulators.faults("two", stall_after_tokens=3)
    with instance.begun("either", bearer("waning"), max_tokens=500) as dear:
        cheap = ask(instance, "waning", "either")
        assert dear.headers["x-router-model"] == "large"
    simulators.heal()
    assert cheap.headers["x-router-model"] == "small"
    assert cheap.headers["x-router-reason"] == "ordered+budget-downgrade:key:waning:purse"


def test_a_limit_on_requests_is_told_as_openai_tells_its_own(instance: Instance) -> None:
    """Remaining and reset on answers; 429 with the true time to come back, and no quick retry by the SDK."""
    first = ask(instance, "rare")
    assert (first.headers["x-ratelimit-limit-requests"], first.headers["x-ratelimit-remaining-requests"]) == ("2", "1")
    assert ask(instance, "rare").status_code == 200
    with instance.client(api_key=secret("rare"), max_retries=2) as client, pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(model="small", messages=HELLO)
    headers = caught.value.response.headers
    assert headers["x-should-retry"] == "false"
    # Once both are settled it is known when they leave the window.
    until(lambda: 3_000 < int(ask(instance, "rare").headers["retry-after"]) <= 3_700)
    assert caught.value.code == "rate_limit_exceeded"


def test_limits_on_tokens_and_requests_are_told_side_by_side(instance: Instance, simulators: Simulators) -> None:
    """Each answer tells of both what is left after itself. At the end of the tokens it is they that refuse, and say so, while
    requests are left.
    """
    simulators.heal()
    simulators.faults("one", tokens=100)
    first = ask(instance, "wordy")
    held = {
        one.unit: one.amount for one in decode_account(instance.access_line(first.headers["x-router-decision"])["account"]).held
    }
    told = {name: value for name, value in first.headers.items() if name.startswith("x-ratelimit-")}
    resets = {told.pop(f"x-ratelimit-reset-{unit}") for unit in ("requests", "tokens")}
    assert resets <= {"1m0s", "1m1s"}
    assert told == {
        "x-ratelimit-limit-requests": "50",
        "x-ratelimit-remaining-requests": "49",
        "x-ratelimit-limit-tokens": "300",
        "x-ratelimit-remaining-tokens": str(300 - held["tokens"]),
    }
    answers = [first]
    while answers[-1].status_code == 200:
        answers.append(ask(instance, "wordy"))
    *passed, refused = answers
    # Less than the refused one would need; it set nothing aside, so this is what is not settled yet.
    assert 0 <= int(refused.headers["x-ratelimit-remaining-tokens"]) < held["tokens"]
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["type"]) == (429, "rate_limit_exceeded", "tokens")
    assert "words" in error["message"]
    assert refused.headers["x-ratelimit-remaining-requests"] == str(50 - len(passed))
    assert (refused.headers["x-ratelimit-limit-tokens"], refused.headers["x-should-retry"]) == ("300", "false")
    assert 0 < int(refused.headers["retry-after"]) <= 62
    simulators.heal()


def test_what_the_judge_turned_down_is_billed_by_attempt(instance: Instance) -> None:
    """The log has what the first provider counted, beside what the answer of the second one used."""
    answer = ask(instance, "open", "checked")
    assert answer.status_code == 200, answer.text
    logged = instance.access_line(answer.headers["x-router-decision"])
    assert logged["attempts"] == 2
    assert logged["billed"] == {"1": {"prompt_tokens": 9, "completion_tokens": 7, "cached_tokens": 0}}
    assert logged["completion_tokens"] > 0


def test_what_the_judge_turned_down_last_is_billed_too(instance: Instance) -> None:
    """The client gets an honest error, and somebody pays all the same."""
    answer = ask(instance, "open", "mute")
    assert answer.status_code == 502, answer.text
    assert instance.access_line(answer.headers["x-router-decision"])["billed"]["1"]["completion_tokens"] == 7


def test_a_stream_is_settled_by_its_usage_which_its_client_never_sees(instance: Instance, simulators: Simulators) -> None:
    """The provider is asked for it; a client that did not ask gets the stream as it always was, and one that did gets it."""
    simulators.heal()
    plain = ask(instance, "open", stream=True)
    asked = ask(instance, "open", stream=True, stream_options={"include_usage": True})
    assert [body["stream_options"] for body in simulators.bodies("one")] == [{"include_usage": True}] * 2
    assert ('"usage":{' in plain.text.replace(" ", ""), '"usage":{' in asked.text.replace(" ", "")) == (False, True)
    assert plain.text.endswith("data: [DONE]\n\n")
    used = [instance.access_line(answer.headers["x-router-decision"])["completion_tokens"] for answer in (plain, asked)]
    assert used[0] == used[1] > 0
