"""Deciding an answer is a function of the request: no socket, no time."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_extproc.simulator import Faults, SimulatedDeployment
from router_extproc.simulator.answers import StreamAnswer
from router_extproc.simulator.deployment import Deployment, Performance
from router_extproc.simulator.received import ReceivedRequest

PATHS = (
    "chat/completions",
    "completions",
    "embeddings",
    "responses",
    "audio/speech",
    "audio/transcriptions",
    "moderations",
    "files",
)
FIELDS = (
    *("model", "messages", "stream", "stream_options", "include_usage", "n", "max_tokens", "logprobs", "top_logprobs"),
    *("tools", "tool_choice", "function", "name", "parameters", "type", "response_format", "json_schema", "schema", "strict"),
    *("role", "content", "text", "image_url", "url", "tool_calls", "prompt", "input", "dimensions", "instructions"),
)
WORDS = st.sampled_from(
    ["user", "gpt-4o", "text", "json_schema", "json_object", "function", "call get", "get", "image_url", "none"]
)

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 3)
    | st.floats(allow_nan=False, allow_infinity=False)
    | WORDS
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=6),
    max_leaves=25,
)
MESSAGE = st.fixed_dictionaries({"role": WORDS, "content": WORDS | values}, optional={"tool_calls": values})
bodies = st.fixed_dictionaries(
    {"model": st.just("gpt-4o")},
    optional={
        "messages": st.lists(MESSAGE, min_size=1, max_size=3),
        "input": values,
        "prompt": values,
        "stream": st.booleans(),
        "tools": st.just([{"type": "function", "function": {"name": "get"}}]) | values,
        "tool_choice": values,
        "response_format": values,
        "n": st.integers(1, 3) | values,
        "logprobs": st.booleans() | values,
    },
)


def respond(deployment: Deployment, path: str, body: bytes, method: str = "POST", **headers: bytes) -> Performance:
    request = ReceivedRequest(
        method=method,
        path=f"/v1/{path}",
        query="",
        raw_headers=[],
        headers={name.replace("_", "-").encode(): value for name, value in headers.items()},
        body=body,
    )
    return deployment.respond(request, deployment.observe(request))


@given(path=st.sampled_from(PATHS), body=bodies)
def test_any_json_is_answered_or_refused(path: str, body: dict[str, Any]) -> None:
    """No combination of fields and values raises; streams render to their end."""
    answer = respond(Deployment(SimulatedDeployment(name="main")), path, msgspec.json.encode(body)).answer
    assert answer.status in {200, 400}
    if isinstance(answer, StreamAnswer):
        assert all(answer.token(step).endswith(b"\n\n") for step in range(answer.tokens))


@given(path=st.sampled_from(PATHS), body=st.binary(max_size=80), boundary=st.sampled_from([b"x", b'"x"', b"", b"\xff"]))
def test_any_bytes_are_answered_or_refused(path: str, body: bytes, boundary: bytes) -> None:
    """Neither JSON nor forms need to be well formed."""
    content_type = b"multipart/form-data; boundary=" + boundary
    performance = respond(Deployment(SimulatedDeployment(name="main")), path, body, content_type=content_type)
    assert performance.answer.status in {200, 400}


@pytest.mark.parametrize("authorization", [b"", b"Bearer", b"Basic sk-one", b"Bearer sk-on", b"sk-one", b"Bearer \xff"])
def test_only_a_bearer_token_on_the_list_is_let_in(authorization: bytes) -> None:
    """Anything else is 401, and is not repeated."""
    deployment = Deployment(SimulatedDeployment(name="main", api_keys=("sk-one",)))
    assert respond(deployment, "models", b"", "GET", authorization=authorization).answer.status == 401
    assert respond(deployment, "models", b"", "GET", authorization=b"Bearer sk-one").answer.status == 200


def test_limits_refill_with_the_clock() -> None:
    """Time is injected: a minute later the bucket is full again."""
    now = [0.0]
    deployment = Deployment(SimulatedDeployment(name="main", requests_per_minute=1), monotonic=lambda: now[0])
    statuses = [respond(deployment, "models", b"", "GET").answer.status for _ in range(2)]
    now[0] = 60.0
    assert [*statuses, respond(deployment, "models", b"", "GET").answer.status] == [200, 429, 200]


def test_a_scripted_failure_comes_before_keys_and_limits() -> None:
    """A fault that was asked for shows whatever else is wrong with the request, and costs no turn of the limits."""
    faults = Faults(status=503, times=1)
    deployment = Deployment(SimulatedDeployment(name="main", api_keys=("sk-one",), requests_per_minute=1, faults=faults))
    assert [respond(deployment, "models", b"", "GET").answer.status for _ in range(2)] == [503, 401]
    assert respond(deployment, "models", b"", "GET", authorization=b"Bearer sk-one").answer.status == 200


def test_an_unknown_path_takes_no_turn_of_the_script() -> None:
    """`times` counts requests that the API has an answer for."""
    deployment = Deployment(SimulatedDeployment(name="main", faults=Faults(status=503, times=1)))
    assert [respond(deployment, path, b"", "GET").answer.status for path in ("nothing", "models", "models")] == [404, 503, 200]
