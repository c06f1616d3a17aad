"""How strong a model a text needs: one linear reading of meaning, countable features and word classes, then calibration.

Rules of this file
- One score with statistics fixed in training; nothing depends on other requests.
- A text that is not understood asks for a stronger model, never for a cheaper one (``doubts``).
- A text is read as it stands, as it was before each of its last sentences was added, and each of these as it was meant if
  words are misspelt: the highest demand counts. All these readings are one batch.
- The higher the score, the higher ``needs_strong`` and ``complexity``, and the lower each tier's adequacy.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from router_extproc.analysis.doubts import Doubt, Doubts
from router_extproc.analysis.encoding import TextEncoding
from router_extproc.analysis.spelling import MOST_WORDS
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
# Each alternative begins with a character, not a class of them: then the search skips from one to the next. Line feeds are
# taken from the first of a run and never given back: thousands of them at the end would be tried from each.
_end_of_sentence = re.compile(r"\.\s+(?=\S)|!\s+(?=\S)|\?\s+(?=\S)|\n(?<!\n\n)\n*+(?=\S)").finditer

# "Show that" is an order behind these, and asks for a proof where it does not speak of people and a verb or relation follows.
_BEFORE_AN_ORDER = frozenset({".", "!", "?", ":", ";", ",", ")", "-", "and", "then", "please", "also", "now"})
_PEOPLE = frozenset({"i", "you", "he", "she", "we", "they", "my", "your", "our", "his", "her", "their"})
_STATES = frozenset({"is", "are", "has", "have", "can", "cannot", "must", "exists", "exist", "holds", "contains", "implies"})
_STATES |= {"equals", "divides", "converges", "diverges", "commutes", "vanishes", "satisfies", "=", "<", ">", "≤", "≥", "∈"}

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


class _Text(NamedTuple):
    """One wording of a request."""

    encoding: TextEncoding
    surface: SurfaceFeatures


class _Meant(NamedTuple):
    """What a text was meant to say: itself without spelling mistakes, None where none is undone; words that may be mistakes."""

    text: _Text | None
    doubtful: int


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
        row: Values = RoutingFeatures._countable(words, [_Text(encoding, surface)])[0]
        return row

    @staticmethod
    def _countable(words: WordClasses, texts: Sequence[_Text]) -> Values:
        counted = np.empty((len(texts), len(FEATURES) + len(words.names) + 1), np.float32)
        for row, text in zip(counted, texts, strict=True):
            row[: len(FEATURES)] = text.surface.values
            row[-1] = text.encoding.unknown_share
        counted[:, len(FEATURES) : -1] = words.features([text.encoding.ids for text in texts])
        return counted

    def standard(self, countable: Values) -> Values:
        """In standard deviations of the training texts, bounded; one text or rows of them."""
        standard: Values = np.minimum(countable, self._ceiling)
        standard -= self._mean
        standard /= self._scale
        np.minimum(standard, _CLIP, out=standard)
        return np.maximum(standard, -_CLIP, out=standard)

    def rows(self, texts: Sequence[_Text]) -> Values:
        """All features of each text."""
        return self.row(np.array([text.encoding.vector for text in texts]), self._countable(self.words, texts))

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
        beginnings = _beginnings(encoding, surface)
        if beginnings:
            encoding.read_vectors_of([text.encoding for text in beginnings])
        texts = [_Text(encoding, surface), *beginnings]
        meant = [self._as_meant(text, language) for text in texts]
        others = [one.text for one in meant if one.text]
        readings = self._read([*texts, *others])
        doubts = [self._doubts.of(*text, language, is_beginning=place > 0) for place, text in enumerate(texts)]
        demand, unsure = self._highest(texts, meant, readings, doubts)
        adequacy = self._adequacy(demand)
        return RoutingScore(
            needs_strong=1 - adequacy[0],
            complexity=round(_HIGHEST_COMPLEXITY * (1 - adequacy[0])),
            adequacy=adequacy,
            verifiable=_sigmoid(readings[0].verifiable),
            unsure=unsure,
        )

    def _highest(
        self, texts: list[_Text], meant: list[_Meant], readings: list[Reading], doubts: list[Doubt]
    ) -> tuple[float, tuple[str, ...]]:
        """The demand of the most demanding wording, and what is doubtful: about the whole, else about what decided.

        ``readings`` are of the texts, then of those without mistakes.
        """
        corrected = iter(readings[len(texts) :])
        demands = []
        for text, one, reading, doubt in zip(texts, meant, readings, doubts, strict=False):
            demand = self._demand(reading, text)
            if one.text:
                demand = max(demand, self._demand(next(corrected), one.text))
            # The allowance is for mistakes that were not undone rightly.
            demands.append(max(demand + _ALLOWANCE * min(one.doubtful, MOST_WORDS), doubt.demand))
        highest = max(demands)
        decided = next((doubt.reasons for doubt in doubts if doubt.demand == highest), ())
        return highest, doubts[0].reasons or decided

    def _read(self, texts: list[_Text]) -> list[Reading]:
        return [Reading(*row) for row in (self._features.rows(texts) @ self._weights + self._bias).tolist()]

    def _demand(self, reading: Reading, text: _Text) -> float:
        """Long is hard, but for a document with a simple request; a word of experts is never cheap."""
        demand = max(reading.demand, reading.kind)
        is_for_experts = self._is_for_experts(text.encoding.words)
        if not text.surface.named("options"):  # an exam question, however long, is no document, and asks for no proof
            demand -= self._document_discount * _sigmoid(reading.document)
            is_for_experts = is_for_experts or _asks_for_a_proof(text.encoding.words)
        return max(demand, self._expert_demand) if is_for_experts else demand

    def _is_for_experts(self, words: list[str]) -> bool:
        """Whether a word of experts stands in a text, or a numbered section of something that is law."""
        if not self._expert.isdisjoint(words):
            return True
        return not self._cited.isdisjoint(words) and any(
            word in self._cited and after.isdigit() for word, after in pairwise(words)
        )

    def _as_meant(self, text: _Text, language: str | None) -> _Meant:
        """The text without its spelling mistakes."""
        encoding = text.encoding
        if not encoding.pieced or len(encoding.words) > _SPELLING_UP_TO or self._doubts.is_foreign(*text, language):
            return _Meant(None, 0)
        is_short = len(encoding.words) <= _SHORT
        # In longer texts an unknown word with a capital is a name.
        speller = encoding.vocabulary.speller
        doubtful = [word for word in encoding.pieced if (is_short or word in encoding.text) and speller.may_be_mistake(word)]
        meant = speller.corrections(doubtful)
        if not meant:
            return _Meant(None, len(doubtful))
        corrected = encoding.respelt(meant)
        return _Meant(_Text(corrected, surface_features(corrected.text)), len(doubtful))

    def _adequacy(self, demand: float) -> tuple[float, float, float]:
        enough = 1 / (1 + np.exp(self._slope * demand - self._offset))
        economy, standard, premium = np.maximum.accumulate(enough)
        return float(economy), float(standard), float(premium)


def _beginnings(encoding: TextEncoding, surface: SurfaceFeatures) -> list[_Text]:
    """A short request before each of its last sentences was added to it: no sentence makes it cheaper.

    None of an exam question with options, which is one request.
    """
    if len(encoding.words) > _SENTENCES_UP_TO or surface.named("options"):
        return []
    found = []
    ends = [end.start() + (end[0][0] != "\n") for end in _end_of_sentence(encoding.text)][-_MOST_SENTENCES:]
    for end in reversed(ends):
        encoding = encoding.beginning(end)
        found.append(_Text(encoding, surface_features(encoding.text)))
    return found


def _asks_for_a_proof(words: Sequence[str]) -> bool:
    """Whether it says "show that" and then something that can be true; unlike "show that table" and "show that you care"."""
    for place, word in enumerate(words):
        if word != "show" or words[place + 1 : place + 2] != ["that"]:
            continue
        if place and words[place - 1] not in _BEFORE_AN_ORDER:
            continue
        stated = words[place + 2 :]
        if stated and stated[0] not in _PEOPLE and not _STATES.isdisjoint(stated[1:]):
            return True
    return False


def _sigmoid(value: float) -> float:
    return float(1 / (1 + np.exp(-value)))
