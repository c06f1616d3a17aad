"""Token counts that providers report, lifted from the answer into dynamic metadata without Python.

``sse_to_metadata`` is unknown to the compiled messages that the tests check with: it stays in this file.
"""

from __future__ import annotations

from collections.abc import Iterable

from router_extproc.envoyconf import names
from router_extproc.envoyconf.messages import Message, extension, typed

MAX_EVENT_BYTES = 1 << 20
"""Largest server-sent event that is read; Envoy's default of 8 KiB is less than one long tool call."""

# Where OpenAI's APIs report usage, and what we call it: chat, completions and embeddings; then, from the total on, responses
# and transcriptions, which use other words. The total is read for what some providers count in nothing else. Two of them have
# words of their own for what was cached (Moonshot, DeepSeek); of several in one answer OpenAI's, which comes last, holds.
_COUNTS = (
    (("usage", "cached_tokens"), "cached_tokens"),
    (("usage", "prompt_cache_hit_tokens"), "cached_tokens"),
    (("usage", "prompt_tokens"), "prompt_tokens"),
    (("usage", "completion_tokens"), "completion_tokens"),
    (("usage", "prompt_tokens_details", "cached_tokens"), "cached_tokens"),
    (("usage", "total_tokens"), "total_tokens"),
    (("usage", "input_tokens"), "prompt_tokens"),
    (("usage", "output_tokens"), "completion_tokens"),
    (("usage", "input_tokens_details", "cached_tokens"), "cached_tokens"),
)
# How long the sound was that was transcribed: all of it, and by newer answers rounded up as it is billed.
_LASTED = ((("duration",), "seconds"), (("usage", "seconds"), "seconds"))
# The last event of a streamed response holds the whole of it.
_COUNTS_OF_EVENTS = (*_COUNTS, *((("response", *path), name) for path, name in _COUNTS[5:]))


def usage_filters() -> list[Message]:
    """The filters for plain JSON answers and for event streams."""
    return [_from_json(), _from_events()]


def _rules(counts: Iterable[tuple[tuple[str, ...], str]]) -> list[Message]:
    return [
        {
            "selectors": [{"key": key} for key in path],
            "on_present": {"metadata_namespace": names.USAGE, "key": name, "type": "NUMBER"},
        }
        for path, name in counts
    ]


def _from_json() -> Message:
    return extension(
        "usage",
        "extensions.filters.http.json_to_metadata.v3.JsonToMetadata",
        response_rules={"allow_content_types": ["application/json"], "rules": _rules((*_COUNTS, *_LASTED))},
    )


def _from_events() -> Message:
    parser = {
        "name": "envoy.content_parsers.json",
        "typed_config": typed(
            "extensions.content_parsers.json.v3.JsonContentParser", rules=[{"rule": rule} for rule in _rules(_COUNTS_OF_EVENTS)]
        ),
    }
    return extension(
        "usage_of_streams",
        "extensions.filters.http.sse_to_metadata.v3.SseToMetadata",
        response_rules={"max_event_size": MAX_EVENT_BYTES, "content_parser": parser},
    )
