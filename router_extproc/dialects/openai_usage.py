"""What an answer says about the tokens it used."""

from __future__ import annotations

import msgspec


class Usage(msgspec.Struct, frozen=True):
    """Tokens as the provider counts them; ``cached_tokens`` are among ``prompt_tokens``, what was thought is among
    ``completion_tokens``.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0


class _Details(msgspec.Struct):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    # The same in the words of Moonshot and DeepSeek.
    cached_tokens: int | None = None
    prompt_cache_hit_tokens: int | None = None

    @property
    def cached(self) -> int:
        """Tokens of the prompt that the provider had in its cache; OpenAI's word holds before the others'."""
        details = self.prompt_tokens_details
        told = (None if details is None else details.cached_tokens, self.prompt_cache_hit_tokens, self.cached_tokens)
        return next((one for one in told if one is not None), 0)


class _Answer(msgspec.Struct):
    usage: _Usage | None = None


_answer = msgspec.json.Decoder(_Answer)


def answer_tokens(prompt: int | None, completion: int | None, total: int | None) -> int:
    """Tokens of the answer, those that were thought included; None: the provider did not say.

    OpenAI counts what a model thinks among the completion's tokens. xAI and Gemini count it in the total alone, and bill it
    like the rest of the answer (https://docs.x.ai/docs/guides/reasoning, https://ai.google.dev/gemini-api/docs/thinking#pricing).
    """
    told = completion or 0
    return told if prompt is None or total is None else max(told, total - prompt)


def read_usage(body: bytes) -> Usage | None:
    """The usage of a plain answer, or of one event of a stream; None when it tells none, or none that makes sense."""
    try:
        usage = _answer.decode(body).usage
    except msgspec.DecodeError:
        return None
    if usage is None or usage.prompt_tokens is None:
        return None
    if usage.completion_tokens is not None and usage.completion_tokens < 0:
        return None
    answer = answer_tokens(usage.prompt_tokens, usage.completion_tokens, usage.total_tokens)
    read = Usage(usage.prompt_tokens, answer, usage.cached)
    return read if 0 <= read.cached_tokens <= read.prompt_tokens else None


def read_stream_usage(seen: bytes) -> Usage | None:
    """The last usage that a stream has told so far."""
    events = seen.replace(b"\r\n", b"\n").split(b"\n\n")
    for event in reversed(events):
        data = b"\n".join(line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:"))
        usage = read_usage(data) if b'"usage"' in data else None
        if usage is not None:
            return usage
    return None
