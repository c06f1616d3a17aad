"""Hashed n-grams of words and characters, for linear models: whole arrays at a time, in the order of the text.

Rules of this file:
- The i-th bucket belongs to the n-gram that starts at the i-th position, so that the sum over any window of a text is the
  difference of two cumulative sums.
- Everything is linear in the length of the text. Nothing is stored for a text, and nothing is learned here.
- Buckets depend on content only: not on the machine, the process or what was read before.
"""

from __future__ import annotations

from itertools import accumulate
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Buckets = NDArray[np.int64]

# Knuth's multiplicative hashing (The Art of Computer Programming, volume 3, 6.4): 2^64 divided by the golden ratio, odd.
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
# An odd number, 5 modulo 8, so that its powers repeat as late as possible; and what undoes it modulo 2^64.
_BASE = 0xD1342543DE82EF95
_UNDO = pow(_BASE, -1, 1 << 64)

_ASCII = 128
_SPACE, _DIGIT = ord(" "), ord("0")
MAX_ORDER_OF_BYTES = 8
MAX_ORDER_OF_IDS = 4
_ORDERS = np.arange(1, MAX_ORDER_OF_BYTES + 1, dtype=np.uint64)


def _folding() -> bytes:
    """What each byte counts as: capitals as small letters, every digit as 0, every white space as a space."""
    fold = bytearray(range(256))
    for code in range(_ASCII):
        character = chr(code)
        if character.isdigit():
            fold[code] = _DIGIT
        elif character.isspace():
            fold[code] = _SPACE
        else:
            fold[code] = ord(character.lower())
    return bytes(fold)


_FOLD = _folding()
# Part of a word: letters, digits, and every byte of a character beyond ASCII.
_IN_WORD = np.array([chr(code).isalnum() or code >= _ASCII for code in range(256)])


class Words(NamedTuple):
    """The words of a text: where each starts and ends, in bytes, and a 64-bit hash of each."""

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    hashes: NDArray[np.uint64]


def folded(text: str) -> NDArray[np.uint8]:
    """The UTF-8 bytes of a text, in lower case, digits made equal; half surrogates become question marks.

    Beyond ASCII `str.lower` may change the number of bytes, so positions count in this array, not in the text.
    """
    return np.frombuffer(text.lower().encode("utf-8", "replace").translate(_FOLD), np.uint8)


class Powers:
    """The powers that hash words, for texts of at most `size` bytes: 16 bytes of memory for each."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._up = _powers(_BASE, size + 1)
        self._down = _powers(_UNDO, size + 1)

    def words(self, data: NDArray[np.uint8]) -> Words:
        """The words of folded bytes: runs of letters, digits and bytes beyond ASCII.

        Raises:
            ValueError: there are more bytes than `size`.
        """
        if len(data) > self.size:
            raise ValueError(f"{len(data)} bytes are more than the {self.size} that were prepared for")
        inside = np.zeros(len(data) + 2, np.int8)
        inside[1:-1] = _IN_WORD[data]
        edges = np.flatnonzero(np.diff(inside))
        starts, ends = edges[0::2], edges[1::2]
        # A polynomial in the bytes: the difference of two cumulative sums, divided by the power its start has.
        sums = np.zeros(len(data) + 1, np.uint64)
        np.cumsum((data + np.uint64(1)) * self._up[: len(data)], out=sums[1:])
        return Words(starts, ends, (sums[ends] - sums[starts]) * self._down[starts])


def _powers(base: int, count: int) -> NDArray[np.uint64]:
    steps = np.full(count, base, np.uint64)
    steps[0] = 1
    return np.multiply.accumulate(steps)


def byte_ngrams(data: NDArray[np.uint8], order: int, bits: int) -> Buckets:
    """The bucket, below 2^bits, of each run of `order` bytes (at most 8); none where the data are shorter."""
    count = len(data) - order + 1
    if count <= 0:
        return np.zeros(0, np.int64)
    packed = data[:count].astype(np.uint64)
    for place in range(1, order):
        packed <<= np.uint64(8)
        packed |= data[place : place + count]
    return _bucket(packed, np.uint64(order), bits)


def word_ngrams(hashes: NDArray[np.uint64], orders: int, bits: int) -> list[Buckets]:
    """The buckets, below 2^bits, of each run of 1, 2, ... `orders` words, given the hash of each word: an array an order."""
    runs = [hashes]
    for order in range(1, min(orders, len(hashes))):
        mixed = runs[-1][:-1]
        # Rotated, so that the order of the words counts.
        mixed = ((mixed << np.uint64(23)) | (mixed >> np.uint64(41))) * _GOLDEN
        mixed ^= hashes[order:]
        runs.append(mixed)
    ends = list(accumulate(map(len, runs)))
    buckets = _bucket(np.concatenate(runs), np.repeat(_ORDERS[: len(runs)], [len(run) for run in runs]), bits)
    found = [buckets[end - len(run) : end] for run, end in zip(runs, ends, strict=True)]
    return found + [buckets[:0]] * (orders - len(runs))


def id_ngrams(ids: NDArray[np.int32], orders: int, bits: int) -> Buckets:
    """The bucket, below 2^bits, of each run of 1, 2, ... up to `orders` word pieces (at most 4, each id below 65,536)."""
    wide = ids.astype(np.uint64)
    runs = [wide]
    for order in range(2, min(orders, len(ids)) + 1):
        runs.append((runs[-1][:-1] << np.uint64(16)) | wide[order - 1 :])
    keys = np.concatenate(runs)
    return _bucket(keys, np.repeat(_ORDERS[: len(runs)], [len(run) for run in runs]), bits)


def _bucket(keys: NDArray[np.uint64], orders: NDArray[np.uint64] | np.uint64, bits: int) -> Buckets:
    """The top bits of the product are the well mixed ones; the order keeps orders that share a table apart."""
    keys ^= keys >> np.uint64(32)
    keys += orders
    keys *= _GOLDEN
    keys ^= keys >> np.uint64(29)
    keys *= _GOLDEN
    return (keys >> np.uint64(64 - bits)).view(np.int64)
