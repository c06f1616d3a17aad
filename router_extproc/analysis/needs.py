"""What a request needs a model to be able to do, read from the whole history and not only from the last message."""

from __future__ import annotations

import msgspec

from router_extproc.analysis.facts import AUDIO_PARTS, FILE_PARTS, IMAGE_PARTS, has_items, mentions, offers_tools
from router_extproc.dialects.openai import Envelope, Message, Part
from router_extproc.request import AUDIO, FILES, JSON_MODE, JSON_SCHEMA, LOGPROBS, TOOLS, VISION

_NOTHING: frozenset[str] = frozenset()
_PARTS_OF = {VISION: IMAGE_PARTS, AUDIO: AUDIO_PARTS, FILES: FILE_PARTS}
_PARTS = {kind: need for need, kinds in _PARTS_OF.items() for kind in kinds}
_FORMATS = {"json_object": JSON_MODE, "json_schema": JSON_SCHEMA}
_TOOL_ITEMS = frozenset({"function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output"})


def read_needs(envelope: Envelope) -> frozenset[str]:
    """The capabilities without which an answer is impossible."""
    needs: set[str] = set()
    _add_options(envelope, needs)
    for message in envelope.messages or ():
        _add_message(message, needs)
    if isinstance(envelope.input, list):
        for item in envelope.input:
            if isinstance(item, Message):
                _add_message(item, needs)
    if envelope.opaque is not msgspec.UNSET:
        for raw in envelope.opaque:
            needs.update(need for need, kinds in _PARTS_OF.items() if mentions(raw, kinds))
    return frozenset(needs) if needs else _NOTHING


def _add_options(envelope: Envelope, needs: set[str]) -> None:
    if offers_tools(envelope):
        needs.add(TOOLS)
    answer_format = envelope.response_format or (envelope.text and envelope.text.format)
    if answer_format and answer_format.type in _FORMATS:
        needs.add(_FORMATS[answer_format.type])
    if envelope.logprobs or envelope.top_logprobs:
        needs.add(LOGPROBS)
    if envelope.modalities is not None and AUDIO in envelope.modalities:
        needs.add(AUDIO)


def _add_message(message: Message, needs: set[str]) -> None:
    if message.role == "tool" or has_items(message.tool_calls) or message.type in _TOOL_ITEMS:
        needs.add(TOOLS)
    for said in (message.content, message.output):
        if isinstance(said, list):
            needs.update(_PARTS[part.type] for part in said if isinstance(part, Part) and part.type in _PARTS)
