"""The most tokens that texts can take with o200k_base, every character counted: for bounds that must hold, not estimates.

Rules of this file
- Nothing is sampled, and nothing looked up that might be mistaken: texts are cut and merged as the tokenizer does it. No text
  is more tokens than bytes in UTF-8, so whatever is unknown, or too much work here, is counted at a token a byte.
- Merging only ever lowers a count, so it may end early. The work is bounded whatever the text.
- The same texts always count the same, whatever was counted before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from router_extproc.analysis.exact_pretokens import exact_pretokens
from router_extproc.analysis.merge_table import NO_MERGE, MergeTable, Tokens, merge_table

# Bytes that are cut into pre-tokens. In what follows only words are looked up that were among them, by blanks; what is longer
# still counts by its bytes.
MOST_CUT, MOST_LOOKED_UP = 131_072, 524_288
# Bytes of the pre-tokens that are merged, each once, in the order in which they appear: common ones come early.
MOST_MERGED = 32_768
# Steps of merging. Words take some ten; what a long run of letters leaves undone counts above what it takes.
_MOST_STEPS = 192
# Within so many pre-tokens of where a text is cut off, it might have been cut otherwise as a whole.
_UNCERTAIN = 3
# Pre-tokens that are remembered, and the longest such, in characters.
_MOST_REMEMBERED, _LONGEST_REMEMBERED = 16_384, 24

_remembered: dict[str, int] = {}


def most_tokens(texts: Iterable[str]) -> int:
    """An upper bound of the tokens of several texts, each by itself: exact but for long texts and unheard-of characters."""
    total, room = 0, MOST_CUT
    found: Counter[str] = Counter()
    rests: list[str] = []
    for text in texts:
        size = byte_length(text)
        first = text if size <= room else _beginning(text, room)
        pieces = exact_pretokens(first)
        room = max(0, room - size)
        if pieces is None:
            total += size
            continue
        if len(first) < len(text):
            del pieces[-_UNCERTAIN:]
            rests.append(text[sum(map(len, pieces)) :])
        found.update(pieces)
    costs = dict(zip(found, _costs(list(found)), strict=True))
    total += sum(count * costs[piece] for piece, count in found.items())
    return total + _rest_tokens(rests, costs)


def _beginning(text: str, room: int) -> str:
    """About so many bytes of a text, never twice as many, wherever its longer characters stand."""
    first = text[:room]
    return first[: room * len(first) // max(1, byte_length(first))]


def _rest_tokens(texts: Iterable[str], costs: Mapping[str, int]) -> int:
    """An upper bound for the rests of texts: a word between two blanks takes what it took before, all else its bytes.

    A blank and what follows it up to the next blank begin and end where the tokenizer cuts, whatever stands around them.
    """
    total, room = 0, MOST_LOOKED_UP
    for text in texts:
        total += byte_length(text)
        words = Counter(text[:room].split(" ")[1:-1])
        room = max(0, room - len(text))
        for word, count in words.items():
            cost = costs.get(f" {word}")
            if cost is not None and not word.isspace():
                total -= count * (1 + byte_length(word) - cost)
    return total


def byte_length(text: str) -> int:
    """Bytes of a text in UTF-8; a lone surrogate counts as the three that a lenient reader makes of it."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _costs(distinct: Sequence[str]) -> list[int]:
    """The most tokens of each pre-token."""
    costs = list(map(byte_length, distinct))
    room, unknown = MOST_MERGED, []
    for place, piece in enumerate(distinct):
        size = costs[place]
        if size > room:
            continue
        room -= size
        known = _remembered.get(piece)
        if known is None:
            unknown.append(place)
        else:
            costs[place] = known
    if unknown:
        merged = _merge([distinct[place].encode() for place in unknown], merge_table()).tolist()
        if len(_remembered) > _MOST_REMEMBERED:
            _remembered.clear()
        for place, cost in zip(unknown, merged, strict=True):
            costs[place] = cost
            if len(distinct[place]) <= _LONGEST_REMEMBERED:
                _remembered[distinct[place]] = cost
    return costs


def _merge(pieces: Sequence[bytes], table: MergeTable) -> NDArray[np.int64]:
    """How many tokens each piece takes: of its pairs the one of the lowest rank merges, wherever it stands, again and again.

    What merges makes pairs of higher ranks only, so that all places of the lowest are one step, as if taken one by one.
    """
    tokens: Tokens = table.bytes_[np.frombuffer(b"".join(pieces), np.uint8)]
    counts = np.fromiter(map(len, pieces), np.int64, len(pieces))
    ends = np.zeros(len(tokens), bool)
    ends[np.cumsum(counts) - 1] = True
    # The rank of each token's pair with the next one, and which pieces are not done.
    ranks = np.full(len(tokens), NO_MERGE, np.int64)
    ranks[:-1] = table.merged(tokens[:-1], tokens[1:])
    ranks[ends] = NO_MERGE
    working = np.arange(len(pieces))
    for step in range(_MOST_STEPS + 1):
        last = np.flatnonzero(ends)
        lengths = np.diff(last, prepend=-1)
        lowest = np.minimum.reduceat(ranks, last - lengths + 1)
        is_done = (lowest == NO_MERGE) | (step == _MOST_STEPS)
        counts[working[is_done]] = lengths[is_done]
        if is_done.all():
            break
        if is_done.any():
            goes_on = np.repeat(~is_done, lengths)
            tokens, ranks, ends = tokens[goes_on], ranks[goes_on], ends[goes_on]
            working, lowest, lengths = working[~is_done], lowest[~is_done], lengths[~is_done]
        merging = _every_other(np.flatnonzero(ranks == np.repeat(lowest, lengths)))
        tokens[merging] = ranks[merging]
        ends[merging] = ends[merging + 1]
        keeps = np.ones(len(tokens), bool)
        keeps[merging + 1] = False
        tokens, ranks, ends = tokens[keeps], ranks[keeps], ends[keeps]
        places = merging - np.arange(len(merging))
        changed = np.concatenate((places, np.maximum(places - 1, 0)))
        ranks[changed] = table.merged(tokens[changed], tokens[np.minimum(changed + 1, len(tokens) - 1)])
        ranks[ends] = NO_MERGE
    return counts


def _every_other(places: NDArray[np.intp]) -> NDArray[np.intp]:
    """Of places that follow each other directly the first, the third and so on: a token merges once in a step."""
    begins = np.diff(places, prepend=-2) != 1
    if begins.all():
        return places
    numbers = np.arange(len(places))
    first = np.maximum.accumulate(np.where(begins, numbers, 0))
    chosen: NDArray[np.intp] = places[(numbers - first) % 2 == 0]
    return chosen
