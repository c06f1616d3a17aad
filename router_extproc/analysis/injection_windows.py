"""The learned part of the injection score: a linear model over hashed n-grams, on a whole text and on windows of it.

Rules of this file
- A segment's score is, for each kind of n-gram, the sum of the weights of its n-grams divided by the square root of their
  number. So every window costs two look-ups in a cumulative sum, and harmless words around an attack leave the attack's
  own window as it was. In the whole text each n-gram counts once, however often it stands there.
- Training builds its rows with the same `segments` and `read`, so that both sides mean the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from router_extproc.analysis.ngrams import Buckets, Powers, Words, byte_ngrams, folded, word_ngrams

# Kinds of n-grams: words in a row, and bytes in a row.
WORD_ORDERS = (1, 2, 3)
BYTE_ORDERS = (4,)
KINDS = len(WORD_ORDERS) + len(BYTE_ORDERS)
BITS = 16
# Bytes of a window: about one long sentence, and about one paragraph. They overlap by half.
SMALL, LARGE = 192, 768
# Bytes that are read of one text at most.
MAX_BYTES = 1 << 16
_LARGEST_INT8 = 127

Scores = NDArray[np.float64]
Offsets = NDArray[np.int64]


class Reading(NamedTuple):
    """One text's n-grams: for each kind the buckets, and the byte at which each n-gram starts (None: at its index)."""

    length: int
    words: Words
    kinds: tuple[tuple[Buckets, Offsets | None], ...]


class Segments(NamedTuple):
    """Parts of a text, in bytes: the whole first, then the small windows, then the large ones."""

    starts: Offsets
    ends: Offsets
    small: slice
    large: slice


def read(data: NDArray[np.uint8], powers: Powers) -> Reading:
    """The n-grams of folded bytes (at most as many as `powers` reach)."""
    words = powers.words(data)
    by_word = [(word_ngrams(words.hashes, order, BITS), words.starts) for order in WORD_ORDERS]
    by_byte = [(byte_ngrams(data, order, BITS), None) for order in BYTE_ORDERS]
    return Reading(len(data), words, (*by_word, *by_byte))


def folded_part(text: str) -> tuple[NDArray[np.uint8], bool]:
    """The folded bytes of a text, and whether it had to be shortened to its first and last halves."""
    data = folded(text)
    if len(data) <= MAX_BYTES:
        return data, False
    half = MAX_BYTES // 2
    return np.concatenate([data[:half], data[-half:]]), True


def segments(length: int) -> Segments:
    """The segments of a text of `length` bytes; a text shorter than a window is that window."""
    small, large = _windows(length, SMALL), _windows(length, LARGE)
    starts = np.concatenate([[0], small, large]).astype(np.int64)
    sizes = np.repeat([length, SMALL, LARGE], [1, len(small), len(large)])
    ends = np.minimum(starts + sizes, length)
    return Segments(starts, ends, slice(1, 1 + len(small)), slice(1 + len(small), len(starts)))


def _windows(length: int, size: int) -> Offsets:
    step = size // 2
    return np.arange(0, max(1, length - step), step, dtype=np.int64)


def bounds(reading: Reading, kind: int, parts: Segments) -> tuple[Offsets, Offsets]:
    """Which n-grams of a kind start in each segment: from, up to."""
    buckets, starts = reading.kinds[kind]
    if starts is None:
        return np.minimum(parts.starts, len(buckets)), np.minimum(parts.ends, len(buckets))
    low, high = np.searchsorted(starts, parts.starts), np.searchsorted(starts, parts.ends)
    return np.minimum(low, len(buckets)), np.minimum(high, len(buckets))


def first_places(buckets: Buckets) -> NDArray[np.bool_]:
    """Whether no earlier n-gram of the text has the same bucket."""
    places = np.arange(len(buckets), dtype=np.int32)
    latest = np.zeros(1 << BITS, np.int32)
    # Written back to front, so that the first place is what remains.
    latest[buckets[::-1]] = places[::-1]
    return np.asarray(latest[buckets] == places)


def quantised(weights: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Weights in 8 bits with one scale for each kind, [KINDS, 1]; the error is a twelfth of their spread or less."""
    scale = np.maximum(np.abs(weights).max(axis=1, keepdims=True), 1e-9) / _LARGEST_INT8
    return np.round(weights / scale).astype(np.int8), np.asarray(scale, np.float32)


@dataclass(frozen=True, slots=True)
class WindowModel:
    """The weights, float32 [KINDS, 2^BITS], and the bias."""

    weights: NDArray[np.float32]
    bias: float

    def scores(self, reading: Reading, parts: Segments) -> Scores:
        """The log-odds of each segment."""
        total = np.full(len(parts.starts), self.bias)
        # The whole, and in a short text the windows that are no less.
        covers = (parts.starts == 0) & (parts.ends == reading.length)
        for kind, (buckets, _) in enumerate(reading.kinds):
            sums = np.zeros(len(buckets) + 1)
            np.cumsum(self.weights[kind].take(buckets), dtype=np.float64, out=sums[1:])
            low, high = bounds(reading, kind, parts)
            parts_of_kind = (sums[high] - sums[low]) / np.sqrt(np.maximum(1, high - low))
            once = buckets[first_places(buckets)]
            parts_of_kind[covers] = self.weights[kind].take(once).sum(dtype=np.float64) / np.sqrt(max(1, len(once)))
            total += parts_of_kind
        return total


class Summary(NamedTuple):
    """What windows and whole say about one text, as log-odds, how many small windows there are, and the bytes of the worst."""

    whole: float
    small: float
    large: float
    windows: int
    span: tuple[int, int]


def summary(model: WindowModel, reading: Reading) -> Summary:
    """Scores a text by its worst windows."""
    parts = segments(reading.length)
    scores = model.scores(reading, parts)
    worst = parts.small.start + int(np.argmax(scores[parts.small]))
    return Summary(
        whole=float(scores[0]),
        small=float(scores[worst]),
        large=float(scores[parts.large].max()),
        windows=parts.small.stop - parts.small.start,
        span=(int(parts.starts[worst]), int(parts.ends[worst])),
    )
