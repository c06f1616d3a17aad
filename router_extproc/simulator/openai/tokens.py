"""Estimated tokens. Real tokenizers differ; what matters is that the same text always counts the same."""

from __future__ import annotations

import re

# OpenAI's rule of thumb for English text (help.openai.com, "What are tokens and how to count them").
CHARACTERS_PER_TOKEN = 4
# What each message and the reply's opening cost beside their text (OpenAI cookbook, "How to count tokens with tiktoken").
TOKENS_PER_MESSAGE = 3
TOKENS_PER_REPLY = 3
# One picture of 512 x 512 at low detail, and one of 1024 x 1024 at high detail (gpt-4o: 85 + 170 for each of 4 tiles).
TOKENS_PER_SMALL_IMAGE = 85
TOKENS_PER_IMAGE = 765

_PIECE = re.compile(r"\s*\S{1,16}|\s+")


def count_tokens(text: str | bytes) -> int:
    """Return the estimate for a text; nothing costs nothing, anything at least one token."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def split_tokens(text: str) -> tuple[str, ...]:
    """Cut an answer into the pieces in which it streams; joined they are the text again."""
    return tuple(_PIECE.findall(text))
