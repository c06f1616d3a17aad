"""What the router itself may change in a request beside ``model``: the answer's limit, the wish for usage, an end to a loop.

Rules of this file
- Every other byte stays the client's own.
- What is changed can only make an answer shorter, or tell what it cost: never ask for more than the client did.
"""

from __future__ import annotations

import msgspec

from router_extproc.dialects.json_body import walk
from router_extproc.dialects.json_edit import append_item, edit_members, read_members
from router_extproc.request import CHAT_COMPLETIONS

COMPLETIONS = "/v1/completions"
RESPONSES = "/v1/responses"

# The members that limit an answer, on each path that has such a limit; the last is understood by the most providers.
_LIMITS = {
    CHAT_COMPLETIONS: ("max_completion_tokens", "max_tokens"),
    COMPLETIONS: ("max_tokens",),
    RESPONSES: ("max_output_tokens",),
}
# Streams that tell their usage only when they are asked to; those of other paths always do.
_SILENT_STREAMS = frozenset({CHAT_COMPLETIONS, COMPLETIONS})
_TOOLS = ("tools", "tool_choice", "parallel_tool_calls", "functions", "function_call")
_INCLUDE_USAGE = b'{"include_usage":true}'

_whole_number = msgspec.json.Decoder(int)
_options = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Edits(msgspec.Struct, frozen=True):
    """What is to be changed; nothing by default.

    ``max_output_tokens`` lowers the limit of one answer. ``prefers_completion_tokens`` says by which name a chat's limit is
    written where the client wrote none. ``include_usage`` asks a stream for its usage. ``system_line`` is said last, and
    takes the tools away.
    """

    model: str | None = None
    max_output_tokens: int | None = None
    prefers_completion_tokens: bool = False
    include_usage: bool = False
    system_line: str | None = None


class Edited(msgspec.Struct, frozen=True):
    """The body as it goes out. ``usage_injected``: its stream tells its usage although the client did not ask."""

    body: bytes
    usage_injected: bool = False


def edit_request(path: str, body: bytes, edits: Edits) -> Edited:
    """Applies what the path has a place for; the very same body when nothing is to be changed.

    Raises:
        BadRequestError: the body is not a JSON object in UTF-8.
    """
    members = read_members(body)
    changes: dict[str, bytes | None] = {}
    if edits.model is not None and "model" in members:
        changes["model"] = msgspec.json.encode(edits.model)
    if edits.max_output_tokens is not None:
        changes |= _limit(path, body, members, edits.max_output_tokens, prefers_completion=edits.prefers_completion_tokens)
    options = _with_usage(members.get("stream_options")) if edits.include_usage and path in _SILENT_STREAMS else None
    if options is not None:
        changes["stream_options"] = options
    if edits.system_line is not None:
        changes |= _last_word(path, members, edits.system_line)
    edited = edit_members(body, changes) if changes else body
    return Edited(body if edited == body else edited, options is not None)


def is_silent(path: str, body: bytes) -> bool:
    """Whether nobody asked the stream that this body wants for its usage, and it would tell it if somebody did.

    Raises:
        BadRequestError: the body is not a JSON object in UTF-8.
    """
    return path in _SILENT_STREAMS and _with_usage(read_members(body).get("stream_options")) is not None


def ask_for_usage(body: bytes) -> bytes:
    """The body of a silent stream with the wish for its usage; the very same where it has that already.

    Raises:
        BadRequestError: the body is not a JSON object in UTF-8.
    """
    options = _with_usage(read_members(body).get("stream_options"))
    return body if options is None else edit_members(body, {"stream_options": options})


def ask_for_no_usage(body: bytes) -> bytes:
    """The same without that wish, and without ``stream_options`` where nothing else is in them.

    Raises:
        BadRequestError: the body is not a JSON object in UTF-8.
    """
    options = read_members(body).get("stream_options")
    try:
        wishes = _options.decode(options) if options is not None else {}
    except msgspec.DecodeError:
        return body
    if options is None or "include_usage" not in wishes:
        return body
    others = len(wishes) > 1
    return edit_members(body, {"stream_options": edit_members(bytes(options), {"include_usage": None}) if others else None})


def _limit(
    path: str, body: bytes, members: dict[str, msgspec.Raw], most: int, *, prefers_completion: bool
) -> dict[str, bytes | None]:
    """Each limit that the client wrote is lowered; where there is none, one is written."""
    names = _LIMITS.get(path)
    if names is None:
        return {}
    # All of a repeated name count: readers differ in which one they believe.
    written = [(member.name, body[member.start : member.end]) for member in walk(body, members) if member.name in names]
    wishes = [(name, value) for name, value in written if value != b"null"]
    if not wishes:
        return {names[0] if prefers_completion else names[-1]: msgspec.json.encode(most)}
    lowest: dict[str, int] = {}
    for name, value in wishes:
        lowest[name] = min(lowest.get(name, most), _wish(value, most))
    return {name: msgspec.json.encode(limit) for name, limit in lowest.items()}


def _wish(value: bytes, most: int) -> int:
    try:
        wish = _whole_number.decode(value)
    except msgspec.DecodeError:
        return most
    return wish if wish > 0 else most


def _with_usage(options: msgspec.Raw | None) -> bytes | None:
    """The options with the wish for usage; None when the client wishes it already."""
    if options is None:
        return _INCLUDE_USAGE
    try:
        wished = _options.decode(options).get("include_usage")
    except msgspec.DecodeError:
        # Null, or what no provider would understand either.
        return _INCLUDE_USAGE
    if wished is not None and bytes(wished) == b"true":
        return None
    return edit_members(bytes(options), {"include_usage": b"true"})


def _last_word(path: str, members: dict[str, msgspec.Raw], line: str) -> dict[str, bytes | None]:
    """No tools any more, and the line as the conversation's last message."""
    said = msgspec.json.encode({"role": "system", "content": line})
    changes: dict[str, bytes | None] = {name: None for name in _TOOLS if name in members}
    name = "input" if path == RESPONSES else "messages"
    if path not in (CHAT_COMPLETIONS, RESPONSES) or name not in members:
        return changes
    spoken = bytes(members[name]).strip()
    if spoken.startswith(b'"'):
        spoken = b'[{"role":"user","content":%s}]' % spoken
    if spoken.startswith(b"["):
        changes[name] = append_item(spoken, said)
    return changes
