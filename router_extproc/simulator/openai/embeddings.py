"""``POST /embeddings``: texts with the same words lie close together."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from array import array
from functools import lru_cache
from typing import Annotated, Any, Literal

import msgspec

from router_extproc.simulator.answers import PlainAnswer, Usage
from router_extproc.simulator.faults import Faults
from router_extproc.simulator.openai.completions import list_inputs, tokens_of_input
from router_extproc.simulator.openai.error_bodies import invalid
from router_extproc.simulator.openai.provider import Provider, read_body
from router_extproc.simulator.received import ReceivedRequest

DEFAULT_DIMENSIONS = 1536
_LARGE_DIMENSIONS = 3072

_WORD = re.compile(r"\w+")


class EmbeddingRequest(msgspec.Struct):
    """What the answer depends on."""

    model: str
    input: str | list[Any]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, msgspec.Meta(ge=1, le=8192)] | None = None


def embeddings(received: ReceivedRequest, provider: Provider, faults: Faults) -> PlainAnswer:  # noqa: ARG001 -- an endpoint
    """Answer an embedding request.

    Raises:
        Refusal: the request is malformed, too long, or names a model that is not served.
    """
    request = read_body(received.body, EmbeddingRequest)
    provider.require_model(request.model)
    inputs = list_inputs(request.input)
    if not all(inputs):
        raise invalid("'input' cannot be an empty string or array.", param="input")
    tokens = sum(tokens_of_input(value) for value in inputs)
    provider.require_room(max(tokens_of_input(value) for value in inputs), 0)
    dimensions = request.dimensions or (_LARGE_DIMENSIONS if request.model.endswith("-large") else DEFAULT_DIMENSIONS)
    data = []
    for index, value in enumerate(inputs):
        vector = embedding(value if isinstance(value, str) else str(value), dimensions)
        written: Any = vector
        if request.encoding_format == "base64":
            written = base64.b64encode(array("f", vector).tobytes()).decode()
        data.append({"object": "embedding", "index": index, "embedding": written})
    content = {
        "object": "list",
        "data": data,
        "model": request.model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    return PlainAnswer(body=msgspec.json.encode(content), usage=Usage(prompt_tokens=tokens))


@lru_cache(maxsize=1024)
def embedding(text: str, dimensions: int) -> tuple[float, ...]:
    """Return a vector of length 1: each word adds to one dimension that its hash picks (feature hashing)."""
    vector = [0.0] * dimensions
    for word in _WORD.findall(text.lower()) or [text]:
        digest = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest())
        vector[(digest >> 1) % dimensions] += 1.0 if digest & 1 else -1.0
    length = math.sqrt(sum(value * value for value in vector))
    if length == 0.0:
        vector[0] = length = 1.0
    return tuple(value / length for value in vector)
