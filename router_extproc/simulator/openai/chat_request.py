"""Reading a chat completion request: what the answer depends on; every other field is accepted and ignored."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from router_extproc.simulator.openai.error_bodies import invalid
from router_extproc.simulator.openai.tokens import (
    TOKENS_PER_IMAGE,
    TOKENS_PER_MESSAGE,
    TOKENS_PER_REPLY,
    TOKENS_PER_SMALL_IMAGE,
    count_tokens,
)

Choices = Annotated[int, msgspec.Meta(ge=1, le=128)]
TokenLimit = Annotated[int, msgspec.Meta(ge=1)]


class ImageUrl(msgspec.Struct):
    """A picture by address or data URL."""

    url: str
    detail: str = "auto"


class ContentPart(msgspec.Struct):
    """One part of a message; audio and file parts count as pictures do."""

    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: ImageUrl | None = None


class Message(msgspec.Struct):
    """One message of the conversation."""

    role: str
    content: str | list[ContentPart] | None = None
    tool_calls: msgspec.Raw = msgspec.Raw(b"")


class Function(msgspec.Struct):
    """A function the model may call."""

    name: str
    parameters: Any = None
    description: str | None = None


class Tool(msgspec.Struct):
    """A tool; only those of type ``function`` are called."""

    type: str = "function"
    function: Function | None = None


class StreamOptions(msgspec.Struct):
    """Of these only the usage chunk matters here."""

    include_usage: bool | None = None


class ChatRequest(msgspec.Struct):
    """``POST /chat/completions``."""

    model: str
    messages: list[Message]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Choices | None = None
    max_tokens: TokenLimit | None = None
    max_completion_tokens: TokenLimit | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    tools: list[Tool] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None

    @property
    def token_limit(self) -> int | None:
        """The most tokens the client wants, by the new name or the old."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def functions(self) -> list[Function]:
        """The functions on offer."""
        return [tool.function for tool in self.tools or () if tool.function is not None]

    @property
    def wants_usage_chunk(self) -> bool:
        """Whether a stream ends with its usage."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)


def check(request: ChatRequest) -> None:
    """Raise ``Refusal`` (400) for combinations of fields that OpenAI refuses."""
    if not request.messages:
        raise invalid(
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.",
            param="messages",
            code="empty_array",
        )
    if request.stream_options is not None and not request.stream:
        raise invalid("The 'stream_options' parameter is only allowed when 'stream' is enabled.", param="stream_options")
    if request.top_logprobs is not None and not request.logprobs:
        raise invalid("The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.", param="top_logprobs")
    if request.tool_choice is not None and request.tools is None:
        raise invalid(
            "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified.", param="tool_choice"
        )


def message_text(message: Message) -> str:
    """Return the text of a message, without its pictures."""
    if isinstance(message.content, list):
        return "\n".join(part.text for part in message.content if part.text is not None)
    return message.content or ""


def message_tokens(message: Message) -> int:
    """Return the estimated tokens of one message; a picture costs the same however long its data URL is."""
    tokens = TOKENS_PER_MESSAGE
    if isinstance(message.content, str):
        tokens += count_tokens(message.content)
    else:
        tokens += sum(_part_tokens(part) for part in message.content or ())
    return tokens + count_tokens(bytes(message.tool_calls))


def prompt_tokens(request: ChatRequest) -> int:
    """Return the estimated tokens of the whole prompt, tools and schema included."""
    tokens = TOKENS_PER_REPLY + sum(message_tokens(message) for message in request.messages)
    if request.tools:
        tokens += count_tokens(msgspec.json.encode(request.tools))
    if request.response_format:
        tokens += count_tokens(msgspec.json.encode(request.response_format))
    return tokens


def _part_tokens(part: ContentPart) -> int:
    if part.type in {"text", "refusal"}:
        return count_tokens(part.text or part.refusal or "")
    if part.image_url is not None and part.image_url.detail == "low":
        return TOKENS_PER_SMALL_IMAGE
    return TOKENS_PER_IMAGE
