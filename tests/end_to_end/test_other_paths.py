"""Everything else below `/v1/` goes to a deployment that serves it: embeddings, audio, files, moderations, responses."""

from __future__ import annotations

import base64
import io
import os
import wave

import openai
import pytest

from tests.end_to_end.running import HELLO, Instance, Simulators

pytestmark = [pytest.mark.end_to_end, pytest.mark.usefixtures("healed")]

# `chat` comes first and serves chats alone: nothing else may be sent there.
CONFIGURATION = """
providers:
  chat: {base_url: $chat/v1, models: [gpt-4o], paths: ["/v1/chat/completions"]}
  all: {base_url: $all/v1, models: [gpt-4o-mini, gpt-3.5-turbo-instruct, omni-moderation-latest, text-embedding-3-small]}
  second: {base_url: $second/v1, models: [text-embedding-3-small, tts-1]}
models:
  speech-to-text: {deployments: [{provider: all, model: whisper-1}], capabilities: [transcription]}
  own-embedding: {deployments: [{provider: second, model: vendor-embed-v2}], capabilities: [embeddings]}
routes:
  vectors: {targets: [{deployment: all/text-embedding-3-small}, {deployment: second/text-embedding-3-small}]}
cooling: {failures: 1000, failure_ratio: 1.0}
"""

SIMULATED = {"chat": {}, "all": {}, "second": {}}


def test_embeddings(client: openai.OpenAI, simulators: Simulators) -> None:
    """Vectors come back for every text, from the deployment of the embedding model."""
    raw = client.embeddings.with_raw_response.create(model="own-embedding", input=["a cat", "two cats"])
    vectors = raw.parse()
    assert [one.index for one in vectors.data] == [0, 1]
    assert len(vectors.data[0].embedding) == len(vectors.data[1].embedding) > 100
    assert vectors.model == "vendor-embed-v2"
    assert raw.headers["x-router-deployment"] == "second/own-embedding"
    assert simulators.asked() == {"second": 1}


def test_embeddings_fall_back(client: openai.OpenAI, simulators: Simulators) -> None:
    """Another key or provider of the same embedding model takes over, as it does for chats."""
    simulators.faults("all", status=503)
    raw = client.embeddings.with_raw_response.create(model="vectors", input="a cat")
    assert raw.headers["x-router-deployment"] == "second/text-embedding-3-small"
    assert raw.headers["x-router-fallback-from"] == "all/text-embedding-3-small"
    assert raw.parse().data[0].embedding


def test_transcription(client: openai.OpenAI, simulators: Simulators) -> None:
    """A recording is sent on as it came, with the provider's own name of the model in the form."""
    recording = os.urandom(3_000_000)
    raw = client.audio.transcriptions.with_raw_response.create(
        model="speech-to-text", file=("talk.wav", io.BytesIO(recording)), language="en"
    )
    assert "whisper-1" in raw.parse().text
    assert raw.headers["x-router-model"] == "speech-to-text"
    (request,) = simulators.requests("all")
    assert request["path"] == "/v1/audio/transcriptions"
    assert request["body_bytes"] > len(recording)


@pytest.mark.parametrize("order", ["model first", "model last"])
def test_a_form_changes_in_its_model_alone(instance: Instance, simulators: Simulators, order: str) -> None:
    """Every byte of a form but the model's is the client's own, also where the file holds something like a form."""
    recording = b'\r\n--edg\r\nContent-Disposition: form-data; name="model"\r\n\r\nfalse\r\n' + os.urandom(20_000)
    file = b'--edge\r\nContent-Disposition: form-data; name="file"; filename="model"\r\n\r\n' + recording + b"\r\n"
    model = b"--edge\r\ncontent-disposition:form-data;  name=model\r\nX-Note: 1\r\n\r\nspeech-to-text\r\n"
    body = (model + file if order == "model first" else file + model) + b"--edge--\r\n"
    with instance.http() as http:
        headers = {"content-type": "multipart/form-data; boundary=edge"}
        answer = http.post("/v1/audio/transcriptions", content=body, headers=headers)
    assert answer.status_code == 200, answer.text
    (request,) = simulators.requests("all")
    sent = body.replace(b"\r\n\r\nspeech-to-text\r\n", b"\r\n\r\nwhisper-1\r\n")
    assert base64.b64decode(request["body_base64"]) == sent


def test_speech(client: openai.OpenAI, simulators: Simulators) -> None:
    """Spoken words come back as the bytes that the provider sent."""
    answer = client.audio.speech.create(
        model="tts-1", voice="alloy", input="Hello there, this is a test.", response_format="wav"
    )
    with wave.open(io.BytesIO(answer.content)) as sound:
        assert sound.getnframes() > 1_000
    assert simulators.asked() == {"second": 1}


def test_files(client: openai.OpenAI, simulators: Simulators) -> None:
    """What is uploaded can be listed and read again: a path without a model always leads to the same deployment."""
    content = b'{"custom_id": "1"}\n' * 1_000
    raw = client.files.with_raw_response.create(file=("batch.jsonl", content), purpose="batch")
    uploaded = raw.parse()
    assert (uploaded.bytes, uploaded.filename) == (len(content), "batch.jsonl")
    assert raw.headers["x-router-deployment"] == "all/speech-to-text", "the first of the file that serves this path"
    assert uploaded.id in [file.id for file in client.files.list()]
    assert client.files.retrieve(uploaded.id) == uploaded
    assert simulators.asked() == {"all": 3}
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve("file-unknown")


@pytest.mark.parametrize("named", [False, True])
def test_moderations(client: openai.OpenAI, simulators: Simulators, *, named: bool) -> None:
    """A moderation works with a model and, as its API allows, without one."""
    results = client.moderations.create(
        input=["flag me", "fine"], model="omni-moderation-latest" if named else openai.omit
    ).results
    assert [result.flagged for result in results] == [True, False]
    assert simulators.asked() == {"all": 1}


@pytest.mark.parametrize("stream", [False, True])
def test_responses(client: openai.OpenAI, simulators: Simulators, *, stream: bool) -> None:
    """The Responses API works, streamed as well, and nothing is added to the end of its stream, which has no [DONE]."""
    raw = client.responses.with_raw_response.create(model="gpt-4o-mini", input="Hello", stream=stream)
    if stream:
        with raw.parse() as events:
            kinds = [event.type for event in events]
        assert kinds[0] == "response.created"
        assert kinds[-1] == "response.completed"
        assert "error" not in kinds
    else:
        assert raw.parse().output_text
    assert raw.headers["x-router-deployment"] == "all/gpt-4o-mini"
    assert simulators.asked() == {"all": 1}


@pytest.mark.parametrize("stream", [False, True])
def test_legacy_completions(client: openai.OpenAI, simulators: Simulators, *, stream: bool) -> None:
    """The old completions API works, streamed as well."""
    answer = client.completions.create(model="gpt-3.5-turbo-instruct", prompt="Once upon", stream=stream, max_tokens=50)
    text = "".join(chunk.choices[0].text for chunk in (answer if stream else [answer]))
    assert text
    assert simulators.asked() == {"all": 1}


def test_a_provider_is_asked_for_its_paths_only(client: openai.OpenAI, simulators: Simulators) -> None:
    """A deployment that serves chats alone gets nothing else, and naming its model elsewhere is told as 404."""
    assert client.chat.completions.create(model="gpt-4o", messages=HELLO).choices[0].message.content
    assert simulators.asked() == {"chat": 1}
    with pytest.raises(openai.NotFoundError) as caught:
        client.responses.create(model="gpt-4o", input="Hello")
    assert caught.value.code == "path_not_found"
    assert "/v1/responses" in str(caught.value.body)
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="text-embedding-3-small", messages=HELLO)
    assert simulators.asked() == {"chat": 1}


def test_queries_and_escapes_are_kept(instance: Instance, simulators: Simulators) -> None:
    """Path and query reach the provider as the client wrote them."""
    with instance.http() as http:
        http.get("/v1/files/file%2Fname?limit=2&after=a%20b&x=%E2%82%AC")
    (request,) = simulators.requests("all")
    assert (request["path"], request["query"]) == ("/v1/files/file%2Fname", "limit=2&after=a%20b&x=%E2%82%AC")


def test_large_uploads_pass(client: openai.OpenAI, simulators: Simulators) -> None:
    """A file of 20 MiB is passed on whole."""
    content = os.urandom(20 << 20)
    uploaded = client.files.create(file=("large.bin", content), purpose="user_data")
    assert uploaded.bytes == len(content)
    assert simulators.requests("all")[0]["body_bytes"] > len(content)
