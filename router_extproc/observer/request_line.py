"""Lines of Envoy's access log file as values; ``envoyconf.access_logs`` says what stands in them. Pure.

Rules of this file
- What a provider or a client can write must not make a line unreadable: token counts that are none are taken as unknown.
- A line that was torn when Envoy died takes nothing of the next one with it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

import msgspec

from router_extproc.dialects.openai_usage import answer_tokens

REQUEST, ATTEMPT = "request", "attempt"

# How Envoy tells that it ended a request itself; with a first byte that had come, the provider was answering.
_BROKEN_AMID_ANSWER = ("upstream_reset_after_response_started", "response_timeout")
# How it tells that it lost patience with the last attempt; a provider may have been at work all the while.
_OUT_OF_TIME = ("upstream_per_try_timeout", "response_timeout", "stream_idle_timeout")

_READS = ("GET", "HEAD", "DELETE", "OPTIONS")
_LARGEST_COUNT = 10**12
# Envoy appends to what it left half written: so many beginnings are tried.
_MOST_BEGINNINGS = 64


class Usage(msgspec.Struct, frozen=True):
    """Tokens as a provider reported them; ``cached_tokens`` are among those of the prompt."""

    prompt_tokens: int
    completion_tokens: int = 0
    cached_tokens: int = 0


class RequestLine(msgspec.Struct, frozen=True, kw_only=True):
    """What settling needs of a request's line; see there for what each name means."""

    decision: str
    time: datetime
    kind: str = ""
    method: str | None = None
    path: str | None = None
    route: str | None = None
    reason: str | None = None
    model: str | None = None
    deployment: str | None = None
    stream: bool | None = None
    status: int | None = None
    flags: str | None = None
    details: str | None = None
    cause: str | None = None
    attempts: int | None = None
    tried: dict[str, str] | None = None
    answered: dict[str, str] | None = None
    causes: dict[str, str] | None = None
    incomplete: bool | None = None
    first_byte_ms: float | None = None
    bytes_sent: Any = None
    prompt_tokens: Any = None
    completion_tokens: Any = None
    cached_tokens: Any = None
    total_tokens: Any = None
    seconds: Any = None
    events: Any = None
    billed: dict[str, Any] | None = None
    text_tokens: Any = None
    account: str | None = None

    @property
    def usage(self) -> Usage | None:
        """What the provider reported for the answer; None when nothing."""
        return _usage(self.prompt_tokens, self.completion_tokens, self.cached_tokens, self.total_tokens)

    @property
    def lasted(self) -> int | None:
        """Seconds of sound that the provider says it heard, rounded up; None: it did not say."""
        whole = count_of(self.seconds)
        return whole if whole is None or whole == float(self.seconds) else whole + 1

    @property
    def estimated_prompt(self) -> int:
        """The prompt's tokens as they were estimated for a chat of text; 0 where they are not known."""
        return count_of(self.text_tokens) or 0

    @property
    def makes_nothing(self) -> bool:
        """Whether the request only read, removed or stopped something: usage in its answer was paid for when it was made."""
        return self.method in _READS or (self.path or "").endswith("/cancel")

    @property
    def event_count(self) -> int:
        """Events of the answer's stream that came; 0 where there was none."""
        return count_of(self.events) or 0

    @property
    def has_broken_amid_answer(self) -> bool:
        """Whether an answer had begun to come when it broke or ran out of time; its client then got an error in its place."""
        return self.first_byte_ms is not None and (self.details or "").startswith(_BROKEN_AMID_ANSWER)

    @property
    def has_run_out_of_time(self) -> bool:
        """Whether nothing of the last attempt's answer had come when Envoy lost patience."""
        return self.first_byte_ms is None and (self.details or "").startswith(_OUT_OF_TIME)

    def called(self) -> dict[int, str]:
        """Deployments by the number of the attempt."""
        tried = {int(number): name for number, name in (self.tried or {}).items() if number.isdecimal() and name}
        if not tried and self.attempts and self.deployment:
            return {self.attempts: self.deployment}
        return dict(sorted(tried.items()))

    def turned_down(self) -> dict[int, Usage]:
        """What providers reported for answers that were not taken, by the number of the attempt."""
        found = {}
        for number, reported in (self.billed or {}).items():
            if number.isdecimal() and isinstance(reported, Mapping):
                usage = _usage(reported.get("prompt_tokens"), reported.get("completion_tokens"), reported.get("cached_tokens"))
                if usage is not None:
                    found[int(number)] = usage
        return found

    def begun(self) -> dict[int, bool]:
        """Answers that had begun to come when they were held back, by the number of the attempt; True: streams."""
        return {int(number): kind == "stream" for number, kind in (self.answered or {}).items() if number.isdecimal()}

    def unreported(self) -> dict[int, bool]:
        """Answers that were not taken and of which no usage was reported, by the number of the attempt; True: streams."""
        return {
            int(number): reported["unreported"] == "stream"
            for number, reported in (self.billed or {}).items()
            if number.isdecimal() and isinstance(reported, Mapping) and "unreported" in reported
        }


class _Unnamed(msgspec.Struct):
    """What Envoy turned away before it was a request: anybody who can connect may cause as many as they like."""

    kind: Literal["request"]
    decision: None


class UnreadableLineError(ValueError):
    """The line is no line of the access log, or only a part of one."""


_decoder = msgspec.json.Decoder(RequestLine, strict=False)
_unnamed = msgspec.json.Decoder(_Unnamed)


def read_line(line: bytes) -> RequestLine | None:
    """The request's line, None for one of something else: an attempt, or a line of an older version.

    Raises:
        UnreadableLineError: there is no line of ours in it.
    """
    text = line.strip(b"\0 \r")
    if not text:
        return None
    read = _decode(text)
    start = 0
    # The line before may have been torn: then the whole one begins further on.
    for _ in range(_MOST_BEGINNINGS if read is None else 0):
        start = text.find(b'{"', start + 1)
        if start < 0:
            break
        read = _decode(text[start:])
        if read is not None and read.kind:
            break
        read = None
    if read is None and _is_unnamed(text):
        return None
    if read is None:
        raise UnreadableLineError(f"{len(line)} bytes that are no line of the access log")
    return read if read.kind == REQUEST else None


def count_of(value: Any) -> int | None:
    """A non-negative whole number, None when it is anything else."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return int(value) if 0 <= value <= _LARGEST_COUNT else None


def _decode(text: bytes) -> RequestLine | None:
    try:
        return _decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _is_unnamed(text: bytes) -> bool:
    try:
        _unnamed.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def _usage(prompt: Any, completion: Any, cached: Any, total: Any = None) -> Usage | None:
    prompt, completion = count_of(prompt), count_of(completion)
    if prompt is None and completion is None:
        return None
    return Usage(prompt or 0, answer_tokens(prompt, completion, count_of(total)), min(count_of(cached) or 0, prompt or 0))
