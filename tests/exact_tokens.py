"""Tokens of o200k_base by its published pattern and one merge after the other: slow, plain, and no other code's business.

The merges are read from the shipped table; ``test_most_tokens`` holds what comes of it against counts of tiktoken itself.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
import regex

from router_extproc.analysis.merge_table import EMPTY, MERGES_FILE, TOKEN_BITS, merge_table
from router_extproc.analysis.token_table import FOLDER

# The pattern of o200k_base as tiktoken publishes it (MIT).
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_ENDING = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
PATTERN = regex.compile(
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_ENDING}|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_ENDING}"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_MASK = (1 << TOKEN_BITS) - 1


def exact_tokens(text: str) -> int:
    """Tokens of a text."""
    return sum(map(_merged, PATTERN.findall(text)))


@cache
def _merges() -> dict[tuple[int, int], int]:
    entries = [entry for entry in np.load(FOLDER / MERGES_FILE).tolist() if entry != EMPTY]
    return {(entry >> 2 * TOKEN_BITS, entry >> TOKEN_BITS & _MASK): entry & _MASK for entry in entries}


@cache
def _merged(piece: str) -> int:
    merges, parts = _merges(), [int(merge_table().bytes_[byte]) for byte in piece.encode()]
    while len(parts) > 1:
        ranks = [merges.get(pair, _MASK + 1) for pair in pairwise(parts)]
        place = min(range(len(ranks)), key=ranks.__getitem__)
        if ranks[place] > _MASK:
            break
        parts[place : place + 2] = [ranks[place]]
    return len(parts)
