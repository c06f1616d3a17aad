"""What the simulated model says: who answered, then filler up to the length asked for."""

from __future__ import annotations

from functools import lru_cache
from itertools import cycle, islice

from router_extproc.simulator.openai.tokens import split_tokens

_FILLER = (" and", " so", " it", " goes", " on", ",")


@lru_cache(maxsize=1024)
def answer_tokens(deployment: str, model: str, length: int | None) -> tuple[str, ...]:
    """Return the answer's tokens: the same for the same deployment, model and length.

    ``length`` cuts or stretches the answer to so many tokens.
    """
    sentence = f"{deployment} ({model}) simulated this answer: no provider was called and nothing was billed."
    tokens = split_tokens(sentence)
    if length is None:
        return tokens
    if length <= len(tokens):
        return tokens[:length]
    return tokens + tuple(islice(cycle(_FILLER), length - len(tokens)))
