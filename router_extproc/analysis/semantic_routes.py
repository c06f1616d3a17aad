"""Routes by meaning: which of the operator's routes a text belongs to, from example utterances or a description alone.

Thresholds are fitted, one a route: from how like each other a route's utterances are, and from texts about anything, of
which a route must take next to none. Ten thousand utterances are one product of a matrix and a vector.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from router_extproc.analysis.encoders import Encoder
from router_extproc.analysis.few_shot import FewShotClassifier

# What a description names one after the other ("open positions, interviews and offers") are texts of their own: a request is
# about one of them, and hardly like all at once.
_between_phrases = re.compile(r"[,:;.()]|\b(?:and|or)\b").split
# A described route takes this share of texts about anything. Of 33 requests for eight descriptions that were not looked at
# before, 0.45 are found so (0.82 with minilm); by the whole description, as strictly as by utterances, 0.24 (0.45) were.
_MOST_FALSE_DESCRIBED = 0.01
# Where there are no such texts: what that share comes to with the shipped ones.
_THRESHOLD_OF_DESCRIPTION = 0.27


@dataclass(frozen=True, slots=True)
class RouteExamples:
    """What one semantic route is given by.

    Attributes:
        name: the route's name.
        utterances: texts that belong to it.
        description: what belongs to it, in plain language; beside utterances it counts as one more.
        threshold: the similarity, -1 to 1, from which on a text belongs to it; None to have it fitted.
    """

    name: str
    utterances: tuple[str, ...] = ()
    description: str | None = None
    threshold: float | None = None


class Match(NamedTuple):
    """The route a text belongs to, or None, and how like it (or the nearest route) the text is."""

    name: str | None
    score: float


def load_background(folder: Path, encoder: str) -> NDArray[np.float32]:
    """Vectors, by the encoder of this name, of texts about anything: [n, dimensions], L2-normalised.

    Raises:
        OSError: the artefact holds none for this encoder.
    """
    rows = np.load(folder / f"background_{encoder}.npy").astype(np.float32)
    unit: NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


class SemanticRoutes:
    """Fitted semantic routes; vectors must come from the encoder they were fitted with."""

    def __init__(self, names: Sequence[str], classifier: FewShotClassifier | None, thresholds: NDArray[np.float32]) -> None:
        self.names = tuple(names)
        self.thresholds = thresholds
        self._classifier = classifier

    @classmethod
    def fit(
        cls, routes: Sequence[RouteExamples], encoder: Encoder, background: NDArray[np.float32] | None = None
    ) -> SemanticRoutes:
        """Encodes what the routes are given by and sets their thresholds.

        Args:
            routes: at least an utterance or a description each.
            encoder: what turns texts into vectors.
            background: vectors of texts about anything (`load_background`).

        Raises:
            ValueError: a route is given by nothing, or two have one name.
        """
        names = [route.name for route in routes]
        if not names:
            return cls((), None, np.zeros(0, np.float32))
        if len(set(names)) < len(names):
            raise ValueError(f"semantic routes need different names, found {', '.join(names)}")
        examples = [_examples(route) for route in routes]
        vectors = encoder.encode([text for texts in examples for text in texts])
        parts = np.split(vectors, np.cumsum([len(texts) for texts in examples])[:-1])
        classifier = FewShotClassifier(parts, background)
        thresholds = classifier.thresholds.copy()
        described = np.full(len(routes), _THRESHOLD_OF_DESCRIPTION, np.float32)
        if background is not None and len(background):
            described = classifier.floors(background, _MOST_FALSE_DESCRIBED)
        for place, route in enumerate(routes):
            if route.threshold is not None:
                thresholds[place] = route.threshold
            elif not route.utterances:
                thresholds[place] = described[place]
        return cls(names, classifier, thresholds)

    def scores(self, vector: NDArray[np.float32]) -> dict[str, float]:
        """How like each route a text's vector is, -1 to 1."""
        if self._classifier is None:
            return {}
        return dict(zip(self.names, self._classifier.similarities(vector).tolist(), strict=True))

    def match(self, vector: NDArray[np.float32]) -> Match:
        """The likeliest of the routes whose threshold the text's vector reaches."""
        if self._classifier is None:
            return Match(None, 0.0)
        similarities = self._classifier.similarities(vector)
        reached = similarities >= self.thresholds
        if not reached.any():
            return Match(None, float(similarities.max()))
        best = int(np.where(reached, self._classifier.preferences(vector), -np.inf).argmax())
        return Match(self.names[best], float(similarities[best]))


def _examples(route: RouteExamples) -> list[str]:
    texts = [text for text in (*route.utterances, route.description or "") if text.strip()]
    if not texts:
        raise ValueError(f"semantic route {route.name!r} needs utterances or a description")
    if not route.utterances:
        texts += [phrase.strip() for phrase in _between_phrases(texts[0]) if phrase.strip()]
    return list(dict.fromkeys(texts))
