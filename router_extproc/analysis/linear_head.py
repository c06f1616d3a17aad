"""A linear model over a text's dense features and n-grams: one number for each class, before calibration.

Weights of n-grams are int8 with one scale a class: a class has 32,768 of them, and nothing is lost by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from router_extproc.analysis.wording import ngram_weight

Values = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearHead:
    """Weights for c classes.

    Attributes:
        classes: their names, in order.
        dense: of the dense features, float32 [d, c].
        table: of the n-grams, int8 [a power of two, c].
        scale: what one step of the table is worth, float32 [c].
        bias: float32 [c].
    """

    classes: tuple[str, ...]
    dense: Values
    table: NDArray[np.int8]
    scale: Values
    bias: Values

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> LinearHead:
        """The head whose arrays were written under these names.

        Raises:
            KeyError: one is missing.
            ValueError: they do not fit together.
        """
        classes = tuple(str(name) for name in arrays["classes"])
        head = cls(classes=classes, **{name: arrays[name] for name in ("dense", "table", "scale", "bias")})
        count = len(classes)
        if not (head.dense.shape[1] == head.table.shape[1] == len(head.scale) == len(head.bias) == count):
            raise ValueError(f"{count} classes need as many columns, found {head.dense.shape}, {head.table.shape}")
        if head.table.shape[0] & (head.table.shape[0] - 1):
            raise ValueError(f"{head.table.shape[0]} buckets are no power of two")
        return head

    def beside(self, other: LinearHead) -> LinearHead:
        """A head with the classes of both, this one's first, which costs little more than one of them.

        Raises:
            ValueError: they read different features.
        """
        return LinearHead(
            classes=self.classes + other.classes,
            dense=np.hstack((self.dense, other.dense)),
            table=np.hstack((self.table, other.table)),
            scale=np.append(self.scale, other.scale),
            bias=np.append(self.bias, other.bias),
        )

    def logits(self, dense: Values, ngrams: NDArray[np.int64]) -> Values:
        """One number a class, the greater, the likelier; from a text's dense features and ``TextEncoding.ngrams``."""
        rows = self.table.take(ngrams & (self.table.shape[0] - 1), axis=0).astype(np.float32)
        # A product adds up rows in half the time that a sum takes; of so small whole numbers it is exact.
        steps = np.ones(len(rows), np.float32) @ rows
        logits: Values = dense @ self.dense + steps * (self.scale * np.float32(ngram_weight(len(ngrams)))) + self.bias
        return logits


def read_arrays(path: Path) -> dict[str, Any]:
    """All arrays of one .npz file.

    Raises:
        OSError: it cannot be read.
    """
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}
