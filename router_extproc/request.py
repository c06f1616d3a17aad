"""The canonical request: a frozen value that every room reads and none changes."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

from router_extproc.caller import NOBODY, Caller
from router_extproc.facts import Analysis, Facts

# What a request may need and a model may offer. The spelling in YAML, JSON and logs.
VISION = "vision"
TOOLS = "tools"
JSON_MODE = "json_mode"
JSON_SCHEMA = "json_schema"
AUDIO = "audio"
FILES = "files"
LOGPROBS = "logprobs"

CHAT_COMPLETIONS = "/v1/chat/completions"
EMBEDDINGS = "/v1/embeddings"

BY_PATH = "path"
"""The name of the route of requests that name no model."""

FORM_FIELDS = frozenset({"n", "n_variants", "seconds", "duration", "n_seconds", "url", "file_url", "file_id"})
"""Fields of forms that say how much is asked for, or that what is sent lies elsewhere."""

NOTHING_KNOWN = Facts()


def is_below(path: str, roots: Collection[str]) -> bool:
    """Whether a path is one of the roots, or leads on from one: ``/v1/responses/compact`` runs a model too."""
    return any(path == root or path.startswith(f"{root}/") for root in roots)


class Request(msgspec.Struct, frozen=True):
    """One client request in canonical form.

    ``model`` is what the client wrote. ``headers`` holds lower-case names. ``analysis`` answers everything about the
    content; it finds out what it is asked for and nothing else, so a request that is passed through costs no reading.
    ``caller`` is who asks, as proved. ``body`` is the body of JSON as it came, for whoever must not rely on a reading of it.
    Of a form ``form`` has the fields that are among ``FORM_FIELDS``, and ``form_bytes`` is its size.
    """

    path: str
    model: str
    method: str = "POST"
    stream: bool = False
    analysis: Analysis = NOTHING_KNOWN
    headers: Mapping[str, str] = {}
    caller: Caller = NOBODY
    body: bytes = b""
    form: Mapping[str, str] = {}
    form_bytes: int = 0
