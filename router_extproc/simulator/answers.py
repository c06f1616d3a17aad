"""What an endpoint hands back: an answer as bytes, before any fault has touched it and before any time has passed."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from router_extproc.simulator.faults import Faults, Malformation

JSON = "application/json"
EVENT_STREAM = "text/event-stream; charset=utf-8"

Header = tuple[str, str]


class Usage(msgspec.Struct, frozen=True):
    """Tokens a provider bills. ``cached_tokens`` are part of ``prompt_tokens``."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0


NOT_BILLED = Usage()


class PlainAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One body, sent whole."""

    body: bytes
    status: int = 200
    content_type: str = JSON
    headers: tuple[Header, ...] = ()
    usage: Usage = NOT_BILLED


class StreamAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Server-sent events, one step a token.

    ``token(i)`` renders the events of step ``i`` when its time comes, so that a thousand slow streams hold no text.
    """

    token: Callable[[int], bytes]
    tokens: int
    opening: bytes
    """Goes out with the first token."""
    finish: bytes
    """The event that names the ``finish_reason``, and usage where asked for."""
    done: bytes
    """The last event, by which a client knows the stream to be whole."""
    usage: Usage = NOT_BILLED
    status: int = 200
    content_type: str = EVENT_STREAM
    headers: tuple[Header, ...] = ()


Answer = PlainAnswer | StreamAnswer


def spoil(answer: Answer, faults: Faults) -> Answer:
    """Return the answer as a provider with these faults would give it; timing and transport are left to the exchange."""
    if answer.status >= 300:  # noqa: PLR2004 -- HTTP's own border: errors stay readable
        return answer
    return _spoil_plain(answer, faults) if isinstance(answer, PlainAnswer) else _spoil_stream(answer, faults)


def _spoil_plain(answer: PlainAnswer, faults: Faults) -> PlainAnswer:
    body = answer.body
    if faults.empty:
        body = b""
    elif faults.malformed is not None:
        body = _malform(body, faults.malformed)
    return msgspec.structs.replace(answer, body=body)


def _spoil_stream(answer: StreamAnswer, faults: Faults) -> StreamAnswer:
    if faults.empty:
        return msgspec.structs.replace(answer, tokens=0, opening=b"", finish=b"", done=b"")
    if (how := faults.malformed) is not None:
        answer = msgspec.structs.replace(answer, token=lambda step, intact=answer.token: _malform_event(intact(step), how))
    if faults.end_early == "before_done":
        answer = msgspec.structs.replace(answer, done=b"")
    elif faults.end_early == "before_finish":
        answer = msgspec.structs.replace(answer, finish=b"", done=b"")
    return answer


def _malform(content: bytes, how: Malformation) -> bytes:
    return b"<" + content if how == "broken" else content[: len(content) // 2]


def _malform_event(event: bytes, how: Malformation) -> bytes:
    """Keep the framing of server-sent events and spoil the JSON within, so that it is the reader of JSON who stumbles."""
    return b"data: " + _malform(event.removeprefix(b"data: ").rstrip(b"\n"), how) + b"\n\n"
