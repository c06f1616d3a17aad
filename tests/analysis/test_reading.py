"""From an HTTP request to the canonical request."""

from __future__ import annotations

import json

import pytest

from router_extproc.analysis.analyser import Analyser
from router_extproc.analysis.reading import read_request
from router_extproc.dialects.openai import Envelope, read_envelope
from router_extproc.errors import BadRequestError, PathNotFoundError
from router_extproc.facts import Facts
from router_extproc.request import CHAT_COMPLETIONS, TOOLS, Request

JSON = {"content-type": "application/json"}


def read(body: bytes, path: str = CHAT_COMPLETIONS, headers: dict[str, str] = JSON) -> Request:
    return read_request("POST", path, headers, body, Analyser())


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
    request = read(json.dumps(body).encode(), CHAT_COMPLETIONS + "?api-version=1")
    assert (request.path, request.model, request.stream, request.analysis.choices, request.analysis.max_output_tokens) == (
        CHAT_COMPLETIONS,
        "auto",
        True,
        3,
        5,
    )
    assert request.analysis.needs == {TOOLS}
    assert request.analysis.characters == 2
    assert request.headers is JSON


def test_nothing_is_read_that_nobody_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until something of the content is asked for, only model and stream are read; then the body is, once."""
    reads = []

    def counted(body: bytes) -> Envelope:
        reads.append(body)
        return read_envelope(body)

    monkeypatch.setattr("router_extproc.analysis.analysis.read_envelope", counted)
    body = json.dumps({"model": "m", "stream": True, "messages": [{"role": "user", "content": "```x```"}]}).encode()
    request = read(body)
    assert (request.model, request.stream, reads) == ("m", True, [])
    assert request.analysis.prompt_tokens > 0
    assert request.analysis.has_code
    assert request.analysis.choices == 1
    assert reads == [body]


def test_a_body_without_a_prompt_has_no_analysis() -> None:
    """Of a picture to be drawn nothing is known but the model."""
    request = read_request("POST", "/v1/images/generations", JSON, b'{"model":"m","prompt":"x"}', Analyser())
    assert request.analysis == Facts()


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "application/x-www-form-urlencoded", "", "text/plain"]
)
def test_json_is_read_whatever_it_calls_itself(content_type: str) -> None:
    """Curl says form-urlencoded unless told otherwise; the path decides."""
    assert read(b'{"model":"m"}', headers={"content-type": content_type}).model == "m"


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
    assert read_request(method, path, JSON, body, Analyser()).model == model


@pytest.mark.parametrize("path", [CHAT_COMPLETIONS, "/v1/completions", "/v1/embeddings", "/v1/responses"])
def test_a_prompt_is_json_whatever_surrounds_it(path: str) -> None:
    """White space before it, a slash after the path or a content type of forms hide neither the model nor the text."""
    body = b" " * 100 + b'{"model":"m","input":"x","messages":[{"role":"user","content":"x"}]}'
    for address in (path, f"{path}/"):
        request = read(body, address)
        assert (request.path, request.model, request.body) == (path, "m", body)
    form = b'{"model":"dear"}\r\n--b\r\nContent-Disposition: form-data; name="model"\r\n\r\ncheap\r\n--b--\r\n'
    with pytest.raises(BadRequestError, match="JSON"):
        read(form, path, {"content-type": "multipart/form-data; boundary=b"})


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/images/generations", "/v1/batches", "/v1/audio/speech"])
def test_nothing_compressed_hides_its_model(path: str) -> None:
    """On no path does a compressed body pass for one that names no model."""
    with pytest.raises(BadRequestError) as caught:
        read(b"\x1f\x8b", path, JSON | {"content-encoding": "gzip"})
    assert caught.value.code == "compressed_body"


@pytest.mark.parametrize(
    "path",
    [
        "/v1//chat/completions",
        "/v1/chat/completion%73",
        "/v1/chat%2fcompletions",
        "/v1/chat%2Fcompletions",
        "/v1/chat\\completions",
        "/v1/chat%5ccompletions",
        "/v1/chat/completions;x=1",
        "/v1/files/%2e%2e/chat/completions",
        "/v1/chat/completions%00",
        "/v1/chat/completions%",
        "/v1/chat/completions%3fx",
        "/v1/chat/completion%2573",
        "/v1/files/..%2fbatches",
        "/v1/files/%252e%252e/responses",
        "/v1%2fresponses",
    ],
)
def test_no_path_is_spelled_as_another(path: str) -> None:
    """What a provider may resolve to another path than the router is no path."""
    with pytest.raises(PathNotFoundError):
        read(b'{"model":"m"}', path)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/fine_tuning/checkpoints/ft%3Agpt%C3%A9/permissions",
        "/v1/files/file%2Fname",
        "/v1/files/a%20b%252Fc",
        "/v1/files/%7Ex",
        "/v1/files/100%25",
    ],
)
def test_what_is_escaped_within_a_name_stays(path: str) -> None:
    """A colon, a slash or a letter beyond ASCII in a name leads nowhere else, and is nothing to be suspicious of."""
    assert read_request("GET", path, {}, b"", Analyser()).path == path


def test_a_form_names_its_model() -> None:
    """Transcriptions carry the model in a form."""
    body = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper\r\n--b--\r\n'
    headers = {"content-type": "multipart/form-data; boundary=b"}
    assert read(body, "/v1/audio/transcriptions", headers).model == "whisper"


@pytest.mark.parametrize("body", [b'{"messages":[]}', b'{"model":""}'])
@pytest.mark.parametrize("path", [CHAT_COMPLETIONS, "/v1/embeddings", "/v1/audio/speech"])
def test_a_model_is_asked_for_where_it_is_needed(path: str, body: bytes) -> None:
    """Without a model a chat cannot be routed, and the error names the parameter."""
    with pytest.raises(BadRequestError, match="'model'") as raised:
        read(body, path)
    assert (raised.value.param, raised.value.code) == ("model", "missing_model")


def test_a_compressed_body_is_refused_with_its_reason() -> None:
    """A body that was compressed on the way is told apart from broken JSON."""
    with pytest.raises(BadRequestError, match="Compressed"):
        read(b"\x1f\x8b", headers=JSON | {"content-encoding": "gzip"})


@pytest.mark.parametrize("path", ["/", "/v1", "/v2/chat/completions", "/chat/completions", ""])
def test_a_path_elsewhere_does_not_exist(path: str) -> None:
    """Only paths below /v1/ are the API."""
    with pytest.raises(PathNotFoundError):
        read(b'{"model":"m"}', path)
