"""Classes from a handful of examples: how like each class a vector is, and from where on it counts as one of it.

A class's similarity is a blend of two cosines: with the mean of its examples, which is steady, and with the nearest example,
which follows a class of several meanings. On CLINC150 and banking77 with five examples a class this beat a ridge and a
logistic regression on the same vectors (the encoder report has the figures), needs no optimiser, and a class
of one description is no special case.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]

# Of the similarity, the part that is with the mean of the examples.
MEAN_SHARE = 0.7
# A class accepts this share of texts like its examples, as far as so few can tell ...
_WANTED_RECALL = 0.9
# ... but never more than this share of texts about anything.
_MOST_FALSE_ACCEPTED = 0.005
# The spread of similarities within a class before any is seen, and how many examples that belief is worth: the median of
# the CLINC150 intents with five examples each.
_USUAL_SPREAD, _WORTH = 0.10, 6
# The normal distribution's quantile for `_WANTED_RECALL`.
_DEVIATIONS = 1.2816


class FewShotClassifier:
    """Classes given by example vectors; every vector is L2-normalised.

    Attributes:
        thresholds: from which similarity on a vector counts as one of the class, float32 [classes].
    """

    def __init__(self, examples: Sequence[Vectors], background: Vectors | None = None) -> None:
        """Learns the classes.

        Args:
            examples: for each class its example vectors, [n, dimensions], n at least 1.
            background: vectors of texts about anything, [m, dimensions], against which thresholds are set.

        Raises:
            ValueError: there is no class, or one has no example.
        """
        if not len(examples) or not all(map(len, examples)):
            raise ValueError("each class needs at least one example")
        parts = [np.asarray(rows, np.float32) for rows in examples]
        self._rows = np.concatenate(parts)
        self._starts = np.cumsum([0, *map(len, parts[:-1])])
        self._means: Vectors = np.stack([_unit(rows.sum(axis=0)) for rows in parts])
        self.thresholds: Vectors = np.array([_accepting(_left_out(rows)) for rows in parts], np.float32)
        if background is not None and len(background):
            others = np.stack([self.similarities(row) for row in background])
            floors = np.quantile(others, 1 - _MOST_FALSE_ACCEPTED, axis=0)
            self.thresholds = np.maximum(self.thresholds, floors.astype(np.float32))

    def similarities(self, vector: Vectors) -> Vectors:
        """How like each class a vector is, -1 to 1, float32 [classes]."""
        nearest = np.maximum.reduceat(self._rows @ vector, self._starts)
        similarities: Vectors = np.float32(MEAN_SHARE) * (self._means @ vector) + np.float32(1 - MEAN_SHARE) * nearest
        return similarities


def _left_out(rows: Vectors) -> Vectors:
    """How like the other examples each example is; nothing where there is but one."""
    if len(rows) == 1:
        return np.zeros(0, np.float32)
    cosines = rows @ rows.T
    np.fill_diagonal(cosines, -1.0)
    rest = rows.sum(axis=0) - rows
    rest /= np.maximum(np.linalg.norm(rest, axis=1, keepdims=True), 1e-9)
    blended: Vectors = np.float32(MEAN_SHARE) * (rest * rows).sum(axis=1) + np.float32(1 - MEAN_SHARE) * cosines.max(axis=1)
    return blended


def _accepting(similarities: Vectors) -> float:
    """The threshold that lets pass the wanted share of texts like these, their spread leaning on the usual one."""
    if not len(similarities):
        return 0.0
    centre = float(similarities.mean())
    squares = float(((similarities - centre) ** 2).sum()) + _WORTH * _USUAL_SPREAD**2
    return centre - _DEVIATIONS * float(np.sqrt(squares / (len(similarities) + _WORTH)))


def _unit(vector: Vectors) -> Vectors:
    return vector / np.float32(max(float(np.linalg.norm(vector)), 1e-9))
