"""Bodies of any size: the provider gets the client's own bytes but for `model`, and large answers come back whole."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.end_to_end.running import CHAT, Instance, Simulators, running

pytestmark = pytest.mark.end_to_end

CONFIGURATION = """
providers:
  same: {base_url: $same/v1, models: [same-name]}
  other: {base_url: $other/v1}
  broken: {base_url: $broken/v1}
models:
  renamed: {deployments: [{provider: other, model: "vendor/other-name-2026"}]}
  large: {deployments: [{provider: other, model: "vendor/large"}], context_window: 100000000}
  second-try:
    deployments: [{provider: other, model: vendor-2, name: second}]
  first-try:
    deployments: [{provider: broken, model: vendor-1, name: first}]
  longer:
    deployments: [{provider: broken, model: "vendor/a-much-longer-name-2026-11-21"}]
  as-at-first:
    deployments: [{provider: other, model: vendor-1, name: third}]
routes:
  back-and-forth: {targets: [first-try, longer, as-at-first]}
  falls-back: {targets: [first-try, second-try]}
  through: {mode: passthrough, targets: [renamed]}
cooling: {failures: 1000, failure_ratio: 1.0}
"""

# What JSON allows and few clients write: anybody who parsed and wrote it again would change it.
STRANGE = [
    b'{"model": "NAME", "messages": [{"role": "user", "content": "Hello"}]}',
    b'{ "messages":[{"content":"Hello","role":"user"}],\r\n\t"unknown" : {"a":[1,2,{"b":null}]} ,\n"model"\t:\n"NAME"  }\n\n',
    b'{"messages":[{"role":"user","content":"\\u00e9\\ud83d\\ude00 \xc3\xa9 \\/ \\b"}],"model":"NAME","seed":1}',
    b'{"model":"NAME","messages":[{"role":"user","content":"x"}],"a":1e400,"b":-0.0,"c":1.0,"d":12345678901234567890,"e":1E+2}',
    b'{"model":"NAME","user":"a","messages":[{"role":"user","content":"x"}],"user":"b"}',
    b'{"messages":[{"role":"user","content":"{\\"model\\":\\"inner\\"}"}],"metadata":{"model":"inner"},"model":"NAME"}',
    b'{"m\\u006fdel":"NAME","messages":[{"role":"user","content":"spelled with an escape"}]}',
    b'{"model":"NAME","messages":[{"role":"user","content":"half an emoji: \\ud83d"}]}',
    b'{"model":"NAME","messages":[{"role":"user","content":"","extra":[[[[[[]]]]]]}],"":{"":""}}',
]
DOUBLED = b'{"model":"NAME","messages":[{"role":"user","content":"x"}],"model":"NAME"}'


@pytest.fixture(scope="module")
def simulators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulators]:
    simulated = Simulators(
        tmp_path_factory.mktemp("providers"), {"same": {}, "other": {}, "broken": {"faults": {"status": 500}}}
    )
    yield simulated
    simulated.stop()


@pytest.fixture(scope="module")
def instance(simulators: Simulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    with running(Instance(tmp_path_factory.mktemp("instance"), simulators.fill(CONFIGURATION))) as instance:
        yield instance


@pytest.fixture
def http(instance: Instance) -> Iterator[httpx.Client]:
    with instance.http() as http:
        yield http


@pytest.fixture(autouse=True)
def forgotten(simulators: Simulators) -> None:
    simulators.heal()
    simulators.faults("broken", status=500)


def received(simulators: Simulators, name: str) -> bytes:
    """The body of the one request that came to a deployment."""
    (request,) = simulators.requests(name)
    return base64.b64decode(request["body_base64"])


def post(http: httpx.Client, body: bytes | Iterator[bytes]) -> httpx.Response:
    return http.post(CHAT, content=body, headers={"content-type": "application/json"})


def conversation(size: int, model: str) -> bytes:
    """A request of exactly ``size`` bytes."""
    start = b'{"model": "%s", "messages": [{"role": "user", "content": "' % model.encode()
    end = b'"}]}'
    words = b"lorem ipsum dolor sit amet " * (size // 27 + 1)
    return start + words[: size - len(start) - len(end)] + end


@pytest.mark.parametrize("body", [*STRANGE, DOUBLED], ids=range(len(STRANGE) + 1))
def test_a_body_is_passed_on_byte_for_byte(http: httpx.Client, simulators: Simulators, body: bytes) -> None:
    """White space, key order, number formats, escapes, unknown and repeated fields reach the provider as they came."""
    body = body.replace(b"NAME", b"same-name")
    answer = post(http, body)
    assert answer.headers["x-router-deployment"] == "same/same-name", answer.text
    assert received(simulators, "same") == body


@pytest.mark.parametrize("route", ["renamed", "through"])
@pytest.mark.parametrize("body", [*STRANGE, DOUBLED], ids=range(len(STRANGE) + 1))
def test_only_the_model_is_replaced(http: httpx.Client, simulators: Simulators, body: bytes, route: str) -> None:
    """Where the provider knows the model by another id, that value changes and not one byte beside it."""
    answer = post(http, body.replace(b"NAME", route.encode()))
    assert answer.headers["x-router-deployment"] == "other/renamed", answer.text
    assert received(simulators, "other") == body.replace(b"NAME", b"vendor/other-name-2026")


@pytest.mark.parametrize("body", [*STRANGE, DOUBLED], ids=range(len(STRANGE) + 1))
def test_a_fallback_changes_no_other_byte_either(http: httpx.Client, simulators: Simulators, body: bytes) -> None:
    """The second attempt is made from the client's own bytes, with the second provider's id of the model."""
    answer = post(http, body.replace(b"NAME", b"falls-back"))
    assert answer.headers["x-router-deployment"] == "second", answer.text
    assert answer.headers["x-router-attempts"] == "2"
    assert received(simulators, "broken") == body.replace(b"NAME", b"vendor-1")
    assert received(simulators, "other") == body.replace(b"NAME", b"vendor-2")


def test_lengths_follow_each_attempt(http: httpx.Client, simulators: Simulators) -> None:
    """Attempts whose providers know the model by names of different lengths each get a body of the length it says."""
    body = conversation(50_000, "back-and-forth")
    answer = post(http, body)
    assert (answer.status_code, answer.headers["x-router-deployment"]) == (200, "third"), answer.text
    names = [b"vendor-1", b"vendor/a-much-longer-name-2026-11-21", b"vendor-1"]
    requests = [*simulators.requests("broken"), *simulators.requests("other")]
    assert [base64.b64decode(request["body_base64"]) for request in requests] == [
        body.replace(b"back-and-forth", name) for name in names
    ]
    lengths = [int(dict(request["headers"])["content-length"]) for request in requests]
    assert lengths == [request["body_bytes"] for request in requests]


@pytest.mark.parametrize("chunked", [False, True], ids=["counted", "chunked"])
@pytest.mark.parametrize("size", [32_769, 1 << 20, 20 << 20])
def test_large_requests_are_decided(
    http: httpx.Client, instance: Instance, simulators: Simulators, size: int, *, chunked: bool
) -> None:
    """32,769 bytes, 1 MiB and 20 MiB pass whole and by a worker's decision, whether or not the client says their length."""
    before = undecided(instance)
    body = conversation(size, "large")
    pieces = iter([body[start : start + 65_536] for start in range(0, size, 65_536)])
    answer = post(http, pieces if chunked else body)
    assert answer.status_code == 200, answer.text
    assert "x-router-degraded" not in answer.headers
    assert answer.headers["x-router-route"] == "large"
    assert answer.headers["x-router-reason"] == "named"
    sent = body.replace(b'"large"', b'"vendor/large"', 1)
    (request,) = simulators.requests("other")
    assert request["body_bytes"] == len(sent)
    assert request["body_sha256"] == hashlib.sha256(sent).hexdigest()
    assert dict(request["headers"])["content-length"] == str(len(sent)), "some providers refuse chunked requests"
    assert undecided(instance) == before
    record = instance.decision(answer.headers["x-router-decision"])
    assert (record["route"], record["degraded"]) == ("large", None)
    # Four characters a token, give or take: the whole prompt was counted.
    assert record["usage"]["prompt_tokens"] > size / 10


def undecided(instance: Instance) -> dict[str, int]:
    """Envoy's counters of exchanges that failed, timed out or were let pass."""
    return instance.envoy_figures(r"^http.clients.ext_proc\.(failure_mode_allowed|streams_failed|message_timeouts)$")


@pytest.mark.parametrize("encoding", ["never", "always"])
def test_a_large_answer_comes_whole_and_is_counted(
    http: httpx.Client, instance: Instance, simulators: Simulators, encoding: str
) -> None:
    """An answer of 6 MiB reaches the client unchanged, and its usage is known."""
    size = 6 << 20
    simulators.faults("same", answer_bytes=size, gzip=encoding)
    answer = post(http, conversation(200, "same-name"))
    assert answer.status_code == 200
    assert len(answer.content) == size
    content = answer.json()
    assert content["choices"][0]["message"]["content"]
    usage: dict[str, Any] = content["usage"]
    record = instance.decision(answer.headers["x-router-decision"])
    assert record["status"] == 200
    if encoding == "never":
        assert record["usage"]["prompt_tokens"] == usage["prompt_tokens"]
        assert record["usage"]["completion_tokens"] == usage["completion_tokens"]


def test_a_long_stream_is_neither_held_nor_cut(instance: Instance, simulators: Simulators) -> None:
    """A stream of 20,000 tokens comes whole, piece by piece, with its usage in the log."""
    simulators.faults("same", tokens=20_000)
    body = {"model": "same-name", "messages": [{"role": "user", "content": "x"}], "stream": True}
    pieces = 0
    content = bytearray()
    with instance.http() as http, http.stream("POST", CHAT, json=body | {"stream_options": {"include_usage": True}}) as answer:
        identity = answer.headers["x-router-decision"]
        for piece in answer.iter_raw():
            content += piece
            pieces += 1
    events = bytes(content).split(b"\n\n")
    assert events[-2:] == [b"data: [DONE]", b""]
    assert json.loads(events[-3].removeprefix(b"data: "))["usage"]["completion_tokens"] == 20_000
    assert len(events) > 20_000
    assert pieces > 10
    assert instance.decision(identity)["usage"]["completion_tokens"] == 20_000
