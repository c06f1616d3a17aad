"""What an answer says about the tokens it used."""

from __future__ import annotations

import msgspec


class Usage(msgspec.Struct, frozen=True):
    """Tokens as the provider counts them; ``cached_tokens`` are among ``prompt_tokens``."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0


class _Details(msgspec.Struct):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None


class _Answer(msgspec.Struct):
    usage: _Usage | None = None


_answer = msgspec.json.Decoder(_Answer)


def read_usage(body: bytes) -> Usage | None:
    """The usage of a plain answer, or of one event of a stream; None when it tells none, or none that makes sense."""
    try:
        usage = _answer.decode(body).usage
    except msgspec.DecodeError:
        return None
    if usage is None or usage.prompt_tokens is None:
        return None
    cached = None if usage.prompt_tokens_details is None else usage.prompt_tokens_details.cached_tokens
    read = Usage(usage.prompt_tokens, usage.completion_tokens or 0, cached or 0)
    return read if 0 <= read.cached_tokens <= read.prompt_tokens and read.completion_tokens >= 0 else None


def read_stream_usage(seen: bytes) -> Usage | None:
    """The last usage that a stream has told so far."""
    events = seen.replace(b"\r\n", b"\n").split(b"\n\n")
    for event in reversed(events):
        data = b"\n".join(line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:"))
        usage = read_usage(data) if b'"usage"' in data else None
        if usage is not None:
            return usage
    return None
