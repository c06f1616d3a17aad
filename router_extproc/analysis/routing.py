"""How strong a model a text needs: one linear reading of meaning, countable features and word classes, then calibration.

Rules of this file
- One score with statistics fixed in training; nothing depends on other requests.
- A text that is not understood asks for a stronger model, never for a cheaper one (``doubts``).
- The higher the score, the higher ``needs_strong`` and ``complexity``, and the lower each tier's adequacy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from router_extproc.analysis.doubts import Doubts
from router_extproc.analysis.encoding import TextEncoding
from router_extproc.analysis.surface import SurfaceFeatures
from router_extproc.analysis.word_classes import WordClasses

ROUTING_FILE = "routing.npz"
# Beyond so many standard deviations of the training texts a countable feature says no more.
_CLIP = 3.0
_HIGHEST_COMPLEXITY = 10

Values = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class RoutingScore:
    """How strong a model is needed.

    Attributes:
        needs_strong: probability that a model of the economy tier is not good enough.
        complexity: 0 to 10, monotone in ``needs_strong``.
        adequacy: probabilities that economy, standard and premium are good enough; ascending, the first is
            1 - ``needs_strong``.
        verifiable: probability that an answer can be checked: calculation, code, logic, not taste.
        unsure: why a stronger model is asked for than the reading alone would: names of ``doubts``.
    """

    needs_strong: float
    complexity: int
    adequacy: tuple[float, float, float]
    verifiable: float
    unsure: tuple[str, ...]


class Reading(NamedTuple):
    """The linear outputs before calibration."""

    demand: float
    verifiable: float


class RoutingFeatures:
    """A text as a row of numbers: what it means, what can be counted, and the squares of that, since effects level off."""

    def __init__(self, words: WordClasses, mean: Values, scale: Values) -> None:
        self.words = words
        self._mean, self._scale = mean, scale

    @staticmethod
    def countable(words: WordClasses, encoding: TextEncoding, surface: SurfaceFeatures) -> Values:
        """Surface, word classes, and the share of unknown words, in their own units."""
        return np.concatenate((surface.values, words.features(encoding.ids), [encoding.unknown_share]), dtype=np.float32)

    def standard(self, countable: Values) -> Values:
        """In standard deviations of the training texts, bounded; one text or rows of them."""
        standard: Values = np.clip((countable - self._mean) / self._scale, -_CLIP, _CLIP)
        return standard

    def row(self, vector: Values, countable: Values) -> Values:
        """All features of one text."""
        standard = self.standard(countable)
        return np.concatenate((vector, standard, standard * standard))


class RoutingHead:
    """Reads ``RoutingScore`` from a text."""

    def __init__(self, arrays: Mapping[str, Any]) -> None:
        self._features = RoutingFeatures(WordClasses.from_arrays(arrays), arrays["mean"], arrays["scale"])
        self._weights: Values = arrays["weights"]  # [features, 2], the columns of ``Reading``
        self._bias: Values = arrays["bias"]
        # Each tier is good enough with the probability sigmoid(offset - slope * demand).
        self._offset: Values = arrays["tier_offset"]
        self._slope: Values = arrays["tier_slope"]
        self._doubts = Doubts(arrays)

    @classmethod
    def load(cls, folder: Path) -> RoutingHead:
        """The head whose file lies in an artefact's folder.

        Raises:
            OSError: the file cannot be read.
            KeyError: it lacks an array.
            ValueError: its arrays do not fit together.
        """
        with np.load(folder / ROUTING_FILE, allow_pickle=False) as stored:
            return cls({name: stored[name] for name in stored.files})

    def score(self, encoding: TextEncoding, surface: SurfaceFeatures, language: str | None) -> RoutingScore:
        """How strong a model the text needs. ``language`` is ISO 639-1, None where it is not known."""
        countable = self._features.countable(self._features.words, encoding, surface)
        reading = self._read(encoding.vector, countable)
        doubt = self._doubts.of(encoding, surface, language)
        adequacy = self._adequacy(max(reading.demand, doubt.demand))
        return RoutingScore(
            needs_strong=1 - adequacy[0],
            complexity=round(_HIGHEST_COMPLEXITY * (1 - adequacy[0])),
            adequacy=adequacy,
            verifiable=_sigmoid(reading.verifiable),
            unsure=doubt.reasons,
        )

    def _read(self, vector: Values, countable: Values) -> Reading:
        demand, verifiable = self._features.row(vector, countable) @ self._weights + self._bias
        return Reading(float(demand), float(verifiable))

    def _adequacy(self, demand: float) -> tuple[float, float, float]:
        enough = 1 / (1 + np.exp(self._slope * demand - self._offset))
        economy, standard, premium = np.maximum.accumulate(enough)
        return float(economy), float(standard), float(premium)


def _sigmoid(value: float) -> float:
    return float(1 / (1 + np.exp(-value)))
