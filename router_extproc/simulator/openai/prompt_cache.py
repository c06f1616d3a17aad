"""Which part of a prompt the provider has seen before (platform.openai.com/docs/guides/prompt-caching)."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence

SHORTEST_CACHED_PROMPT = 1024
GRANULARITY = 128
_REMEMBERED_PREFIXES = 4096


class PromptCache:
    """Remembers prefixes of conversations, message by message, for one deployment."""

    def __init__(self) -> None:
        self._prefixes: OrderedDict[bytes, None] = OrderedDict()

    def cached_tokens(self, model: str, messages: Sequence[tuple[bytes, int]]) -> int:
        """Return how many prompt tokens were seen before, and remember this prompt.

        ``messages`` holds each message's text and its tokens. Prompts below 1,024 tokens are not cached; hits count in
        steps of 128 tokens.
        """
        if sum(tokens for _, tokens in messages) < SHORTEST_CACHED_PROMPT:
            return 0
        digest = hashlib.blake2b(model.encode(), digest_size=16)
        seen = hit = 0
        for text, tokens in messages:
            digest.update(text)
            digest.update(b"\0")
            seen += tokens
            prefix = digest.digest()
            if prefix in self._prefixes:
                hit = seen
            self._prefixes[prefix] = None
            self._prefixes.move_to_end(prefix)
        while len(self._prefixes) > _REMEMBERED_PREFIXES:
            self._prefixes.popitem(last=False)
        return hit // GRANULARITY * GRANULARITY if hit >= SHORTEST_CACHED_PROMPT else 0
