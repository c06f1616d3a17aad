"""Every error is one that OpenAI's clients understand, whoever made it: a worker, Envoy itself, or the provider."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from typing import Any

import openai
import pytest

from tests.end_to_end.running import HELLO, Instance, Simulators

pytestmark = [pytest.mark.end_to_end, pytest.mark.usefixtures("healed")]

LIMIT = 64 << 10
CONFIGURATION = f"""
limits: {{max_body_bytes: {LIMIT}}}
cooling: {{failures: 1000, failure_ratio: 1.0}}
providers:
  healthy: {{base_url: $healthy/v1, models: [gpt-4o]}}
  faulty: {{base_url: $faulty/v1}}
  spare: {{base_url: $spare/v1}}
models:
  faulty-model: {{deployments: [{{provider: faulty}}], tier: economy, capabilities: [tools], context_window: 4000}}
  spare-model: {{deployments: [{{provider: spare}}], tier: economy, capabilities: [tools]}}
routes:
  troubled: {{targets: [faulty-model, spare-model]}}
  hurried: {{targets: [faulty-model], same_tier: false, timeouts: {{deadline: 1s}}}}
  blind: {{targets: [faulty-model, spare-model]}}
  strong: {{targets: [gpt-4o], min_tier: premium}}
"""

CHAT = "/chat/completions"

SIMULATED = {"healthy": {}, "faulty": {}, "spare": {}}


@dataclass(frozen=True)
class Case:
    """One wrong request, and what the SDK makes of the answer. ``words`` must stand in the message."""

    body: Any
    exception: type[openai.APIStatusError]
    status: int
    code: str
    words: str
    path: str = CHAT
    param: str | None = None
    type: str = "invalid_request_error"


def chat(model: Any, **more: Any) -> bytes:
    return json.dumps({"model": model, "messages": HELLO, **more}).encode()


PICTURE = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}]
LONG = [{"role": "user", "content": "many words " * 3_000}]
BAD, MISSING, BROKEN = openai.BadRequestError, openai.NotFoundError, openai.InternalServerError

WORKERS_ANSWER = {
    "unknown model": Case(chat("gpt-4oo"), MISSING, 404, "model_not_found", "Did you mean 'gpt-4o'?", param="model"),
    "unknown model elsewhere": Case(
        b'{"model": "nobody", "input": "x"}', MISSING, 404, "model_not_found", "'nobody'", "/embeddings", "model"
    ),
    "no model": Case(b'{"messages": []}', BAD, 400, "missing_model", "'model'", param="model"),
    "empty model": Case(chat(""), BAD, 400, "missing_model", "'model'", param="model"),
    "model of another type": Case(chat(7), BAD, 400, "invalid_type", "string", param="model"),
    "malformed JSON": Case(b'{"model": "gpt-4o", "messages": [}', BAD, 400, "invalid_json", "not valid JSON"),
    "half of it": Case(chat("gpt-4o")[:-9], BAD, 400, "invalid_json", "not valid JSON"),
    "not an object": Case(b'["gpt-4o"]', BAD, 400, "invalid_json", "object"),
    "not UTF-8": Case(b'{"model": "gpt-4o", "user": "\xff"}', BAD, 400, "invalid_json", "UTF-8"),
    "nothing": Case(b"", BAD, 400, "invalid_json", "JSON"),
    "endless nesting": Case(b'{"model": "gpt-4o", "a": ' + b"[" * 30_000, BAD, 400, "invalid_json", "nested"),
    "unknown path below /v1": Case(chat("gpt-4o"), MISSING, 404, "path_not_found", "/v1/nonsense", "/nonsense"),
    "unknown path without a model": Case(b"{}", MISSING, 404, "path_not_found", "/v1/nonsense", "/nonsense"),
    "missing capability": Case(chat("blind", messages=PICTURE), BAD, 400, "missing_capability", "vision"),
    "prompt too long": Case(
        chat("faulty-model", messages=LONG), BAD, 400, "context_length_exceeded", "4000 tokens", param="messages"
    ),
    "no model is strong enough": Case(chat("strong"), BROKEN, 503, "min_tier_unavailable", "premium", type="server_error"),
}
ENVOYS_ANSWER = {
    "too large": Case(b" " * (LIMIT + 1), openai.APIStatusError, 413, "request_too_large", "limits.max_body_bytes"),
    "outside /v1": Case(chat("gpt-4o"), MISSING, 404, "path_not_found", "POST /other.", "/other?a=%22b"),
    "the root": Case(b"{}", MISSING, 404, "path_not_found", "POST /", "/"),
    "another version": Case(chat("gpt-4o"), MISSING, 404, "path_not_found", "/v2/chat", "/v2/chat/completions"),
}


def refusal(client: openai.OpenAI, path: str, body: bytes) -> openai.APIStatusError:
    """What the SDK raises."""
    options: Any = {"headers": {"content-type": "application/json"}}
    with pytest.raises(openai.APIStatusError) as caught:
        client.post(path, cast_to=object, content=body, options=options)
    return caught.value


def check(error: openai.APIStatusError, case: Case) -> None:
    assert type(error) is case.exception
    assert (error.status_code, error.code, error.type, error.param) == (case.status, case.code, case.type, case.param)
    assert isinstance(error.body, dict)
    assert case.words in error.body["message"]
    assert error.response.headers["content-type"] == "application/json"


@pytest.mark.parametrize("name", WORKERS_ANSWER)
def test_what_a_worker_refuses(client: openai.OpenAI, instance: Instance, simulators: Simulators, name: str) -> None:
    """A request that cannot be routed is refused with the reason, no provider hears of it, and the log keeps it."""
    case = WORKERS_ANSWER[name]
    error = refusal(client, case.path, case.body)
    check(error, case)
    headers = error.response.headers
    assert headers["x-router-reason"] == case.code
    assert not {"x-router-model", "x-router-deployment"} & set(headers), "nobody was called"
    assert simulators.asked() == {}
    record = instance.decision(headers["x-router-decision"])
    assert (record["status"], record["refused"], record["attempts"]) == (case.status, case.code, [])


@pytest.mark.parametrize("name", ENVOYS_ANSWER)
def test_what_envoy_refuses(client: openai.OpenAI, instance: Instance, simulators: Simulators, name: str) -> None:
    """What never reaches a worker is refused in the same shape, with a decision id to ask about."""
    case = ENVOYS_ANSWER[name]
    path = case.path if case.path == CHAT else f"{instance.url}{case.path}"
    error = refusal(client, path, case.body)
    check(error, case)
    assert simulators.asked() == {}
    record = instance.decision(error.response.headers["x-router-decision"])
    assert (record["status"], record["attempts"]) == (case.status, [])


def test_a_form_without_a_model(client: openai.OpenAI, simulators: Simulators) -> None:
    """A form is held to the same: without a model nobody could transcribe it."""
    with pytest.raises(openai.BadRequestError) as caught:
        client.post("/audio/transcriptions", cast_to=object, body={"language": "en"}, files={"file": b"RIFF"})
    assert (caught.value.code, caught.value.param) == ("missing_model", "model")
    assert simulators.asked() == {}


def test_when_to_come_back(client: openai.OpenAI) -> None:
    """Where waiting may help, the refusal says for how long."""
    assert int(refusal(client, CHAT, chat("strong")).response.headers["retry-after"]) >= 1
    assert "retry-after" not in refusal(client, CHAT, chat("nobody")).response.headers


@pytest.mark.parametrize("stream", [False, True])
def test_nobody_is_there(client: openai.OpenAI, instance: Instance, simulators: Simulators, *, stream: bool) -> None:
    """When every connection is refused the client gets 503 after the whole chain, and not where the providers are."""
    simulators.faults("faulty", refuse=True)
    simulators.faults("spare", refuse=True)
    error = refusal(client, CHAT, chat("troubled", stream=stream))
    check(error, Case(None, BROKEN, 503, "upstream_unavailable", "No deployment answered", type="server_error"))
    assert "127.0.0.1" not in str(error.body)
    headers = error.response.headers
    assert headers["x-router-route"] == "troubled"
    assert headers["x-router-attempts"] == "2"
    assert headers["x-router-fallback-from"] == "faulty/faulty-model"
    record = instance.decision(headers["x-router-decision"])
    assert [attempt["cause"] for attempt in record["attempts"]] == ["connect_failure"] * 2


@pytest.mark.parametrize("stream", [False, True])
def test_the_deadline_passes(client: openai.OpenAI, instance: Instance, simulators: Simulators, *, stream: bool) -> None:
    """A provider that stays silent beyond the deadline costs the client 504, not its patience."""
    simulators.faults("faulty", hang="forever")
    error = refusal(client, CHAT, chat("hurried", stream=stream))
    check(error, Case(None, BROKEN, 504, "timeout", "timeout", type="timeout_error"))
    assert error.response.headers["x-router-route"] == "hurried"
    record = instance.decision(error.response.headers["x-router-decision"])
    assert [attempt["cause"] for attempt in record["attempts"]] == ["timeout"]
    assert 900 < record["total_ms"] < 10_000


PROVIDERS_ANSWER: dict[str, tuple[dict[str, Any], type[openai.APIStatusError], str | None]] = {
    "bad request": ({"status": 400}, openai.BadRequestError, None),
    "bad key": ({"status": 401}, openai.AuthenticationError, "invalid_api_key"),
    "forbidden": ({"status": 403}, openai.PermissionDeniedError, None),
    "rate limit": ({"status": 429, "retry_after": 3}, openai.RateLimitError, "rate_limit_exceeded"),
    "quota": ({"status": 429, "error_code": "insufficient_quota"}, openai.RateLimitError, "insufficient_quota"),
    "failure": ({"status": 500}, openai.InternalServerError, None),
    "context length": ({"context_length_exceeded": True}, openai.BadRequestError, "context_length_exceeded"),
}


@pytest.mark.parametrize("name", PROVIDERS_ANSWER)
def test_what_the_last_provider_says_is_passed_on(client: openai.OpenAI, simulators: Simulators, name: str) -> None:
    """When nobody is left to try, the client reads the provider's own words, and when to come back."""
    faults, exception, code = PROVIDERS_ANSWER[name]
    simulators.faults("faulty", **faults)
    error = refusal(client, CHAT, chat("faulty-model"))
    assert type(error) is exception
    if code is not None:
        assert error.code == code
    assert isinstance(error.body, dict)
    assert set(error.body) == {"message", "type", "param", "code"}
    headers = error.response.headers
    assert headers["x-router-deployment"] == "faulty/faulty-model"
    assert headers["x-router-attempts"] == "1"
    assert headers.get("retry-after") == (str(faults["retry_after"]) if "retry_after" in faults else None)


def test_headers_without_end(client: openai.OpenAI) -> None:
    """Headers beyond what Envoy takes are told as such."""
    options: Any = {"headers": {"x-long": "a" * 100_000}}
    with pytest.raises(openai.APIStatusError) as caught:
        client.post(CHAT, cast_to=object, content=chat("gpt-4o"), options=options)
    assert (caught.value.status_code, caught.value.code) == (431, "headers_too_large")


def test_what_is_no_http(instance: Instance) -> None:
    """Bytes that are no HTTP get 400 in OpenAI's shape and a closed connection."""
    with socket.create_connection(("127.0.0.1", instance.port), timeout=10) as connection:
        connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: many\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body)["error"]["code"] == "invalid_request"


def test_an_error_does_not_poison_the_connection(instance: Instance) -> None:
    """After a refusal the same connection serves the next request (after 400 Envoy says that it closes HTTP/1.1's)."""
    pattern = "^http.clients.downstream_cx_total$"
    (before,) = instance.envoy_figures(pattern).values()
    with instance.http() as http:
        for _ in range(3):
            assert http.post("/v1/chat/completions", content=chat("nobody")).status_code == 404
            assert http.post("/v1/chat/completions", content=chat("gpt-4o")).status_code == 200
            assert http.get("/elsewhere").status_code == 404
    (after,) = instance.envoy_figures(pattern).values()
    assert after - before == 1
