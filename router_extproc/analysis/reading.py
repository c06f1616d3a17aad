"""From an HTTP request to the canonical request: what names its route is read here, the rest when somebody asks."""

from __future__ import annotations

from collections.abc import Mapping

from router_extproc.analysis.analyser import Analyser
from router_extproc.dialects.openai import is_multipart, read_head, read_multipart_model
from router_extproc.errors import BadRequestError, PathNotFoundError
from router_extproc.request import CHAT_COMPLETIONS, EMBEDDINGS, NOTHING_KNOWN, Request

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


def read_request(
    method: str,
    path: str,
    headers: Mapping[str, str],
    body: bytes,
    analyser: Analyser,
) -> Request:
    """Reads one request; ``headers`` has lower-case names, ``path`` may carry a query. Bodies of prompts get an analysis.

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
        request = _read_json(path, headers, body, analyser)
    else:
        request = Request(path, "", method, headers=headers)
    if not request.model and method == "POST" and path in _NAMES_A_MODEL:
        raise BadRequestError("You must provide the parameter 'model'.", param="model", code="missing_model")
    return request


def _read_json(path: str, headers: Mapping[str, str], body: bytes, analyser: Analyser) -> Request:
    head = read_head(body)
    analysis = analyser.analyse(body) if path.startswith(_PROMPTS) else NOTHING_KNOWN
    return Request(path, head.model, stream=bool(head.stream), analysis=analysis, headers=headers, body=body)
