"""What clients meet: limits, what of their headers goes where, large bodies and answers."""

from __future__ import annotations

import json

import httpx
import pytest

from router_extproc.envoyconf.layout import Layout
from router_extproc.envoyconf.listener import CLIENT_CREDENTIALS, build_listener
from tests.envoyconf.providers import Answer, Providers, stream
from tests.envoyconf.running import Envoy
from tests.envoyconf.samples import Folders, configuration
from tests.envoyconf.tickets import ticket

CHAT = "/v1/chat/completions"


def test_plain_listener_has_no_transport_socket(folders: Folders) -> None:
    """Without a certificate the listener speaks plain HTTP."""
    listener = build_listener(configuration(), Layout.of(folders, 1))
    assert "transport_socket" not in listener["filter_chains"][0]


def test_buffers_hold_the_largest_body_and_answer(folders: Folders) -> None:
    """The connection's buffer is never smaller than the largest body that the limits allow."""
    config = configuration({"limits": {"max_body_bytes": "100MiB"}})
    assert build_listener(config, Layout.of(folders, 1))["per_connection_buffer_limit_bytes"] > 100 << 20


@pytest.mark.end_to_end
class TestHeaders:
    def test_client_credentials_stop_here(self, client: httpx.Client, providers: Providers) -> None:
        """No provider sees what the client identifies itself with; it sees its own key instead."""
        own = dict.fromkeys((*CLIENT_CREDENTIALS, "x-router-tags", "x-router-model"), "client-canary")
        client.post(CHAT, json={}, headers=own | ticket("a")).raise_for_status()
        client.post(CHAT, json={}, headers=own | ticket("b")).raise_for_status()
        with_key, without_key = (asked.headers for asked in providers.asked)
        assert "client-canary" not in json.dumps([with_key, without_key])
        assert with_key["authorization"] == "Bearer sk-canary-of-a"
        assert "authorization" not in without_key

    def test_control_headers_are_not_the_clients(self, client: httpx.Client, providers: Providers) -> None:
        """A client can neither steer Envoy's router nor choose the decision's id."""
        forged = {
            "x-envoy-max-retries": "9",
            "x-envoy-retry-on": "retriable-4xx",
            "x-envoy-upstream-rq-timeout-ms": "1",
            "x-envoy-original-path": "/forged",
            "x-envoy-ratelimited": "true",
            "x-forwarded-for": "10.0.0.1",
            "x-forwarded-proto": "https",
            "x-request-id": "forged",
        }
        providers.reset(a=Answer(status=409, wait=0.1))
        answer = client.post(CHAT, json={}, headers=forged | ticket("a", "b"))
        assert answer.status_code == 409
        assert answer.headers["x-router-decision"] != "forged"
        (asked,) = providers.asked
        assert asked.headers["x-request-id"] == answer.headers["x-router-decision"]
        known = {"x-request-id", "x-envoy-attempt-count"}
        assert {name for name in asked.headers if name.startswith("x-")} == known

    def test_answers_come_uncompressed(self, client: httpx.Client, providers: Providers) -> None:
        """Whatever the client accepts, the provider is asked not to compress."""
        client.post(CHAT, json={}, headers=ticket("b") | {"accept-encoding": "gzip, br"})
        assert providers.asked[0].headers["accept-encoding"] == "identity"

    def test_provider_cannot_speak_for_the_router(self, client: httpx.Client, providers: Providers) -> None:
        """Headers of a provider that steer Envoy, claim to be ours or belong to its own host do not reach the client."""
        foreign = (
            ("x-router-model", "forged"),
            ("x-router-cause", "forged"),
            ("x-envoy-ratelimited", "true"),
            ("set-cookie", "a=b"),
            ("alt-svc", 'h3=":443"'),
            ("x-ratelimit-remaining-requests", "7"),
            ("content-type", "application/json"),
        )
        providers.reset(a=Answer(status=429, headers=foreign))
        answer = client.post(CHAT, json={}, headers=ticket("a", "b"))
        assert (answer.status_code, providers.names()) == (200, ["a", "b"])
        providers.reset(a=Answer(headers=foreign))
        answer = client.post(CHAT, json={}, headers=ticket("a"))
        assert answer.headers["x-router-model"] == "model-a"
        assert answer.headers["x-ratelimit-remaining-requests"] == "7"
        assert not {"set-cookie", "alt-svc", "x-router-cause", "x-envoy-ratelimited"} & set(answer.headers)

    def test_limits_and_budgets_are_told(self, client: httpx.Client, live: Envoy, providers: Providers) -> None:
        """What the worker says of the router's own limits takes the place of what the provider says of its limits."""
        limits = (
            ("x-ratelimit-limit-requests", "9"),
            ("x-ratelimit-limit-tokens", "900"),
            ("content-type", "application/json"),
        )
        providers.reset(a=Answer(headers=limits))
        told = {"x-ratelimit-limit-requests": "5", "x-ratelimit-remaining-requests": "4", "x-ratelimit-reset-requests": "1m0s"}
        own = {"budget_remaining": "12.345678", "degraded": "store-unavailable", **told}
        answer = client.post(CHAT, json={}, headers=ticket("a", metadata={"router.request": own}))
        assert {name: answer.headers[name] for name in told} == told
        assert answer.headers.get_list("x-ratelimit-limit-requests") == ["5"]
        assert answer.headers["x-ratelimit-limit-tokens"] == "900"
        assert answer.headers["x-router-budget-remaining"] == "12.345678"
        assert answer.headers["x-router-degraded"] == "store-unavailable"
        assert live.access_log(answer.headers["x-router-decision"])["degraded"] == "store-unavailable"

    def test_other_headers_pass(self, client: httpx.Client, providers: Providers) -> None:
        """What is neither ours nor a credential reaches the provider."""
        client.post(CHAT, json={}, headers=ticket("b") | {"openai-beta": "x", "x-simulate": "y"})
        assert (providers.asked[0].headers["openai-beta"], providers.asked[0].headers["x-simulate"]) == ("x", "y")


@pytest.mark.end_to_end
class TestSizes:
    @pytest.mark.parametrize("size", [0, 1, 32_769, 1 << 20, 20 << 20])
    def test_body_passes_with_its_length(self, client: httpx.Client, providers: Providers, size: int) -> None:
        """A body of any size within the limit is decided and reaches the provider whole, under its content-length."""
        body = b"x" * size
        answer = client.post("/v1/files", content=body, headers=ticket("b"))
        assert answer.headers["x-router-reason"] == "test"
        assert providers.asked[0].body == body
        assert providers.asked[0].headers["content-length"] == str(size)

    def test_chunked_body_gets_a_length(self, client: httpx.Client, providers: Providers) -> None:
        """Providers that refuse chunked bodies get none, however the client sent it."""
        client.post("/v1/files", content=iter([b"ab", b"cd"]), headers=ticket("b")).raise_for_status()
        assert providers.asked[0].headers["content-length"] == "4"
        assert "transfer-encoding" not in providers.asked[0].headers

    def test_large_body_moves_on(self, client: httpx.Client, providers: Providers) -> None:
        """A large body is kept for the next attempt."""
        providers.reset(a=Answer(status=503))
        body = b"x" * (20 << 20)
        client.post("/v1/files", content=body, headers=ticket("a", "b")).raise_for_status()
        assert [len(asked.body) for asked in providers.asked] == [len(body)] * 2

    @pytest.mark.parametrize("size", [6 << 20, 64 << 20])
    def test_large_answer(self, client: httpx.Client, providers: Providers, size: int) -> None:
        """A large JSON answer, which is held whole to read its token counts, passes."""
        text = b'{"data":"' + b"x" * (size - 11) + b'"}'
        providers.reset(b=Answer((text,), length=True))
        answer = client.post(CHAT, json={}, headers=ticket("b"))
        assert (answer.status_code, len(answer.content)) == (200, size)
        assert answer.content == text


@pytest.mark.end_to_end
class TestUsage:
    USAGE = b'"usage":{"prompt_tokens":7,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":2}}'

    def test_plain_answer(self, client: httpx.Client, live: Envoy, providers: Providers) -> None:
        """The token counts of a plain answer reach the log."""
        providers.reset(b=Answer((b'{"choices":[],' + self.USAGE + b"}",)))
        answer = client.post(CHAT, json={}, headers=ticket("b"))
        line = live.access_log(answer.headers["x-router-decision"])
        assert (line["prompt_tokens"], line["completion_tokens"]) == (7, 3)

    def test_stream(self, client: httpx.Client, live: Envoy, providers: Providers) -> None:
        """The token counts of a stream reach the log, also behind an event larger than Envoy's default of 8 KiB."""
        large = b'data: {"choices":[{"delta":{"content":"' + b"x" * 20_000 + b'"}}]}\n\n'
        usage = b'data: {"choices":[],' + self.USAGE + b"}\n\n"
        providers.reset(b=stream(large, usage, b"data: [DONE]\n\n"))
        answer = client.post(CHAT, json={}, headers=ticket("b", stream=True))
        line = live.access_log(answer.headers["x-router-decision"])
        assert (line["prompt_tokens"], line["completion_tokens"]) == (7, 3)

    RESPONSE = b'"usage":{"input_tokens":7,"input_tokens_details":{"cached_tokens":2},"output_tokens":3,"total_tokens":10}'

    def test_plain_response(self, client: httpx.Client, live: Envoy, providers: Providers) -> None:
        """The Responses API counts in words of its own."""
        providers.reset(b=Answer((b'{"object":"response",' + self.RESPONSE + b"}",)))
        answer = client.post("/v1/responses", json={}, headers=ticket("b"))
        line = live.access_log(answer.headers["x-router-decision"])
        assert (line["prompt_tokens"], line["completion_tokens"]) == (7, 3)

    def test_streamed_response(self, client: httpx.Client, live: Envoy, providers: Providers) -> None:
        """Its stream ends with the whole response, counts included; before that there are none."""
        started = b'event: response.created\ndata: {"type":"response.created","response":{"usage":null}}\n\n'
        last = b'event: response.completed\ndata: {"type":"response.completed","response":{' + self.RESPONSE + b"}}\n\n"
        providers.reset(b=stream(started, last))
        answer = client.post("/v1/responses", json={}, headers=ticket("b", stream=True))
        line = live.access_log(answer.headers["x-router-decision"])
        assert (line["prompt_tokens"], line["completion_tokens"], line["total_tokens"]) == (7, 3, 10)
