"""Tokens of o200k_base in a text, without the tokenizer: the same cuts, then whole pre-tokens looked up, the rest estimated.

A pre-token that is in the vocabulary is one token. Others are read greedily, longest token first, which takes about as many
tokens as the tokenizer's merges; of many such pre-tokens an even sample is read. The work is bounded whatever the text.
Costs of words are remembered, so that common words cost a look-up.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from router_extproc.analysis.exact_pretokens import exact_pretokens
from router_extproc.analysis.pretokens import BREAK_CHARACTER, pretoken_starts
from router_extproc.analysis.slice_hashes import Indices, Points, code_points, prefix_hashes
from router_extproc.analysis.token_table import TokenTable, token_table

# Of longer texts windows are counted; characters. A window begins and ends at a blank this near.
_LONG = 3_072
_WINDOWS, _WINDOW, _NEAR = 24, 128, 20
# Each window lies elsewhere within its share of the text, or text that repeats would be seen at one place always.
_GOLDEN_RATIO = 0.618
# Between these no pre-token reaches across: what leads a word belongs to it, the end of a line to what it ends.
_CHUNK = re.compile(r" *[^ \n]+\n*| *\n+| +")
# Characters of unknown chunks of plain ASCII that are cut up one by one, and of unknown pre-tokens that are read so.
_MOST_CUT, _MOST_SPELT = 400, 64
# Chunks that are remembered, and the longest such, in characters.
_MOST_REMEMBERED, _LONGEST_REMEMBERED = 16_384, 24
# Pre-tokens outside the vocabulary that are read, of more an even sample; and their characters.
_MOST_READ, _MOST_CHARACTERS = 48, 320
# Characters of the longest token that is looked for within a word, and of a word: longer ones are scaled up.
_LONGEST_TOKEN, _LONGEST_WORD = 12, 28
# Greedy reading takes fewer tokens than merging does: 0.98 times as many over 100 languages and kinds of code.
_MERGING = 1.02
# Tokens of a character that is no token itself, by its bytes in UTF-8; means over emoji and rare letters.
_STRANGE = ((0x80, 1.7), (0x800, 0.25), (0x10000, -0.55))

_costs: dict[str, float] = {}


def text_tokens(text: str) -> float:
    """Tokens in a text; the work is bounded whatever its length."""
    return texts_tokens((text,))


def texts_tokens(texts: Sequence[str]) -> float:
    """Tokens in several texts together, none running into the next; the work is bounded whatever their number and length."""
    length = sum(map(len, texts))
    if length <= _LONG:
        return _count([chunk for text in texts for chunk in _chunks(text)])
    seen = _windows(" ".join(texts))
    return _count(_chunks(seen)) * length / len(seen)


def _chunks(text: str) -> list[str]:
    return _CHUNK.findall(text.replace(BREAK_CHARACTER, "?"))


def _windows(text: str) -> str:
    last = len(text) - _WINDOW
    windows = []
    for number in range(_WINDOWS):
        start = int(last * (number + number * _GOLDEN_RATIO % 1) / _WINDOWS)
        end = start + _WINDOW
        first, after = text.find(" ", start, start + _NEAR), text.rfind(" ", end - _NEAR, end)
        windows.append(text[first if first >= 0 else start : after if after >= 0 else end])
    return "".join(windows)


def _count(chunks: Sequence[str]) -> float:
    costs = [_costs.get(chunk) for chunk in chunks]
    unknown = [chunk for chunk, cost in zip(chunks, costs, strict=True) if cost is None]
    total = sum(cost for cost in costs if cost is not None)
    if not unknown:
        return total
    if sum(map(len, unknown)) <= _MOST_CUT and all(map(str.isascii, unknown)):
        few = _count_few(unknown)
        if few is not None:
            return total + few
    return total + _count_chunks(unknown)


def _count_few(chunks: Sequence[str]) -> float | None:
    """Tokens in a few plain chunks by their pre-tokens: the same as by arrays, whose fixed cost is higher.

    None where too much of them was never met.
    """
    cut = [exact_pretokens(chunk) or [] for chunk in chunks]
    strange = {pretoken for pretokens in cut for pretoken in pretokens if pretoken not in _costs}
    if sum(map(len, strange)) > _MOST_SPELT:
        return None
    spelt = {pretoken: _count_pretoken(pretoken) for pretoken in strange}
    costs = [sum(_costs[pretoken] if pretoken in _costs else spelt[pretoken] for pretoken in pretokens) for pretokens in cut]
    _remember([*spelt, *chunks], [*spelt.values(), *costs], [False] * (len(spelt) + len(chunks)))
    return sum(costs)


def _count_pretoken(word: str) -> float:
    table = token_table()
    *_, whole = prefix_hashes(word, 0, len(word))
    if table.holds_hash(whole):
        return 1.0
    place, tokens, end = 0, 0, min(len(word), _LONGEST_WORD)
    while place < end:
        hashes = prefix_hashes(word, place, min(end, place + _LONGEST_TOKEN))
        found = [size for size, hashed in enumerate(hashes, 1) if table.holds_hash(hashed)]
        place += found[-1] if found else 1
        tokens += 1
    return tokens * _MERGING * len(word) / end


def _count_chunks(chunks: Sequence[str]) -> float:
    """Tokens in chunks; remembers what each takes, but for those that were only estimated."""
    table = token_table()
    points = code_points(BREAK_CHARACTER.join(("", *chunks)))
    starts = pretoken_starts(points, table.classes)
    ends = np.append(starts[1:], len(points))
    sums = table.prefix_sums(points)
    breaks = points[starts] == ord(BREAK_CHARACTER)
    costs = np.where(breaks, 0.0, 1.0)
    estimated = np.zeros(len(starts), bool)
    unknown = np.flatnonzero(~(table.holds(sums, starts, ends) | breaks))
    if len(unknown):
        starts, ends = starts[unknown], ends[unknown]
        sizes = ends - starts
        read = min(_MOST_READ, 1 + len(unknown) * _MOST_CHARACTERS // int(sizes.sum()))
        if len(unknown) <= read:
            costs[unknown] = _read(table, points, sums, starts, ends)
        else:
            chosen = np.linspace(0, len(unknown) - 1, read).astype(np.intp)
            seen = _read(table, points, sums, starts[chosen], ends[chosen])
            costs[unknown] = sizes * (seen.sum() / sizes[chosen].sum())
            estimated[unknown] = True
    firsts = np.flatnonzero(breaks)
    _remember(chunks, np.add.reduceat(costs, firsts).tolist(), np.logical_or.reduceat(estimated, firsts).tolist())
    return float(costs.sum())


def _remember(chunks: Sequence[str], costs: Sequence[float], estimated: Sequence[bool]) -> None:
    if len(_costs) > _MOST_REMEMBERED:
        _costs.clear()
    read = zip(chunks, costs, estimated, strict=True)
    _costs.update({chunk: cost for chunk, cost, guessed in read if not guessed and len(chunk) <= _LONGEST_REMEMBERED})


def _read(table: TokenTable, points: Points, sums: NDArray[np.uint64], starts: Indices, ends: Indices) -> NDArray[np.float64]:
    """Tokens of each slice that is no token itself, always the longest token at its head first."""
    sizes = np.minimum(ends - starts, _LONGEST_WORD)
    firsts = np.cumsum(sizes) - sizes
    # Every place within the slices, and how many of its tokens could be as long.
    places = np.arange(int(sizes.sum())) + np.repeat(starts - firsts, sizes)
    room = np.minimum(np.repeat(starts + sizes, sizes) - places, _LONGEST_TOKEN)
    heads = np.repeat(places, room)
    groups = np.cumsum(room) - room
    lengths = np.arange(1, len(heads) + 1) - np.repeat(groups, room)
    longest = np.maximum.reduceat(table.holds(sums, heads, heads + lengths) * lengths, groups)
    strange = longest == 0
    cost = np.ones(len(places))
    if strange.any():
        lost = points[places[strange]]
        cost[strange] = sum((lost >= least) * more for least, more in _STRANGE)
    steps, prices = np.maximum(longest, 1).tolist(), cost.tolist()
    tokens = []
    for first, size in zip(firsts.tolist(), sizes.tolist(), strict=True):
        place, taken = first, 0.0
        while place < first + size:
            taken += prices[place]
            place += steps[place]
        tokens.append(taken)
    counted: NDArray[np.float64] = np.array(tokens) * (_MERGING * (ends - starts) / sizes)
    return counted
