"""router.lua in the real Envoy: what it does to each attempt, with tickets written by the test."""

from __future__ import annotations

import httpx
import pytest

from tests.envoyconf.providers import Answer, Providers, failure, stream
from tests.envoyconf.running import Envoy
from tests.envoyconf.tickets import groups, ticket

CHAT = "/v1/chat/completions"
BODY = {"model": "auto", "messages": []}

pytestmark = pytest.mark.end_to_end


def test_path_and_host_are_the_providers(client: httpx.Client, providers: Providers) -> None:
    """The provider sees its own base path, the client's query and its own host."""
    client.post(CHAT + "?trace=1", json=BODY, headers=ticket("b")).raise_for_status()
    (asked,) = providers.asked
    assert asked.path == "/b/v1/chat/completions?trace=1"
    assert asked.headers["host"] == f"127.0.0.1:{providers.port}"


@pytest.mark.parametrize("path", [CHAT, "/elsewhere"])
@pytest.mark.parametrize("deployment", ["b", "refused"])
def test_query_is_not_logged(client: httpx.Client, live: Envoy, path: str, deployment: str) -> None:
    """Some clients carry keys in the query: it reaches the provider and no log."""
    answer = client.post(f"{path}?key=client-canary", json=BODY, headers=ticket(deployment, max_attempts=1))
    line = live.access_log(answer.headers["x-router-decision"])
    assert line["path"] == path
    assert "client-canary" not in str(line) + live.log()


def test_path_is_right_on_every_attempt(client: httpx.Client, providers: Providers) -> None:
    """A later attempt gets its own provider's path, made from the client's path and not from the attempt before."""
    providers.reset(a=failure(503), b=failure(500))
    client.post(CHAT + "?q=1", json=BODY, headers=ticket("a", "b", "c")).raise_for_status()
    assert [asked.path for asked in providers.asked] == [f"/{name}/v1/chat/completions?q=1" for name in "abc"]


def test_body_is_untouched_with_a_ticket(client: httpx.Client, providers: Providers) -> None:
    """Where a worker decided, the body is what the route leg made it."""
    client.post(CHAT, content=b'{"model": "auto" }', headers=ticket("b")).raise_for_status()
    assert providers.asked[0].body == b'{"model": "auto" }'


def test_answer_names_the_attempt_that_gave_it(client: httpx.Client, live: Envoy, providers: Providers) -> None:
    """Headers and access log name deployment, model, attempts and what the request fell back from."""
    providers.reset(a=failure(429))
    answer = client.post(CHAT, json=BODY, headers=ticket("a", "b"))
    named = {name.removeprefix("x-router-"): value for name, value in answer.headers.items() if name.startswith("x-router-")}
    decision = named.pop("decision")
    assert named == {
        "route": "auto", "reason": "test", "model": "model-b", "deployment": "b", "tier": "standard", "attempts": "2",
        "fallback-from": "a", "fallback-cause": "rate_limited",
    }  # fmt: skip
    line = live.access_log(decision)
    assert line["path"] == CHAT
    assert (line["deployment"], line["fallback_from"], line["cause"], line["attempts"]) == ("b", "a", "rate_limited", 2)
    assert line["degraded"] is None


def test_answer_without_attempt_names_nobody(client: httpx.Client, providers: Providers) -> None:
    """An answer for which no provider was called has a decision id and no deployment."""
    answer = client.post("/v2/models", content=b"x" * 100)
    assert answer.status_code == 404
    assert answer.headers["x-router-decision"]
    assert "x-router-deployment" not in answer.headers
    assert not providers.asked


@pytest.mark.parametrize("more", [{"wildcard": "blue"}, {"first": "any-blue"}])
def test_wildcard_model_is_named_as_it_was_asked_for(client: httpx.Client, more: dict[str, str]) -> None:
    """The header names the model that the client asked for, not the pattern that its deployment serves."""
    answer = client.post(CHAT, json=BODY, headers=ticket("wild", **more))
    assert answer.headers["x-router-model"] == "any-blue"


@pytest.mark.parametrize("unreachable", ["refused", "unresolvable"])
def test_unreachable_provider_is_left_for_the_next(client: httpx.Client, live: Envoy, unreachable: str) -> None:
    """A refused connection and a name that does not resolve both move on; the cause says that no answer came."""
    answer = client.post(CHAT, json=BODY, headers=ticket(unreachable, "b"))
    assert answer.status_code == 200
    assert answer.headers["x-router-fallback-from"] == unreachable
    line = live.access_log(answer.headers["x-router-decision"])
    assert (line["cause"], line["path"]) == ("no_answer", CHAT)


class TestCauses:
    def test_cause_has_a_chain_of_its_own(self, client: httpx.Client, providers: Providers) -> None:
        """After a 429 the groups for that cause are tried, not the route's."""
        providers.reset(a=failure(429))
        after = {"rate_limited": groups("c")}
        client.post(CHAT, json=BODY, headers=ticket("a", "b", after=after)).raise_for_status()
        assert providers.names() == ["a", "c"]

    def test_other_cause_follows_the_route(self, client: httpx.Client, providers: Providers) -> None:
        """A 5xx without groups of its own goes on with the route's chain."""
        providers.reset(a=failure(500))
        client.post(CHAT, json=BODY, headers=ticket("a", "b", after={"rate_limited": groups("c")})).raise_for_status()
        assert providers.names() == ["a", "b"]

    def test_groups_already_tried_are_not_tried_again(self, client: httpx.Client, providers: Providers) -> None:
        """A cause's groups leave out what was tried; when none is left the answer stands."""
        providers.reset(a=failure(429), b=failure(429))
        after = {"rate_limited": groups("a", "b")}
        answer = client.post(CHAT, json=BODY, headers=ticket("a", "c", after=after))
        assert providers.names() == ["a", "b"]
        assert answer.status_code == 429

    def test_causes_follow_one_another(self, client: httpx.Client, providers: Providers) -> None:
        """A later failure for another cause goes on with that cause's groups."""
        providers.reset(a=failure(429), c=failure(503))
        after = {"rate_limited": groups("c", "b"), "server_error": groups("d")}
        client.post(CHAT, json=BODY, headers=ticket("a", after=after)).raise_for_status()
        assert providers.names() == ["a", "c", "d"]

    def test_context_length_moves_on(self, client: httpx.Client, providers: Providers) -> None:
        """A 400 that says the prompt is too long goes to the groups for that cause, with the body of the request."""
        providers.reset(a=failure(400, "context_length_exceeded"))
        after = {"context_length": groups("c")}
        client.post(CHAT, json=BODY, headers=ticket("a", "b", after=after)).raise_for_status()
        assert providers.names() == ["a", "c"]
        assert providers.asked[0].body == providers.asked[1].body

    @pytest.mark.parametrize("status", [401, 402, 403])
    def test_a_refused_key_moves_on(self, client: httpx.Client, providers: Providers, status: int) -> None:
        """Our key is not the caller's fault: another deployment is tried, and the last one's refusal stands."""
        providers.reset(a=failure(status, "invalid_api_key"))
        answer = client.post(CHAT, json=BODY, headers=ticket("a", "b"))
        assert answer.status_code == 200
        assert providers.names() == ["a", "b"]
        assert client.post(CHAT, json=BODY, headers=ticket("a")).status_code == status

    def test_context_length_of_the_last_stays_a_400(self, client: httpx.Client, providers: Providers) -> None:
        """When nothing is left to try the client reads the provider's own 400."""
        providers.reset(a=failure(400, "context_length_exceeded", message="too long"))
        answer = client.post(CHAT, json=BODY, headers=ticket("a"))
        assert (answer.status_code, answer.json()["error"]["message"]) == (400, "too long")

    def test_other_400_is_the_callers(self, client: httpx.Client, providers: Providers) -> None:
        """A 400 of the caller's making is passed on at once."""
        providers.reset(a=failure(400, "invalid_value"))
        assert client.post(CHAT, json=BODY, headers=ticket("a", "b")).status_code == 400
        assert providers.names() == ["a"]


class TestLastAnswer:
    @pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 529])
    def test_last_failure_is_the_providers_own(self, client: httpx.Client, providers: Providers, status: int) -> None:
        """With no group left the client gets the provider's status and body, and no control header of ours."""
        providers.reset(a=failure(status, message="own words", headers=(("retry-after", "7"),)))
        answer = client.post(CHAT, json=BODY, headers=ticket("a", max_attempts=4))
        assert (answer.status_code, answer.json()["error"]["message"]) == (status, "own words")
        assert answer.headers["retry-after"] == "7"
        assert not [name for name in answer.headers if name.startswith("x-envoy")]
        assert providers.names() == ["a"]

    def test_attempts_are_bounded(self, client: httpx.Client, providers: Providers) -> None:
        """The ticket's number of attempts bounds the chain."""
        providers.reset(a=failure(500), b=failure(500), c=failure(500))
        answer = client.post(CHAT, json=BODY, headers=ticket("a", "b", "c", max_attempts=2))
        assert (answer.status_code, providers.names()) == (500, ["a", "b"])

    def test_slow_failure_is_not_retried(self, client: httpx.Client, providers: Providers) -> None:
        """An answer that took longer to fail than the route allows is the last."""
        providers.reset(a=failure(503, wait=0.4))
        answer = client.post(CHAT, json=BODY, headers=ticket("a", "b", retry_within_ms=200))
        assert (answer.status_code, providers.names()) == (503, ["a"])

    def test_nothing_starts_after_the_deadline(self, client: httpx.Client, providers: Providers) -> None:
        """A stream whose attempts used up the deadline gets a 504 in OpenAI's shape instead of another attempt."""
        providers.reset(a=stream(wait=3), b=stream(wait=3), c=stream(b"data: [DONE]\n\n"))
        limits = {"deadline_ms": 700, "attempt_timeout_ms": 400, "stream": True}
        answer = client.post(CHAT, json=BODY, headers=ticket("a", "b", "c", **limits))
        assert answer.status_code == 504
        error = answer.json()["error"]
        assert (error["code"], error["type"], answer.headers["x-router-attempts"]) == (
            "deadline_exceeded",
            "timeout_error",
            "1",
        )
        # The second attempt could have ended at 800 ms.
        assert providers.names() == ["a"]

    def test_exhausted_chain_is_refused(self, client: httpx.Client) -> None:
        """When Envoy would repeat the last group, the attempt is refused in OpenAI's shape."""
        answer = client.post(CHAT, json=BODY, headers=ticket("refused", max_attempts=3))
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "chain_exhausted")
        assert (answer.headers["x-router-deployment"], answer.headers["x-router-attempts"]) == ("refused", "1")


class TestStreams:
    DONE = b"data: [DONE]\n\n"
    EVENT = b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n'

    def ask(self, client: httpx.Client, path: str = CHAT) -> bytes:
        answer = client.post(path, json=BODY | {"stream": True}, headers=ticket("a", stream=True))
        assert answer.status_code == 200
        return answer.content

    def test_complete_stream_is_left_alone(self, client: httpx.Client, providers: Providers) -> None:
        """A stream that ends with its last event passes byte for byte."""
        providers.reset(a=stream(self.EVENT, self.DONE))
        assert self.ask(client) == self.EVENT + self.DONE

    @pytest.mark.parametrize("split", range(1, len(DONE) - 2))
    def test_last_event_may_come_in_pieces(self, client: httpx.Client, providers: Providers, split: int) -> None:
        """Wherever the network cuts the last event, it is recognised."""
        providers.reset(a=stream(self.EVENT, self.DONE[:split], self.DONE[split:], pause=0.01))
        assert self.ask(client) == self.EVENT + self.DONE

    def test_stream_that_ends_early_says_so(self, client: httpx.Client, providers: Providers) -> None:
        """A stream that ends cleanly without its last event gets an error event that SDKs raise."""
        providers.reset(a=stream(self.EVENT))
        content = self.ask(client)
        assert content.startswith(self.EVENT + b'data: {"error":{"message":')
        assert content.endswith(b'"code":"stream_incomplete"}}\n\n')

    def test_half_an_event_is_ended_first(self, client: httpx.Client, providers: Providers) -> None:
        """The error event is an event of its own also when the provider stopped inside one."""
        providers.reset(a=stream(self.EVENT, b'data: {"choi'))
        assert b'data: {"choi\n\ndata: {"error":' in self.ask(client)

    def test_done_inside_a_text_is_not_the_end(self, client: httpx.Client, providers: Providers) -> None:
        """A model that writes about streams does not end its own."""
        told = b'data: {"choices":[{"delta":{"content":"\\ndata: [DONE]\\n"}}]}\n\n'
        providers.reset(a=stream(told))
        assert b"stream_incomplete" in self.ask(client)

    @pytest.mark.parametrize("ending", [b"data:[DONE]\n\n", b"\r\ndata: [DONE]\r\n\r\n"])
    def test_other_spellings_of_the_end(self, client: httpx.Client, providers: Providers, ending: bytes) -> None:
        """Without the blank, or with Windows line ends, it is the end all the same."""
        providers.reset(a=stream(self.EVENT + ending))
        assert self.ask(client) == self.EVENT + ending

    def test_length_of_a_stream_does_not_hide_the_event(self, client: httpx.Client, providers: Providers) -> None:
        """A stream sent under a content-length can be added to."""
        providers.reset(a=stream(self.EVENT, length=True))
        assert b"stream_incomplete" in self.ask(client)

    def test_other_apis_end_otherwise(self, client: httpx.Client, providers: Providers) -> None:
        """Streams of APIs without [DONE] are left alone."""
        providers.reset(a=stream(self.EVENT))
        assert self.ask(client, "/v1/responses") == self.EVENT

    def test_compressed_stream_is_left_alone(self, client: httpx.Client, providers: Providers) -> None:
        """What cannot be read is not judged."""
        providers.reset(a=Answer((self.EVENT,), headers=(("content-type", "text/event-stream"), ("content-encoding", "x-own"))))
        assert self.ask(client) == self.EVENT


class TestWithoutTicket:
    """The listener's default chain is a, then b."""

    def ask(self, client: httpx.Client, body: bytes, **headers: str) -> httpx.Response:
        return client.post(CHAT, content=body, headers={"content-type": "application/json"} | headers)

    def test_model_is_the_providers_own(self, client: httpx.Client, live: Envoy, providers: Providers) -> None:
        """Nobody decided: the provider gets a model that it knows, and the answer and the log say so."""
        answer = self.ask(client, b'{"model":"auto","messages":[]}')
        assert providers.asked[0].body == b'{"model":"vendor-a","messages":[]}'
        assert answer.headers["x-router-degraded"] == "router-unavailable"
        assert answer.headers["x-router-reason"] == "default_chain"
        line = live.access_log(answer.headers["x-router-decision"])
        assert (line["degraded"], line["route"], line["deployment"]) == ("router-unavailable", "default", "a")

    def test_every_attempt_has_its_own_model(self, client: httpx.Client, providers: Providers) -> None:
        """A fallback of the default chain is written from the client's body, not from the attempt before."""
        providers.reset(a=failure(503))
        self.ask(client, b'{"model":"auto"}').raise_for_status()
        assert [asked.body for asked in providers.asked] == [b'{"model":"vendor-a"}', b'{"model":"vendor-b"}']

    @pytest.mark.parametrize(
        ("body", "expected"),
        [
            (b'{"messages":[{"model":"no"}],"model":"x"}', b'{"messages":[{"model":"no"}],"model":"vendor-a"}'),
            (b' {"a":"\\"model\\":\\"no\\"" , "model" :\n"x" }', b' {"a":"\\"model\\":\\"no\\"" , "model" :\n"vendor-a" }'),
            (b'{"a":"\\\\","model":"x\\"y"}', b'{"a":"\\\\","model":"vendor-a"}'),
            (b'{"a":{"b":{"model":1}},"c":["model"],"model":""}', b'{"a":{"b":{"model":1}},"c":["model"],"model":"vendor-a"}'),
            (b'{"a":"model","model":"x"}', b'{"a":"model","model":"vendor-a"}'),
            (b'{"a":"}","b":"{[","model":"x"}', b'{"a":"}","b":"{[","model":"vendor-a"}'),
            (b'{"model":null}', b'{"model":null}'),
            (b'{"messages":[]}', b'{"messages":[]}'),
            (b'["model","x"]', b'["model","x"]'),
            (b'{"model":"x', b'{"model":"x'),
            (b"not json", b"not json"),
        ],
    )  # fmt: skip
    def test_only_the_top_level_model_is_replaced(
        self, client: httpx.Client, providers: Providers, body: bytes, expected: bytes
    ) -> None:
        """Every other byte stays, however the JSON is written."""
        self.ask(client, body)
        assert providers.asked[0].body == expected
        assert providers.asked[0].headers["content-length"] == str(len(expected))

    @pytest.mark.parametrize("mebibytes", [5, 20])
    def test_large_body(self, client: httpx.Client, providers: Providers, mebibytes: int) -> None:
        """Large bodies, with quotes and brackets inside their strings, take a moment and no more."""
        filling = (b'\\"model\\": [{' * 20 + b"A" * 10_000) * (mebibytes * 100)
        body = b'{"messages":[{"content":"' + filling[: mebibytes << 20].rstrip(b"\\") + b'"}],"model":"auto"}'
        answer = self.ask(client, body)
        assert answer.status_code == 200
        assert providers.asked[0].body == body[:-6] + b'vendor-a"}'
        assert answer.elapsed.total_seconds() < 5

    def test_request_without_body(self, client: httpx.Client, providers: Providers) -> None:
        """A GET passes."""
        client.get("/v1/files").raise_for_status()
        assert (providers.asked[0].method, providers.asked[0].path) == ("GET", "/a/v1/files")
