"""Log probabilities of tokens, in the shapes of chat and of legacy completions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

DEFAULT_LOGPROB = -0.05
# Each alternative is this much less likely than the one before.
_STEP = 1.5
_ALTERNATIVES = (" the", " a", " one", " this", " that", " an", " our", " its", " his", " her", " my", " your", " some", " no")


def _alternatives(token: str, logprob: float, count: int) -> list[tuple[str, float]]:
    others = [other for other in _ALTERNATIVES if other != token]
    others += [f" {number}" for number in range(count - len(others))]
    return [(token, logprob), *((other, logprob - _STEP * (place + 1)) for place, other in enumerate(others))][:count]


def chat_logprobs(tokens: Sequence[str], logprob: float | None, top: int) -> dict[str, Any]:
    """Return ``choices[].logprobs`` of a chat completion; ``top`` alternatives stand beside each token."""
    value = DEFAULT_LOGPROB if logprob is None else logprob
    return {
        "content": [
            {**_entry(token, value), "top_logprobs": [_entry(*other) for other in _alternatives(token, value, top)]}
            for token in tokens
        ],
        "refusal": None,
    }


def completion_logprobs(tokens: Sequence[str], logprob: float | None, top: int) -> dict[str, Any]:
    """Return ``choices[].logprobs`` of a legacy completion."""
    value = DEFAULT_LOGPROB if logprob is None else logprob
    offsets = [0]
    for token in tokens[:-1]:
        offsets.append(offsets[-1] + len(token))
    return {
        "tokens": list(tokens),
        "token_logprobs": [value] * len(tokens),
        "top_logprobs": [dict(_alternatives(token, value, top)) for token in tokens],
        "text_offset": offsets[: len(tokens)],
    }


def _entry(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode())}
