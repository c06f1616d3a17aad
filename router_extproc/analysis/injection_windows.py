"""The learned part of the injection score: a linear model over hashed n-grams, on a whole text and on windows of it.

Rules of this file
- A segment's score is, for each kind of n-gram, the sum of the weights of its n-grams divided by the square root of their
  number. So every window costs two look-ups in a cumulative sum, and harmless words around an attack leave the attack's
  own window as it was. In the whole text each n-gram counts once, however often it stands there.
- The whole of a short text is also read without its beginning and without its end, and the worst counts: else a few harmless
  words, appended to an attack, would thin it out.
- Training builds its rows with the same `segments` and `read`, so that both sides mean the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from router_extproc.analysis.ngrams import Buckets, Powers, Words, byte_ngrams, folded, word_ngrams

# Kinds of n-grams: words in a row, and bytes in a row.
WORD_ORDERS = (1, 2, 3)  # from 1 on, without a gap
BYTE_ORDERS = (4,)
KINDS = len(WORD_ORDERS) + len(BYTE_ORDERS)
BITS = 16
_FIRST_BUCKETS = np.arange(KINDS, dtype=np.int64) << BITS
# Bytes of a window: about one long sentence, and about one paragraph. Each begins a quarter of a window after the last.
SMALL, LARGE = 192, 768
_STEPS = 4
# Bytes that are left out at the beginning or the end of a short text, at most and step by step; at least half remains, and
# no less than a short sentence: of fewer words any could look like an attack.
_TRIMMED, _TRIMMED_STEP, _LEAST_LEFT, _LONGEST_TRIMMED = 128, 8, 64, 4_096
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
    """Parts of a text, in bytes: the whole, the trimmed wholes, the small windows, the large ones."""

    starts: Offsets
    ends: Offsets
    wholes: slice
    small: slice
    large: slice


def read(data: NDArray[np.uint8], powers: Powers) -> Reading:
    """The n-grams of folded bytes (at most as many as `powers` reach)."""
    words = powers.words(data)
    by_word = [(buckets, words.starts) for buckets in word_ngrams(words.hashes, WORD_ORDERS[-1], BITS)]
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
    trimmed = _trimmed(length)
    small, large = _windows(length, SMALL), _windows(length, LARGE)
    full = np.full(len(trimmed), length, np.int64)
    starts = np.concatenate([[0], 0 * trimmed, trimmed, small, large]).astype(np.int64)
    ends = np.concatenate([[length], length - trimmed, full, small + SMALL, large + LARGE]).astype(np.int64)
    wholes, windows = 1 + 2 * len(trimmed), len(starts) - len(large)
    return Segments(starts, np.minimum(ends, length), slice(0, wholes), slice(wholes, windows), slice(windows, len(starts)))


def _trimmed(length: int) -> Offsets:
    if length > _LONGEST_TRIMMED:
        return np.zeros(0, np.int64)
    most = min(_TRIMMED, length // 2, length - _LEAST_LEFT)
    return np.arange(_TRIMMED_STEP, most + 1, _TRIMMED_STEP, dtype=np.int64)


def _windows(length: int, size: int) -> Offsets:
    step = size // _STEPS
    return np.arange(0, max(1, length - size + step), step, dtype=np.int64)


def bounds(reading: Reading, kind: int, parts: Segments) -> tuple[Offsets, Offsets]:
    """Which n-grams of a kind start in each segment: from, up to."""
    buckets, starts = reading.kinds[kind]
    if starts is None:
        return np.minimum(parts.starts, len(buckets)), np.minimum(parts.ends, len(buckets))
    low, high = np.searchsorted(starts, parts.starts), np.searchsorted(starts, parts.ends)
    return np.minimum(low, len(buckets)), np.minimum(high, len(buckets))


def _all_bounds(reading: Reading, parts: Segments) -> tuple[Offsets, Offsets]:
    """As ``bounds``, for all kinds, one after the other: from, up to, [kinds, segments]."""
    low_word, high_word = np.searchsorted(reading.words.starts, (parts.starts, parts.ends))
    low = np.array([parts.starts if starts is None else low_word for _, starts in reading.kinds])
    high = np.array([parts.ends if starts is None else high_word for _, starts in reading.kinds])
    sizes = np.array([[len(buckets)] for buckets, _ in reading.kinds])
    before = np.cumsum(sizes, axis=0) - sizes
    return np.minimum(low, sizes) + before, np.minimum(high, sizes) + before


def first_places(buckets: Buckets, count: int = 1 << BITS) -> NDArray[np.bool_]:
    """Whether no earlier n-gram of the text has the same bucket, of ``count`` that there are."""
    places = np.arange(len(buckets), dtype=np.int32)
    # Written back to front, so that the first place is what remains; only what was written is read.
    latest = np.empty(count, np.int32)
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
        # The wholes, and in a short text the windows that are no less.
        once = (parts.starts == 0) & (parts.ends == reading.length)
        once[parts.wholes] = True
        # All kinds of n-grams one after the other, each with buckets of its own.
        kinds = [buckets for buckets, _ in reading.kinds]
        buckets = np.concatenate(kinds)
        buckets += np.repeat(_FIRST_BUCKETS, [len(kind) for kind in kinds])
        values = self.weights.ravel().take(buckets)
        low, high = _all_bounds(reading, parts)
        sums, counts = _between(values, low, high), high - low
        is_first = first_places(buckets, KINDS << BITS)
        low, high = low[:, once], high[:, once]
        sums[:, once] = _between(values * is_first, low, high)
        counts[:, once] = _between(is_first, low, high)
        total: Scores = (sums / np.sqrt(np.maximum(1, counts))).sum(axis=0)
        total += self.bias
        return total


def _between(values: NDArray[np.generic], low: Offsets, high: Offsets) -> Scores:
    sums = np.zeros(len(values) + 1)
    np.cumsum(values, dtype=np.float64, out=sums[1:])
    return np.asarray(sums[high] - sums[low])


class Summary(NamedTuple):
    """What windows and whole say about one text, as log-odds, how many small windows there are, and the bytes of the worst."""

    whole: float
    small: float
    large: float
    windows: int
    span: tuple[int, int]


def summary(model: WindowModel, reading: Reading) -> Summary:
    """Scores a text by its worst windows; a whole that is short enough, trimmed or not, is a window too."""
    parts = segments(reading.length)
    scores = model.scores(reading, parts)
    wholes = scores[parts.wholes]
    sizes = (parts.ends - parts.starts)[parts.wholes]
    small = np.concatenate((np.where(sizes <= SMALL, wholes, -np.inf), scores[parts.small]))
    worst = int(small.argmax())
    return Summary(
        whole=float(wholes.max()),
        small=float(small[worst]),
        large=float(max(wholes.max(initial=-np.inf, where=sizes <= LARGE), scores[parts.large].max())),
        windows=parts.small.stop - parts.small.start,
        span=(int(parts.starts[worst]), int(parts.ends[worst])),
    )
