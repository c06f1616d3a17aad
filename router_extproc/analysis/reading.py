"""From an HTTP request to the canonical request: the path and body are read once, and no further than anybody asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from router_extproc.analysis.facts import read_facts
from router_extproc.analysis.needs import read_needs
from router_extproc.dialects.openai import is_multipart, read_envelope, read_head, read_multipart_model
from router_extproc.errors import BadRequestError, PathNotFoundError
from router_extproc.request import CHAT_COMPLETIONS, EMBEDDINGS, Request

PREFIX = "/v1/"
# Without a model these cannot be routed; elsewhere it is for the provider to miss it.
_NAMES_A_MODEL = frozenset(
    {
        CHAT_COMPLETIONS,
        "/v1/completions",
        EMBEDDINGS,
        "/v1/audio/speech",
        "/v1/audio/transcriptions",
        "/v1/audio/translations",
    }
)
_JSON_ONLY = frozenset({CHAT_COMPLETIONS, "/v1/completions", EMBEDDINGS})
# Paths whose body is a prompt.
_PROMPTS = (CHAT_COMPLETIONS, "/v1/completions", EMBEDDINGS, "/v1/responses")

_SHOWN = 200
_ENOUGH_TO_SEE = 64


class Interest(NamedTuple):
    """What is asked about requests for one model name: anything at all, and the costlier fact of code."""

    facts: bool = True
    code: bool = True


def read_request(
    method: str,
    path: str,
    headers: Mapping[str, str],
    body: bytes,
    interest: Callable[[str], Interest] | None = None,
) -> Request:
    """Reads one request; ``headers`` has lower-case names, ``path`` may carry a query.

    ``interest`` tells by model name what will be asked; without it everything is read.

    Raises:
        PathNotFoundError: the path is not below ``/v1/``.
        BadRequestError: the body is malformed, or names no model where one is needed.
    """
    path = path.partition("?")[0]
    if not path.startswith(PREFIX):
        raise PathNotFoundError(f"The path {path[:_SHOWN]} does not exist: all paths begin with {PREFIX}.")
    content_type = headers.get("content-type", "")
    if is_multipart(content_type):
        model = read_multipart_model(content_type, body) or ""
        request = Request(path, model, method, headers=headers)
    elif method == "POST" and path in _JSON_ONLY and headers.get("content-encoding", "identity") != "identity":
        raise BadRequestError("Compressed request bodies cannot be read: send them as they are.", code="compressed_body")
    elif method == "POST" and (path in _JSON_ONLY or body[:_ENOUGH_TO_SEE].lstrip().startswith(b"{")):
        request = _read_json(path, headers, body, interest)
    else:
        request = Request(path, "", method, headers=headers)
    if not request.model and method == "POST" and path in _NAMES_A_MODEL:
        raise BadRequestError("You must provide the parameter 'model'.", param="model", code="missing_model")
    return request


def _read_json(path: str, headers: Mapping[str, str], body: bytes, interest: Callable[[str], Interest] | None) -> Request:
    if not path.startswith(_PROMPTS):
        head = read_head(body)
        return Request(path, head.model, stream=bool(head.stream), headers=headers)
    if interest is not None:
        head = read_head(body)
        asked = interest(head.model) if head.model else Interest()
        if not asked.facts:
            return Request(path, head.model, stream=bool(head.stream), headers=headers)
    else:
        asked = Interest()
    envelope = read_envelope(body)
    return Request(
        path,
        envelope.model,
        stream=bool(envelope.stream),
        max_output_tokens=envelope.answer_limit,
        choices=max(1, envelope.n or 1),
        needs=read_needs(envelope),
        facts=read_facts(envelope, code=asked.code),
        headers=headers,
    )
