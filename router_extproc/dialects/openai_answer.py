"""Was it an answer at all? Judges OpenAI answers and the beginnings of streams without changing a byte."""

from __future__ import annotations

import enum

import msgspec

DONE = b"[DONE]"


_NULL = b"null"
_NOTHING = (_NULL, b'""', b"[]")


class Verdict(enum.Enum):
    """``UNDECIDED`` asks for more bytes."""

    UNDECIDED = "undecided"
    GOOD = "good"
    EMPTY = "empty"
    MALFORMED = "malformed"


class _Message(msgspec.Struct):
    content: msgspec.Raw = msgspec.Raw(_NULL)
    reasoning: msgspec.Raw = msgspec.Raw(_NULL)
    reasoning_content: msgspec.Raw = msgspec.Raw(_NULL)
    refusal: msgspec.Raw = msgspec.Raw(_NULL)
    tool_calls: msgspec.Raw = msgspec.Raw(_NULL)
    function_call: msgspec.Raw = msgspec.Raw(_NULL)
    audio: msgspec.Raw = msgspec.Raw(_NULL)

    def is_silent(self) -> bool:
        """True when nothing of it would be seen by a reader."""
        spoken = (self.content, self.reasoning, self.reasoning_content, self.refusal)
        done = (self.tool_calls, self.function_call, self.audio)
        return all(bytes(field) in _NOTHING for field in (*spoken, *done))


class _StreamChoice(msgspec.Struct):
    delta: _Message | None = None
    text: str | None = None
    finish_reason: str | None = None

    def is_token(self) -> bool:
        """True for anything that a reader would see, and for the end."""
        return bool(self.text or self.finish_reason or (self.delta is not None and not self.delta.is_silent()))


class _Event(msgspec.Struct):
    choices: list[_StreamChoice] | None = None
    error: msgspec.Raw = msgspec.Raw(_NULL)


class _Choice(msgspec.Struct):
    message: _Message | None = None


class _Answer(msgspec.Struct):
    choices: list[_Choice] | None = None
    error: msgspec.Raw = msgspec.Raw(_NULL)


_event = msgspec.json.Decoder(_Event)
_answer = msgspec.json.Decoder(_Answer)


def judge_answer(body: bytes) -> Verdict:
    """Judges a whole plain answer with status 200: JSON that can be read, that does not tell of an error and, where it has
    choices, says something.
    """
    if not body.strip():
        return Verdict.EMPTY
    try:
        answer = _answer.decode(body)
    except msgspec.DecodeError:
        return Verdict.MALFORMED
    if bytes(answer.error) != _NULL:
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
        if bytes(read.error) != _NULL:
            return Verdict.MALFORMED
        if any(choice.is_token() for choice in read.choices or ()):
            return Verdict.GOOD
    return Verdict.EMPTY if ended else Verdict.UNDECIDED
