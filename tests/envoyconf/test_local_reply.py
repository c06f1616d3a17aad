"""Errors that Envoy makes itself have the shape of OpenAI's."""

from __future__ import annotations

import socket

import httpx
import pytest

from tests.envoyconf.providers import HANG_UP, Answer, Providers, stream
from tests.envoyconf.running import Envoy
from tests.envoyconf.tickets import ticket

CHAT = "/v1/chat/completions"

pytestmark = pytest.mark.end_to_end


def error_of(answer: httpx.Response) -> tuple[int, str, str]:
    assert answer.headers["content-type"] == "application/json"
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    return answer.status_code, error["type"], error["code"]


@pytest.mark.parametrize("path", ["/", "/v2/models", "/chat/completions", '/v1models?a="\\'])
def test_path_that_is_not_ours(client: httpx.Client, path: str) -> None:
    """A path outside /v1/ is answered by Envoy alone, naming it."""
    answer = client.get(path)
    assert error_of(answer) == (404, "invalid_request_error", "path_not_found")
    assert path.split("?", maxsplit=1)[0] in answer.json()["error"]["message"]
    assert answer.headers["x-router-decision"]


def test_body_over_the_limit(client: httpx.Client, providers: Providers) -> None:
    """A body over the limit is refused before anybody is called."""
    answer = client.post(CHAT, content=b"x" * (25 << 20), headers=ticket("b"))
    assert error_of(answer) == (413, "invalid_request_error", "request_too_large")
    assert answer.headers["x-router-decision"]
    assert not providers.asked


def test_nobody_reachable(client: httpx.Client) -> None:
    """When the only provider refuses connections, the error says that no deployment answered."""
    answer = client.post(CHAT, json={}, headers=ticket("refused", max_attempts=1))
    assert error_of(answer) == (503, "server_error", "upstream_unavailable")
    assert answer.headers["x-router-deployment"] == "refused"


def test_cluster_that_is_gone(client: httpx.Client) -> None:
    """A ticket that names a deployment Envoy does not know is answered, not hung."""
    answer = client.post(CHAT, json={}, headers=ticket("gone"))
    assert error_of(answer) == (503, "server_error", "no_deployment_available")


@pytest.mark.parametrize(
    "limits", [{"attempt_timeout_ms": 100}, {"deadline_ms": 100}, {"attempt_timeout_ms": 100, "stream": True}]
)
def test_timeouts(client: httpx.Client, providers: Providers, limits: dict[str, int]) -> None:
    """An attempt or a request that ran out of time is a 504."""
    providers.reset(a=Answer(wait=1))
    answer = client.post(CHAT, json={}, headers=ticket("a", max_attempts=1, **limits))
    assert error_of(answer) == (504, "timeout_error", "timeout")


def test_connection_lost_before_the_answer(client: httpx.Client, providers: Providers) -> None:
    """A provider that hangs up without an answer is a 503."""
    providers.reset(a=HANG_UP)
    answer = client.post(CHAT, json={}, headers=ticket("a", max_attempts=1))
    assert answer.status_code in {502, 503}
    assert error_of(answer)[1] == "server_error"


def test_silence_in_a_stream_is_no_local_reply(client: httpx.Client, providers: Providers) -> None:
    """What was already sent cannot be replaced by an error: the transfer is cut."""
    providers.reset(a=stream(b"data: 1\n\n", b"data: 2\n\n", pause=1))
    with pytest.raises(httpx.RemoteProtocolError):
        client.post(CHAT, json={}, headers=ticket("a", stream=True, route="brief"))


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /v1/models HTTP/1.1\r\n\r\n", 400),
        (b"GET /v1/models HTTP/1.1\r\nhost: a\r\nx: " + b"y" * 100_000 + b"\r\n\r\n", 431),
    ],
)
def test_requests_that_cannot_be_read(live: Envoy, request_bytes: bytes, status: int) -> None:
    """Errors of the protocol itself have the same shape."""
    with socket.create_connection(("127.0.0.1", live.config.listener.port), timeout=5) as connection:
        connection.sendall(request_bytes)
        received = b""
        while b"}}" not in received and (piece := connection.recv(65_536)):
            received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b'"type":"invalid_request_error"' in body
