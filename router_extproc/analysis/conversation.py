"""Who said what in a request, and which task is in progress: rarely the last "yes" alone.

Texts are passed on whole; documents that were retrieved for the model are told from what the user wrote.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from router_extproc.analysis.continuation import ADDS, CONTINUES, REPLACES, relation
from router_extproc.analysis.retrieval import separate_documents
from router_extproc.dialects.openai import Envelope, Message

USER, SYSTEM, ASSISTANT, TOOL, DOCUMENT = "user", "system", "assistant", "tool", "document"
FIRST, FOLLOW_UP, CONTINUATION = "first", "follow_up", "continuation"
TOOL_RESULT, TOOL_CALL = "tool_result", "tool_call"

_SOURCES = {
    "system": SYSTEM,
    "developer": SYSTEM,
    "assistant": ASSISTANT,
    "tool": TOOL,
    "function": TOOL,
    "function_call_output": TOOL,
    "custom_tool_call_output": TOOL,
    "function_call": ASSISTANT,
    "custom_tool_call": ASSISTANT,
    "reasoning": ASSISTANT,
}
_CALLS = frozenset({"function_call", "custom_tool_call"})
_DOCUMENT_PARTS = frozenset({"document", "file", "input_file"})

# The newest pieces that are kept, beside instructions.
_MOST_PIECES = 128
# Follow-ups that are told together with the request they refer to.
_MOST_FOLLOW_UPS = 3
_EMPTY_CALLS = (b"[]", b"null")


class Piece(NamedTuple):
    """One text and where it comes from: ``user``, ``system``, ``assistant``, ``tool`` or ``document`` (retrieved)."""

    text: str
    source: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """A request as a conversation.

    Attributes:
        pieces: what was said, oldest first: instructions before all, and of the rest the newest 128.
        task: the task in progress: the last substantive request of the user with the short follow-ups that refer to it,
            without retrieved documents. Empty when the user said nothing.
        last: the newest text of the user, without retrieved documents.
        continues: whether ``task`` begins with an earlier request, because ``last`` is not understood without it.
        turn: how often the user had the word; 1 for the first request.
        step: what is to be answered now: ``first``, ``follow_up``, ``continuation``, ``tool_call`` or ``tool_result``.
        has_context: whether retrieved documents stand in the prompt.
    """

    pieces: tuple[Piece, ...]
    task: str
    last: str
    continues: bool
    turn: int
    step: str
    has_context: bool


def read_conversation(envelope: Envelope) -> Conversation:
    """The conversation in a request's body, whichever of OpenAI's shapes it has."""
    reading = _Reading()
    if envelope.instructions:
        reading.add(envelope.instructions, SYSTEM)
    for said in (*_listed(envelope.messages if envelope.messages is not None else envelope.input), *_listed(envelope.prompt)):
        if isinstance(said, str):
            reading.add(said, USER)
        else:
            reading.add_message(said)
    return reading.conversation()


def conversation_of(prompt: str) -> Conversation:
    """The conversation that consists of one prompt."""
    reading = _Reading()
    reading.add(prompt, USER)
    return reading.conversation()


def _listed(value: str | Sequence[str | Message] | Sequence[str] | Sequence[Message] | None) -> Sequence[str | Message]:
    return (value,) if isinstance(value, str) else value or ()


def _texts(message: Message) -> Iterator[tuple[str, bool]]:
    """The texts of one message, and whether each stands in a part that is a document."""
    for said in (message.content, message.output):
        if isinstance(said, str):
            yield said, False
        for part in said or () if not isinstance(said, str) else ():
            if isinstance(part, str):
                yield part, False
            elif part.text:
                yield part.text, part.type in _DOCUMENT_PARTS


class _Turn:
    """What the user said before the assistant had the word again, and what the assistant had said before that."""

    __slots__ = ("after", "texts")

    def __init__(self, after: str) -> None:
        self.after = after
        self.texts: list[str] = []


class _Reading:
    """A conversation in the making."""

    def __init__(self) -> None:
        self._instructions: list[Piece] = []
        self._pieces: list[Piece] = []
        self._turns: list[_Turn] = []
        self._answer = ""
        self._has_word = True  # the user's first text begins a turn
        self._last = ""
        self._newest = USER
        self._has_context = False

    def add_message(self, message: Message) -> None:
        source = _SOURCES.get(message.role or message.type or "", USER)
        for text, is_document in _texts(message):
            self.add(text, DOCUMENT if is_document and source == USER else source)
        if source == ASSISTANT:
            self._has_word = True
            calls = message.type in _CALLS or _is_filled(message.tool_calls)
            self._newest = TOOL_CALL if calls else ASSISTANT
        elif source == TOOL:
            self._has_word, self._newest = True, TOOL
        elif message.role == USER and self._has_word:
            self._add_to_turn("")  # an image alone also is a turn

    def add(self, text: str, source: str) -> None:
        if not text:
            return
        if source in (USER, SYSTEM):
            text = self._without_documents(text)
        if source == SYSTEM:
            self._instructions.append(Piece(text, source))
            return
        if source == DOCUMENT:
            self._has_context = True
        if text:
            self._pieces.append(Piece(text, source))
        if source == ASSISTANT:
            self._answer = text
        elif source == USER:
            self._add_to_turn(text)

    def _without_documents(self, text: str) -> str:
        rest, documents = separate_documents(text)
        if documents:
            self._has_context = True
            self._pieces.extend(Piece(document, DOCUMENT) for document in documents)
        return rest

    def _add_to_turn(self, text: str) -> None:
        if self._has_word or not self._turns:
            self._turns.append(_Turn(self._answer))
            self._has_word = False
        self._turns[-1].texts.append(text)
        self._last, self._newest = text, USER

    def conversation(self) -> Conversation:
        task, how = self._task()
        return Conversation(
            pieces=(*self._instructions[:_MOST_PIECES], *self._pieces[-_MOST_PIECES:]),
            task=task,
            last=self._last,
            continues=how != REPLACES,
            turn=max(1, len(self._turns)),
            step=self._step(how),
            has_context=self._has_context,
        )

    def _task(self) -> tuple[str, str]:
        """The task in progress, and what the user's newest turn does to it."""
        how, parts = REPLACES, []
        for number in range(len(self._turns) - 1, -1, -1):
            turn = self._turns[number]
            said = "\n\n".join(filter(None, turn.texts))
            does = relation(said, turn.after) if number else REPLACES
            if number == len(self._turns) - 1:
                how = does
            if does == REPLACES:
                parts.append(said)
                break
            if does == ADDS and len(parts) < _MOST_FOLLOW_UPS:
                parts.append(said)
        return "\n\n".join(reversed(parts)), how

    def _step(self, how: str) -> str:
        if self._newest == TOOL:
            return TOOL_RESULT
        if self._newest == TOOL_CALL:
            return TOOL_CALL
        if how == CONTINUES:
            return CONTINUATION
        return FIRST if len(self._turns) <= 1 else FOLLOW_UP


def _is_filled(calls: msgspec.Raw | msgspec.UnsetType) -> bool:
    return calls is not msgspec.UNSET and bytes(memoryview(calls)[:4]).strip() not in _EMPTY_CALLS
