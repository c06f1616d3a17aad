"""The static encoder: one learned vector for each word piece, added up.

The table was distilled from all-MiniLM-L6-v2 (`router_extproc.training.distil`): a row's direction is what the piece
means, its length how much it matters, so adding rows is a weighted mean and no other weights are needed. Rows are int8
with one float32 scale each; the file is memory-mapped, so that all workers of a machine share one copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from router_extproc.analysis.window import head_and_tail
from router_extproc.analysis.wordpiece import Vocabulary

# From so many pieces on, counting them first is cheaper than reading rows again and again.
_COUNTED = 2_000
_SMALLEST = np.finfo(np.float32).tiny
VOCABULARY_FILE, TABLE_FILE, SCALE_FILE = "vocabulary.txt", "static_table.npy", "static_scale.npy"


class StaticEncoder:
    """The shipped encoder; see the head of this file."""

    name = "static"

    def __init__(self, vocabulary: Vocabulary, table: NDArray[np.int8], scale: NDArray[np.float32]) -> None:
        if table.shape[0] != vocabulary.size or scale.shape != (vocabulary.size,):
            raise ValueError(f"{vocabulary.size} word pieces need as many rows, found {table.shape} and {scale.shape}")
        self.vocabulary = vocabulary
        self.dimensions = int(table.shape[1])
        self._table = np.asarray(table)  # the same pages, without the cost of a memmap's own indexing
        self._scale = scale

    @classmethod
    def load(cls, folder: Path) -> StaticEncoder:
        """The encoder whose files lie in a folder.

        Raises:
            OSError: a file cannot be read.
            ValueError: the files do not belong together.
        """
        table = np.load(folder / TABLE_FILE, mmap_mode="r")
        return cls(Vocabulary.load(folder / VOCABULARY_FILE), table, np.load(folder / SCALE_FILE))

    def vector(self, ids: NDArray[np.integer]) -> NDArray[np.float32]:
        """The L2-normalised sum of the rows of `ids`, float32 [dimensions]; zeros where there are no ids."""
        if len(ids) > _COUNTED:
            # Of a long text each piece's row is read once, however often it comes.
            counts = np.bincount(ids)
            ids = np.flatnonzero(counts)
            weights = self._scale[ids] * counts[ids].astype(np.float32)
        else:
            weights = self._scale[ids]
        total: NDArray[np.float32] = weights @ self._table[ids].astype(np.float32)
        length = float(np.sqrt(total @ total))
        return total / np.float32(length) if length > 0 else total

    def vectors_of_beginnings(self, ids: NDArray[np.integer], lengths: Sequence[int]) -> NDArray[np.float32]:
        """A row as ``vector`` makes it for the first so many of a short text's ids, for each length; rows are read once."""
        scales = self._scale[ids]
        weights = np.zeros((len(lengths), len(ids)), np.float32)
        for row, length in zip(weights, lengths, strict=True):
            row[:length] = scales[:length]
        totals: NDArray[np.float32] = weights @ self._table[ids].astype(np.float32)
        totals /= np.maximum(np.sqrt((totals * totals).sum(axis=1, keepdims=True)), _SMALLEST)
        return totals

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """One L2-normalised row for each text, of the head and tail that `window` leaves."""
        rows = np.zeros((len(texts), self.dimensions), np.float32)
        for row, text in zip(rows, texts, strict=True):
            row[:] = self.vector(np.array(self.vocabulary.ids(head_and_tail(text).text), np.int32))
        return rows
