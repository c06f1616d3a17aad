"""From an HTTP request to the canonical request: what names its route is read here, the rest when somebody asks."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from urllib.parse import unquote

from router_extproc.analysis.analyser import Analyser
from router_extproc.dialects.openai import is_multipart, read_head, read_multipart_fields, read_multipart_model
from router_extproc.errors import BadRequestError, PathNotFoundError
from router_extproc.request import CHAT_COMPLETIONS, EMBEDDINGS, FORM_FIELDS, NOTHING_KNOWN, Request, is_below

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
# Paths whose body is a prompt. It is JSON there, whatever it calls itself: many servers look no further either.
_PROMPTS = (CHAT_COMPLETIONS, "/v1/completions", EMBEDDINGS, "/v1/responses")
# Paths whose forms say how much they ask for.
_BY_PIECE = ("/v1/images", "/v1/audio", "/v1/videos")

_SHOWN = 200
_AN_OBJECT = re.compile(rb"(?:\xef\xbb\xbf)?\s*\{")
# What some servers take for the end of a path, and what no path holds.
_PATH_END = re.compile(r"[?#;]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NO_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
# Some servers decode again what another one in front of them has decoded.
_MOST_DECODINGS = 3


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
    path = _plain(path.partition("?")[0])
    if not path.startswith(PREFIX):
        raise PathNotFoundError(f"The path {path[:_SHOWN]} does not exist: all paths begin with {PREFIX}.")
    content_type = headers.get("content-type", "")
    is_prompt = method == "POST" and is_below(path, _PROMPTS)
    if method == "POST" and headers.get("content-encoding", "identity") != "identity":
        raise BadRequestError("Compressed request bodies cannot be read: send them as they are.", code="compressed_body")
    if is_multipart(content_type) and not is_prompt:
        model = read_multipart_model(content_type, body) or ""
        form = read_multipart_fields(content_type, body, FORM_FIELDS) if is_below(path, _BY_PIECE) else {}
        request = Request(path, model, method, headers=headers, form=form, form_bytes=len(body))
    elif is_prompt or (method == "POST" and _AN_OBJECT.match(body) is not None):
        request = _read_json(path, headers, body, analyser)
    else:
        request = Request(path, "", method, headers=headers)
    if not request.model and method == "POST" and path in _NAMES_A_MODEL:
        raise BadRequestError("You must provide the parameter 'model'.", param="model", code="missing_model")
    return request


def _read_json(path: str, headers: Mapping[str, str], body: bytes, analyser: Analyser) -> Request:
    head = read_head(body)
    analysis = analyser.analyse(body) if is_below(path, _PROMPTS) else NOTHING_KNOWN
    return Request(path, head.model, stream=bool(head.stream), analysis=analysis, headers=headers, body=body)


def _plain(path: str) -> str:
    """The path as it is compared: with a slash at its end it is the same to most servers. Envoy has resolved ``.`` and ``..``.

    Raises:
        PathNotFoundError: it is spelled so that a provider may take it for another.
    """
    if "//" in path or "\\" in path or ";" in path or ("%" in path and _leads_elsewhere(path)):
        raise PathNotFoundError(f"The path {path[:_SHOWN]} does not exist: write it without needless slashes and escapes.")
    return path if path == PREFIX else path.removesuffix("/")


def _leads_elsewhere(path: str) -> bool:
    """Whether a server that decodes the path finds another place in the API there, or none."""
    decoded = path
    for _ in range(_MOST_DECODINGS):
        decoded = unquote(decoded, errors="replace")
    if _NO_ESCAPE.search(path) is not None or _CONTROL.search(decoded) is not None:
        return True
    resolved = posixpath.normpath(_PATH_END.split(decoded.replace("\\", "/"))[0])
    return _place(resolved) != _place(path)


def _place(path: str) -> tuple[str, bool]:
    """What a path is below: ``files`` of ``/v1/files/x``, and whether its body is a prompt."""
    return path.removeprefix(PREFIX).partition("/")[0], is_below(path, _PROMPTS)
