"""What counting says about a request: how long its prompt is, and what is in it. One pass over the messages, no copies."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar

import msgspec

from router_extproc.analysis.tokens import (
    ANSWER_PRIMING_TOKENS,
    FILE_TOKENS,
    IMAGE_TOKENS_AUTO,
    MESSAGE_TOKENS,
    audio_tokens,
    image_tokens,
    json_tokens,
    texts_tokens,
)
from router_extproc.dialects.openai import Envelope, Message, Part

_T = TypeVar("_T")

IMAGE_PARTS = frozenset({"image_url", "input_image", "image", "computer_screenshot"})
AUDIO_PARTS = frozenset({"input_audio", "audio"})
FILE_PARTS = frozenset({"file", "input_file", "document"})

_INSTRUCTIONS = frozenset({"system", "developer"})
# Longer JSON than this is never empty, but for white space that nobody writes.
_EMPTY_LENGTH = 16
_EMPTY = (b"null", b"[]", b"{}")
_DATA_URL = re.compile(rb'"data:[^"]{64,}"')


class Counts(NamedTuple):
    """``texts`` are those in which code would count, oldest first: not system prompts, whose examples ask for no work."""

    tokens: int
    characters: int
    images: int
    texts: tuple[str, ...]


def read_counts(envelope: Envelope) -> Counts:
    """Counts the prompt, tool definitions included."""
    tally = _Tally()
    tally.add_prompt(envelope)
    if envelope.opaque is not msgspec.UNSET:
        for raw in envelope.opaque:
            tally.tokens += len(_DATA_URL.sub(b"", raw)) / 4
            if mentions(raw, IMAGE_PARTS):
                tally.images += 1
                tally.tokens += IMAGE_TOKENS_AUTO
    tally.tokens += sum(json_tokens(raw) for raw in (envelope.tools, envelope.functions) if has_items(raw))
    tally.tokens += texts_tokens(tally.said)
    return Counts(round(tally.tokens) + ANSWER_PRIMING_TOKENS, tally.characters, tally.images, tuple(tally.texts))


def rough_tokens(body: bytes) -> int:
    """An estimate in no time, for when there is none: a token for every four bytes, data URLs included."""
    return len(body) // 4


def offers_tools(envelope: Envelope) -> bool:
    """Whether the model may call tools."""
    return has_items(envelope.tools) or has_items(envelope.functions)


def has_items(raw: msgspec.Raw | msgspec.UnsetType) -> bool:
    """Whether undecoded JSON is there and is neither null nor an empty list or object."""
    if raw is msgspec.UNSET:
        return False
    view = memoryview(raw)
    return len(view) > _EMPTY_LENGTH or bytes(view).translate(None, b" \t\r\n") not in _EMPTY


def mentions(raw: msgspec.Raw, kinds: Iterable[str]) -> bool:
    """Whether undecoded JSON seems to hold a part of one of these kinds."""
    text = bytes(raw)
    return any(b'"%s"' % kind.encode() in text for kind in kinds)


def _listed(value: str | list[_T] | None) -> Sequence[str | _T]:
    if isinstance(value, str):
        return (value,)
    return value or ()


class _Tally:
    """The running sums of one reading."""

    __slots__ = ("characters", "images", "said", "texts", "tokens")

    def __init__(self) -> None:
        self.tokens, self.characters, self.images = 0.0, 0, 0
        # All that is counted, at once: the work stays bounded whatever the number of messages.
        self.said: list[str] = []
        # Where code would count: not in a system prompt, whose examples say nothing about the work asked for.
        self.texts: list[str] = []

    def add_prompt(self, envelope: Envelope) -> None:
        if envelope.messages is not None:
            for message in envelope.messages:
                self.add_message(message)
        elif envelope.input is not None:
            for item in _listed(envelope.input):
                if isinstance(item, str):
                    self.add_text(item, is_task=True)
                else:
                    self.add_message(item)
        for text in _listed(envelope.prompt):
            self.add_text(text, is_task=True)
        if envelope.instructions is not None:
            self.add_text(envelope.instructions, is_task=False)

    def add_message(self, message: Message) -> None:
        self.tokens += MESSAGE_TOKENS
        is_task = message.role not in _INSTRUCTIONS
        for said in (message.content, message.output):
            if isinstance(said, str):
                self.add_text(said, is_task=is_task)
            elif said is not None:
                for part in said:
                    self.add_part(part, is_task=is_task)
        self.tokens += json_tokens(message.tool_calls)
        if message.arguments is not None:
            self.said.append(message.arguments)

    def add_part(self, part: str | Part, *, is_task: bool) -> None:
        if isinstance(part, str):
            self.add_text(part, is_task=is_task)
            return
        if part.text is not None:
            self.add_text(part.text, is_task=is_task)
        if part.type in IMAGE_PARTS:
            self.images += 1
            self.tokens += image_tokens(part.image_url, part.detail)
        elif part.type in AUDIO_PARTS:
            self.tokens += audio_tokens(part.input_audio)
        elif part.type in FILE_PARTS:
            self.tokens += FILE_TOKENS

    def add_text(self, text: str, *, is_task: bool) -> None:
        self.characters += len(text)
        self.said.append(text)
        if is_task:
            self.texts.append(text)
