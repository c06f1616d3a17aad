"""Kinds of work that an operator describes by examples: five or more each, no training.

The examples' vectors are the model (``few_shot``). What a class accepts is a similarity; a probability is made of it by
how far it lies from the class's own threshold, so that 0.5 is the threshold and 0.9 a text as like as an example.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from router_extproc.analysis.few_shot import FewShotClassifier

LEAST_EXAMPLES = 5
# Log-odds for one unit of cosine above the threshold: 0.22 above it, where examples of a class lie, is 0.9.
_SLOPE = 10.0

Vectors = NDArray[np.float32]


class Encodes(Protocol):
    """Whatever turns texts into L2-normalised vectors."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        """One row for each text, float32 [n, dimensions]."""


class CustomTasks:
    """The configured kinds of work."""

    def __init__(self, names: tuple[str, ...], classes: FewShotClassifier) -> None:
        self.names = names
        self._classes = classes

    @classmethod
    def fit(cls, examples: Mapping[str, Sequence[str]], encoder: Encodes, background: Vectors | None = None) -> CustomTasks:
        """Learns each kind from its examples.

        Args:
            examples: by name, at least five texts each.
            encoder: of the vectors that will be scored.
            background: vectors of texts about anything; with them a kind accepts fewer texts that are about something else.

        Raises:
            ValueError: no kind, or one has too few examples.
        """
        for name, texts in examples.items():
            if len(texts) < LEAST_EXAMPLES:
                raise ValueError(
                    f"the task {name!r} has {len(texts)} examples; {LEAST_EXAMPLES} are the least that can be learned from"
                )
        vectors = [encoder.encode(texts) for texts in examples.values()]
        return cls(tuple(examples), FewShotClassifier(vectors, background))

    def score(self, vector: Vectors) -> dict[str, float]:
        """The probability of each kind for one text's vector."""
        above = self._classes.similarities(vector) - self._classes.thresholds
        return dict(zip(self.names, (1 / (1 + np.exp(-_SLOPE * above))).tolist(), strict=True))
