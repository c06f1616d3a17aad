"""How strong a model a text needs: one linear reading of meaning, countable features and word classes, then calibration.

Rules of this file
- One score with statistics fixed in training; nothing depends on other requests.
- A text that is not understood asks for a stronger model, never for a cheaper one (``doubts``).
- The higher the score, the higher ``needs_strong`` and ``complexity``, and the lower each tier's adequacy.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from router_extproc.analysis.doubts import FOREIGN, Doubt, Doubts
from router_extproc.analysis.encoding import TextEncoding
from router_extproc.analysis.spelling import MOST_WORDS, corrections, may_be_mistake
from router_extproc.analysis.surface import FEATURES, SurfaceFeatures, surface_features
from router_extproc.analysis.word_classes import WordClasses

ROUTING_FILE = "routing.npz"
# Beyond so many standard deviations of the training texts a countable feature says no more.
_CLIP = 3.0
_HIGHEST_COMPLEXITY = 10
# Longer texts, in words, are not looked through for mistakes: one changes little there.
_SPELLING_UP_TO, _SHORT = 40, 16
# Added for each word that may be a mistake.
_ALLOWANCE = 0.3

# Of longer texts one more sentence changes little; so many of the last sentences are looked at.
_SENTENCES_UP_TO, _MOST_SENTENCES = 60, 3
_end_of_sentence = re.compile(r"(?<=[.!?])\s+(?=\S)|\n+(?=\S)").finditer

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


# Products that tell a long document with a simple request from a long question.
PRODUCTS = (("passage", "characters"), ("creation", "characters"))


class Reading(NamedTuple):
    """The linear outputs before calibration.

    ``kind`` is the demand by the kind of request alone: short questions of experts have a low ``demand`` for their length.
    ``verifiable`` and ``document`` (a document with a simple request) are log-odds.
    """

    demand: float
    kind: float
    verifiable: float
    document: float


class RoutingFeatures:
    """A text as a row of numbers: what it means, what can be counted, and the squares of that, since effects level off."""

    def __init__(self, words: WordClasses, ceiling: Values, mean: Values, scale: Values) -> None:
        """Above its ceiling, the highest of judged prompts, a countable feature says no more."""
        self.words = words
        self._ceiling, self._mean, self._scale = ceiling, mean, scale
        place = {name: number for number, name in enumerate((*FEATURES, *words.names))}
        self._left = [place[left] for left, _ in PRODUCTS]
        self._right = [place[right] for _, right in PRODUCTS]

    @property
    def names(self) -> tuple[str, ...]:
        """Of the countable features, in order."""
        return (*FEATURES, *self.words.names, "unknown_share")

    @staticmethod
    def countable(words: WordClasses, encoding: TextEncoding, surface: SurfaceFeatures) -> Values:
        """Surface, word classes, and the share of unknown words, in their own units."""
        return np.concatenate((surface.values, words.features(encoding.ids), [encoding.unknown_share]), dtype=np.float32)

    def standard(self, countable: Values) -> Values:
        """In standard deviations of the training texts, bounded; one text or rows of them."""
        standard: Values = np.clip((np.minimum(countable, self._ceiling) - self._mean) / self._scale, -_CLIP, _CLIP)
        return standard

    def row(self, vector: Values, countable: Values) -> Values:
        """All features of one text, or rows of them: meaning, countable features, products, squares."""
        standard = self.standard(countable)
        products = standard[..., self._left] * standard[..., self._right]
        return np.concatenate((vector, standard, products, standard * standard), axis=-1)


class RoutingHead:
    """Reads ``RoutingScore`` from a text."""

    def __init__(self, arrays: Mapping[str, Any]) -> None:
        self._features = RoutingFeatures(WordClasses.from_arrays(arrays), arrays["ceiling"], arrays["mean"], arrays["scale"])
        self._weights: Values = arrays["weights"]  # [features, 4], the columns of ``Reading``
        self._bias: Values = arrays["bias"]
        # Each tier is good enough with the probability sigmoid(offset - slope * demand).
        self._offset: Values = arrays["tier_offset"]
        self._slope: Values = arrays["tier_slope"]
        self._expert = frozenset(arrays["expert"].tolist())
        self._cited = frozenset(arrays["cited"].tolist())
        self._expert_demand = float(arrays["expert_demand"])
        self._document_discount = float(arrays["document_discount"])
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
        reading = self._read(encoding, surface)
        doubt = self._doubts.of(encoding, surface, language)
        demand = self._demand_with(doubt, reading, encoding, surface)
        for length in _beginnings(encoding, surface):
            demand = max(demand, self._demand_of_beginning(encoding.beginning(length), language))
        adequacy = self._adequacy(demand)
        return RoutingScore(
            needs_strong=1 - adequacy[0],
            complexity=round(_HIGHEST_COMPLEXITY * (1 - adequacy[0])),
            adequacy=adequacy,
            verifiable=_sigmoid(reading.verifiable),
            unsure=doubt.reasons,
        )

    def _demand_of_beginning(self, encoding: TextEncoding, language: str | None) -> float:
        """What a request needs before a further sentence was added to it: no sentence makes it cheaper."""
        surface = surface_features(encoding.text)
        doubt = self._doubts.of(encoding, surface, language)
        return self._demand_with(doubt, self._read(encoding, surface), encoding, surface)

    def _demand_with(self, doubt: Doubt, reading: Reading, encoding: TextEncoding, surface: SurfaceFeatures) -> float:
        demand = self._demand(reading, encoding, surface)
        if FOREIGN not in doubt.reasons:
            demand = self._as_meant(demand, encoding)
        return max(demand, doubt.demand)

    def _read(self, encoding: TextEncoding, surface: SurfaceFeatures) -> Reading:
        countable = self._features.countable(self._features.words, encoding, surface)
        return Reading(*(self._features.row(encoding.vector, countable) @ self._weights + self._bias).tolist())

    def _demand(self, reading: Reading, encoding: TextEncoding, surface: SurfaceFeatures) -> float:
        """Long is hard, but for a document with a simple request; a word of experts is never cheap."""
        demand = max(reading.demand, reading.kind)
        if not surface.named("options"):  # an exam question, however long, is no document
            demand -= self._document_discount * _sigmoid(reading.document)
        return max(demand, self._expert_demand) if self._is_for_experts(encoding.words) else demand

    def _is_for_experts(self, words: list[str]) -> bool:
        """Whether a word of experts stands in a text, or a numbered section of something that is law."""
        if not self._expert.isdisjoint(words):
            return True
        return not self._cited.isdisjoint(words) and any(
            word in self._cited and after.isdigit() for word, after in pairwise(words)
        )

    def _as_meant(self, demand: float, encoding: TextEncoding) -> float:
        """At least the demand of the text without its spelling mistakes, with an allowance for those not undone."""
        if not encoding.pieced or len(encoding.words) > _SPELLING_UP_TO:
            return demand
        is_short = len(encoding.words) <= _SHORT
        # In longer texts an unknown word with a capital is a name.
        ranks = encoding.vocabulary.ranks
        doubtful = [word for word in encoding.pieced if (is_short or word in encoding.text) and may_be_mistake(word, ranks)]
        meant = corrections(doubtful, ranks)
        if meant:
            corrected = encoding.respelt(meant)
            surface = surface_features(corrected.text)
            demand = max(demand, self._demand(self._read(corrected, surface), corrected, surface))
        return demand + _ALLOWANCE * min(len(doubtful), MOST_WORDS)

    def _adequacy(self, demand: float) -> tuple[float, float, float]:
        enough = 1 / (1 + np.exp(self._slope * demand - self._offset))
        economy, standard, premium = np.maximum.accumulate(enough)
        return float(economy), float(standard), float(premium)


def _beginnings(encoding: TextEncoding, surface: SurfaceFeatures) -> list[int]:
    """Where the last sentences of a short text begin, in characters; none for an exam question with options."""
    if len(encoding.words) > _SENTENCES_UP_TO or surface.named("options"):
        return []
    ends = [found.start() for found in _end_of_sentence(encoding.text)]
    return [end for end in ends if end < len(encoding.text.rstrip())][-_MOST_SENTENCES:]


def _sigmoid(value: float) -> float:
    return float(1 / (1 + np.exp(-value)))
