"""``POST /audio/transcriptions`` and ``POST /audio/speech``."""

from __future__ import annotations

import struct

import msgspec

from router_extproc.simulator.answers import PlainAnswer, Usage
from router_extproc.simulator.faults import Faults
from router_extproc.simulator.openai.answer_text import answer_tokens
from router_extproc.simulator.openai.form import read_form, required_text
from router_extproc.simulator.openai.provider import Provider, read_body
from router_extproc.simulator.openai.tokens import count_tokens
from router_extproc.simulator.received import ReceivedRequest

_MEDIA_TYPES = {"mp3": "audio/mpeg", "opus": "audio/opus", "aac": "audio/aac", "flac": "audio/flac", "pcm": "audio/pcm"}
_SAMPLES_PER_SECOND = 24_000
_BYTES_PER_SAMPLE = 2
# A quarter of a second for each token of text.
_SAMPLES_PER_TOKEN = _SAMPLES_PER_SECOND // 4
_LONGEST_SECONDS = 60


class SpeechRequest(msgspec.Struct):
    """What the answer depends on."""

    model: str
    input: str
    response_format: str = "mp3"


def transcription(received: ReceivedRequest, provider: Provider, faults: Faults) -> PlainAnswer:
    """Answer an upload of speech with a text that names the deployment.

    Raises:
        Refusal: the form is malformed, or names a model that is not served.
    """
    fields = read_form(received)
    model = required_text(fields, "model")
    required_text(fields, "file")
    provider.require_model(model)
    tokens = answer_tokens(provider.name, model, faults.tokens)
    text = "".join(tokens)
    usage = Usage(count_tokens(fields["file"].content), 0, len(tokens))
    if "response_format" in fields and fields["response_format"].content == b"text":
        return PlainAnswer(body=text.encode() + b"\n", content_type="text/plain; charset=utf-8", usage=usage)
    written = {
        "type": "tokens",
        "input_tokens": usage.prompt_tokens,
        "output_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
    return PlainAnswer(body=msgspec.json.encode({"text": text, "usage": written}), usage=usage)


def speech(received: ReceivedRequest, provider: Provider, faults: Faults) -> PlainAnswer:  # noqa: ARG001 -- an endpoint
    """Answer a text with silence of fitting length: a real WAV file for ``wav``, bare samples under the other types.

    Raises:
        Refusal: the request is malformed, or names a model that is not served.
    """
    request = read_body(received.body, SpeechRequest)
    provider.require_model(request.model)
    tokens = count_tokens(request.input)
    samples = bytes(min(tokens * _SAMPLES_PER_TOKEN, _LONGEST_SECONDS * _SAMPLES_PER_SECOND) * _BYTES_PER_SAMPLE)
    usage = Usage(prompt_tokens=tokens)
    if request.response_format == "wav":
        return PlainAnswer(body=_wav(samples), content_type="audio/wav", usage=usage)
    media_type = _MEDIA_TYPES.get(request.response_format, "application/octet-stream")
    return PlainAnswer(body=samples, content_type=media_type, usage=usage)


def _wav(samples: bytes) -> bytes:
    byte_rate = _SAMPLES_PER_SECOND * _BYTES_PER_SAMPLE
    shape = struct.pack("<IHHIIHH", 16, 1, 1, _SAMPLES_PER_SECOND, byte_rate, _BYTES_PER_SAMPLE, 8 * _BYTES_PER_SAMPLE)
    content = b"WAVEfmt " + shape + b"data" + struct.pack("<I", len(samples)) + samples
    return b"RIFF" + struct.pack("<I", len(content)) + content
