"""The canonical request and its facts: frozen values that every room reads and none changes."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

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


class Facts(msgspec.Struct, frozen=True):
    """What one pass over the body says about a request.

    ``prompt_tokens`` is an estimate in tokens: text, tools and images counted, data URLs never as text.
    """

    prompt_tokens: int = 0
    characters: int = 0
    images: int = 0
    has_code: bool = False
    has_tools: bool = False


class Request(msgspec.Struct, frozen=True):
    """One client request in canonical form.

    ``model`` is what the client wrote. ``needs`` are the capabilities without which an answer is impossible.
    ``max_output_tokens`` is the caller's own limit in tokens, or None. ``headers`` holds lower-case names.
    """

    path: str
    model: str
    method: str = "POST"
    stream: bool = False
    max_output_tokens: int | None = None
    choices: int = 1
    needs: frozenset[str] = frozenset()
    facts: Facts = Facts()
    headers: Mapping[str, str] = {}
