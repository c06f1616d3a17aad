"""From an HTTP request to the canonical request."""

from __future__ import annotations

import json

import pytest

from router_extproc.analysis.reading import Interest, read_request
from router_extproc.errors import BadRequestError, PathNotFoundError
from router_extproc.request import CHAT_COMPLETIONS, TOOLS

JSON = {"content-type": "application/json"}


def test_a_chat_is_read_in_full() -> None:
    """Path without query, model, stream, limits, needs, facts and headers are there."""
    body = {
        "model": "auto",
        "stream": True,
        "n": 3,
        "max_tokens": 5,
        "tools": [{}],
        "messages": [{"role": "user", "content": "hi"}],
    }
    request = read_request("POST", CHAT_COMPLETIONS + "?api-version=1", JSON, json.dumps(body).encode())
    assert (request.path, request.model, request.stream, request.choices, request.max_output_tokens) == (
        CHAT_COMPLETIONS,
        "auto",
        True,
        3,
        5,
    )
    assert request.needs == {TOOLS}
    assert request.facts.characters == 2
    assert request.headers is JSON


def test_nothing_is_read_that_nobody_asks_for() -> None:
    """Where no fact is asked for, only model and stream are read; without interest in code it is not looked for."""
    body = json.dumps({"model": "m", "stream": True, "messages": [{"role": "user", "content": "```x```"}]}).encode()
    head = read_request("POST", CHAT_COMPLETIONS, JSON, body, lambda model: Interest(facts=model != "m"))
    assert (head.model, head.stream, head.facts.prompt_tokens) == ("m", True, 0)
    plain = read_request("POST", CHAT_COMPLETIONS, JSON, body, lambda _: Interest(code=False))
    assert (plain.facts.has_code, plain.facts.prompt_tokens > 0) == (False, True)
    assert read_request("POST", CHAT_COMPLETIONS, JSON, body).facts.has_code


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "application/x-www-form-urlencoded", "", "text/plain"]
)
def test_json_is_read_whatever_it_calls_itself(content_type: str) -> None:
    """Curl says form-urlencoded unless told otherwise; the path decides."""
    assert read_request("POST", CHAT_COMPLETIONS, {"content-type": content_type}, b'{"model":"m"}').model == "m"


@pytest.mark.parametrize(
    ("method", "path", "body", "model"),
    [
        ("GET", "/v1/files", b"", ""),
        ("GET", CHAT_COMPLETIONS, b"", ""),
        ("DELETE", "/v1/files/f-1", b"", ""),
        ("POST", "/v1/batches", b'{"input_file_id":"f"}', ""),
        ("POST", "/v1/images/generations", b'{"model":"m","prompt":"x"}', "m"),
        ("POST", "/v1/images/generations", b' \n{"prompt":"x"}', ""),
        ("POST", "/v1/audio/speech", b'{"model":"m","input":"x"}', "m"),
        ("POST", "/v1/responses", b'{"model":"m","input":"x"}', "m"),
        ("POST", "/v1/uploads/u/complete", b"\x00\xff", ""),
    ],
)
def test_other_paths_are_read_as_far_as_they_go(method: str, path: str, body: bytes, model: str) -> None:
    """A path without a model has none, one with a model has it."""
    assert read_request(method, path, JSON, body).model == model


def test_a_form_names_its_model() -> None:
    """Transcriptions carry the model in a form."""
    body = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper\r\n--b--\r\n'
    headers = {"content-type": "multipart/form-data; boundary=b"}
    assert read_request("POST", "/v1/audio/transcriptions", headers, body).model == "whisper"


@pytest.mark.parametrize("body", [b'{"messages":[]}', b'{"model":""}'])
@pytest.mark.parametrize("path", [CHAT_COMPLETIONS, "/v1/embeddings", "/v1/audio/speech"])
def test_a_model_is_asked_for_where_it_is_needed(path: str, body: bytes) -> None:
    """Without a model a chat cannot be routed, and the error names the parameter."""
    with pytest.raises(BadRequestError, match="'model'") as raised:
        read_request("POST", path, JSON, body)
    assert (raised.value.param, raised.value.code) == ("model", "missing_model")


def test_a_compressed_body_is_refused_with_its_reason() -> None:
    """A body that was compressed on the way is told apart from broken JSON."""
    with pytest.raises(BadRequestError, match="Compressed"):
        read_request("POST", CHAT_COMPLETIONS, JSON | {"content-encoding": "gzip"}, b"\x1f\x8b")


@pytest.mark.parametrize("path", ["/", "/v1", "/v2/chat/completions", "/chat/completions", ""])
def test_a_path_elsewhere_does_not_exist(path: str) -> None:
    """Only paths below /v1/ are the API."""
    with pytest.raises(PathNotFoundError):
        read_request("POST", path, JSON, b'{"model":"m"}')
