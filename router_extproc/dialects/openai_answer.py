"""Was it an answer at all? Judges OpenAI answers and the beginnings of streams without changing a byte."""

from __future__ import annotations

import enum

import msgspec

DONE = b"[DONE]"


class Verdict(enum.Enum):
    """``UNDECIDED`` asks for more bytes."""

    UNDECIDED = "undecided"
    GOOD = "good"
    EMPTY = "empty"
    MALFORMED = "malformed"


class _Message(msgspec.Struct):
    content: msgspec.Raw = msgspec.Raw(b"null")
    reasoning_content: msgspec.Raw = msgspec.Raw(b"null")
    refusal: msgspec.Raw = msgspec.Raw(b"null")
    tool_calls: msgspec.Raw = msgspec.Raw(b"null")
    function_call: msgspec.Raw = msgspec.Raw(b"null")
    audio: msgspec.Raw = msgspec.Raw(b"null")

    def is_silent(self) -> bool:
        """True when nothing of it would be seen by a reader."""
        fields = (self.content, self.reasoning_content, self.refusal, self.tool_calls, self.function_call, self.audio)
        return all(bytes(field) in (b"null", b'""', b"[]") for field in fields)


class _StreamChoice(msgspec.Struct):
    delta: _Message = msgspec.field(default_factory=_Message)
    text: str = ""
    finish_reason: str | None = None


class _Event(msgspec.Struct):
    choices: list[_StreamChoice] = msgspec.field(default_factory=list)
    error: msgspec.Raw = msgspec.Raw(b"null")


class _Choice(msgspec.Struct):
    message: _Message | None = None


class _Answer(msgspec.Struct):
    choices: list[_Choice] | None = None


_event = msgspec.json.Decoder(_Event)
_answer = msgspec.json.Decoder(_Answer)


def judge_answer(body: bytes) -> Verdict:
    """Judges a whole plain answer with status 200: JSON that can be read and, where it has choices, says something."""
    if not body.strip():
        return Verdict.EMPTY
    try:
        answer = _answer.decode(body)
    except msgspec.DecodeError:
        return Verdict.MALFORMED
    if answer.choices is None:
        return Verdict.GOOD
    messages = [choice.message for choice in answer.choices]
    return Verdict.EMPTY if all(message is not None and message.is_silent() for message in messages) else Verdict.GOOD


def judge_stream_start(seen: bytes, *, ended: bool) -> Verdict:
    """Judges the first events of a stream: good from the first token on (text, tool call, refusal) or a finish reason.

    Comments, empty deltas and the role alone are not tokens. ``ended`` says that no more will come.
    """
    *whole, rest = seen.replace(b"\r\n", b"\n").split(b"\n\n")
    for event in [*whole, rest] if ended else whole:
        data = b"\n".join(line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:"))
        if not data or data == DONE:
            continue
        try:
            read = _event.decode(data)
        except msgspec.DecodeError:
            return Verdict.MALFORMED
        if bytes(read.error) != b"null":
            return Verdict.MALFORMED
        if any(choice.text or choice.finish_reason or not choice.delta.is_silent() for choice in read.choices):
            return Verdict.GOOD
    return Verdict.EMPTY if ended else Verdict.UNDECIDED
