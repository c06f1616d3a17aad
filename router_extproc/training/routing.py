"""Fits the routing score: six linear readings, each from the labels that can carry it, added up with fixed weights.

Written demand says how much model a kind of request asks for; failures of 29 models and the steps of solutions say what is
hard within one kind; length and whether an answer can be checked add what RouteLLM's published results show (arXiv
2406.18665): the gain of a strong model is in checkable work, and grows with length there. All are linear in the same
features, so what is shipped is one row of weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression, Ridge

from router_extproc.analysis.doubts import DOUBTS
from router_extproc.analysis.encoders.static import StaticEncoder
from router_extproc.analysis.encoding import TextEncoding
from router_extproc.analysis.routing import ROUTING_FILE, RoutingFeatures
from router_extproc.analysis.surface import FEATURES, surface_features
from router_extproc.analysis.word_classes import WordClasses
from router_extproc.analysis.wordpiece import Vocabulary
from router_extproc.training.calibration import fit_tiers
from router_extproc.training.metrics import auc
from router_extproc.training.pipeline import Context, Metrics
from router_extproc.training.routing_data import Pool, read_pool

WORD_CLASSES_FILE = "routing/word_classes.json"
# What each reading counts in the sum, in its own standard deviations.
BLEND = {"demand": 2.0, "steps": 1.0, "length": 1.0, "difficulty": 0.5, "form": 0.5, "checkable": 0.5}
# The kinds over whose prompts means and deviations are taken, each as much as the other.
_STATISTICS = ("options", "steps", "tagged", "demand", "arena", "category")
# Ridge penalties, chosen by cross-validation on the pool.
_DEMAND_RIDGE, _DIFFICULTY_RIDGE, _FORM_RIDGE, _CHECKABLE_C = 60.0, 10.0, 30.0, 1.0
# How much a vector (length 1) weighs beside countable features (a hundred of deviation 1) in one ridge.
_VECTOR_UNITS, _COUNTABLE_UNITS = 10.0, 0.5
_DOCUMENT_WEIGHT = 0.04
_CHECKABLE_WEIGHTS = {"tagged": 8.0, "category": 0.5, "document": 0.5}
_CHECKABLE_OTHERS = 0.1
_FOLDS = 5
_CENTRES = 64
# The share of training prompts that may count as unfamiliar.
_UNFAMILIAR_SHARE = 0.002
# The least probability that economy is not good enough for a text with each doubt.
FLOORS = {"foreign": 0.85, "gibberish": 0.5, "misspelt": 0.4, "unfamiliar": 0.4, "too_short": 0.35}

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Table:
    """The pool as numbers.

    Attributes:
        vectors: [n, dimensions].
        standard: countable features in standard deviations, bounded [n, c].
        length: log of characters [n].
    """

    vectors: Values
    standard: Values

    def rows(self, chosen: NDArray[Any]) -> Table:
        """Some of the prompts."""
        return Table(self.vectors[chosen], self.standard[chosen])

    @property
    def all(self) -> Values:
        """As ``RoutingFeatures.row`` lays them out."""
        return np.hstack((self.vectors, self.standard, self.standard**2))


@dataclass(frozen=True)
class Linear:
    """Weights over ``Table.all`` and an offset."""

    weights: Values
    offset: float

    def of(self, table: Table) -> Values:
        """The value for each prompt."""
        return np.asarray(table.all @ self.weights + self.offset)


def train(context: Context) -> Metrics:
    """Writes ``routing.npz``; returns cross-validated figures."""
    encoder = StaticEncoder.load(context.out)
    words = read_word_classes(context, encoder.vocabulary)
    pool = read_pool(context)
    vectors, countable = read_countable(pool.texts, encoder, words, context)
    mean, scale = countable.mean(axis=0), countable.std(axis=0) + 1e-6
    features = RoutingFeatures(words, mean, scale)
    table = Table(vectors.astype(float), features.standard(countable).astype(float))
    held_out = _held_out_readings(pool, table, context.random("folds"))
    centre, deviation = _statistics(pool, held_out)
    readings = fit_readings(pool, table, np.ones(len(pool.texts), bool))
    demand = blended(readings, centre, deviation)
    score = sum(BLEND[name] * (held_out[name] - centre[name]) / deviation[name] for name in BLEND)
    tiers = fit_tiers(np.asarray(score), np.array(pool.enough), np.array(pool.kinds))
    checkable = readings["checkable"]
    centres, familiar = _centres(vectors, context.seed)
    np.savez_compressed(
        context.out / ROUTING_FILE,
        allow_pickle=False,
        **words.arrays(),
        mean=mean.astype(np.float32),
        scale=scale.astype(np.float32),
        weights=np.stack((demand.weights, checkable.weights), axis=1).astype(np.float32),
        bias=np.array((demand.offset, checkable.offset), np.float32),
        tier_offset=tiers.offset.astype(np.float32),
        tier_slope=tiers.slope.astype(np.float32),
        centres=centres,
        familiar=np.float32(familiar),
        floors=np.array([tiers.demand_at(FLOORS[doubt]) for doubt in DOUBTS], np.float32),
    )
    return _figures(pool, held_out, np.asarray(score))


def read_word_classes(context: Context, vocabulary: Vocabulary) -> WordClasses:
    """The classes of words, as far as their words are whole in the vocabulary."""
    classes = msgspec.json.decode(context.own(WORD_CLASSES_FILE).read_bytes())["classes"]
    members: dict[int, list[int]] = {}
    for column, words in enumerate(classes.values()):
        for word in words:
            pieces = vocabulary.read(word)
            if len(pieces.ids) == 1 and not pieces.pieced:
                members.setdefault(pieces.ids[0], []).append(column)
    row_of_piece = np.zeros(vocabulary.size, np.int16)
    rows = np.zeros((len(members) + 1, len(classes)), np.float32)
    for row, (piece, columns) in enumerate(members.items(), 1):
        row_of_piece[piece] = row
        rows[row, columns] = 1
    return WordClasses(list(classes), row_of_piece, rows)


def read_countable(
    texts: list[str], encoder: StaticEncoder, words: WordClasses, context: Context
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Vectors [n, dimensions] and countable features [n, c] of texts."""
    vectors = np.zeros((len(texts), encoder.dimensions), np.float32)
    countable: list[NDArray[np.float32]] = []
    with context.progress.counting("reading prompts", len(texts)) as advance:
        for row, text in enumerate(texts):
            encoding = TextEncoding(text, encoder)
            vectors[row] = encoding.vector
            countable.append(RoutingFeatures.countable(words, encoding, surface_features(encoding.text)))
            advance(1)
    return vectors, np.array(countable)


def fit_readings(pool: Pool, table: Table, chosen: NDArray[np.bool_]) -> dict[str, Linear]:
    """The six readings from the chosen prompts, by the names of ``BLEND``."""
    kinds, demand = np.array(pool.kinds), np.array(pool.demand)
    units = _in_units(table)
    told = chosen & ~np.isnan(demand)
    counts = np.where(kinds == "document", _DOCUMENT_WEIGHT, 1.0)
    written = Ridge(alpha=_DEMAND_RIDGE).fit(units[told], demand[told], counts[told])
    difficulty, steps, checkable = np.array(pool.difficulty), np.array(pool.steps), np.array(pool.checkable)
    failed = chosen & ~np.isnan(difficulty)
    meaning = Ridge(alpha=_DIFFICULTY_RIDGE).fit(table.vectors[failed], _log_odds(difficulty[failed]))
    counted = np.hstack((table.standard, table.standard**2))
    form = Ridge(alpha=_FORM_RIDGE).fit(counted[failed], difficulty[failed])
    stepped = chosen & ~np.isnan(steps)
    long = Ridge(alpha=_FORM_RIDGE).fit(counted[stepped], steps[stepped])
    tagged = chosen & ~np.isnan(checkable)
    weight = np.array([_CHECKABLE_WEIGHTS.get(kind, _CHECKABLE_OTHERS) for kind in pool.kinds])
    logistic = LogisticRegression(C=_CHECKABLE_C, max_iter=300)
    logistic.fit(units[tagged] / 3, checkable[tagged], weight[tagged])
    width, columns = table.vectors.shape[1], table.standard.shape[1]
    nothing, flat = np.zeros(width), np.zeros(columns)
    one = flat.copy()
    one[FEATURES.index("characters")] = 1
    return {
        "demand": _from_units(written.coef_, float(written.intercept_), width),
        "difficulty": Linear(np.concatenate((meaning.coef_, flat, flat)), float(meaning.intercept_)),
        "form": Linear(np.concatenate((nothing, form.coef_)), float(form.intercept_)),
        "steps": Linear(np.concatenate((nothing, long.coef_)), float(long.intercept_)),
        "checkable": _from_units(logistic.coef_[0] / 3, float(logistic.intercept_[0]), width),
        "length": Linear(np.concatenate((nothing, one, flat)), 0.0),
    }


def blended(readings: dict[str, Linear], centre: dict[str, float], deviation: dict[str, float]) -> Linear:
    """The sum of the readings, each in its deviations."""
    weights = sum((BLEND[name] / deviation[name]) * readings[name].weights for name in BLEND)
    offset = sum(BLEND[name] / deviation[name] * (readings[name].offset - centre[name]) for name in BLEND)
    return Linear(np.asarray(weights), float(offset))


def _held_out_readings(pool: Pool, table: Table, random: np.random.Generator) -> dict[str, Values]:
    """Each reading of each prompt by a fit that saw neither it nor its group."""
    groups, place = np.unique(pool.groups, return_inverse=True)
    fold = random.integers(0, _FOLDS, len(groups))[place]
    held_out = {name: np.zeros(len(pool.texts)) for name in BLEND}
    for number in range(_FOLDS):
        part = fold == number
        for name, reading in fit_readings(pool, table, ~part).items():
            held_out[name][part] = reading.of(table.rows(part))
    return held_out


def _statistics(pool: Pool, readings: dict[str, Values]) -> tuple[dict[str, float], dict[str, float]]:
    kinds = np.array(pool.kinds)
    parts = [kinds == kind for kind in _STATISTICS]
    centre = {name: float(np.mean([values[part].mean() for part in parts])) for name, values in readings.items()}
    deviation = {name: float(np.mean([values[part].std() for part in parts])) for name, values in readings.items()}
    return centre, deviation


def _in_units(table: Table) -> Values:
    return np.hstack((table.vectors * _VECTOR_UNITS, table.standard * _COUNTABLE_UNITS))


def _from_units(weights: Values, offset: float, width: int) -> Linear:
    countable = weights[width:] * _COUNTABLE_UNITS
    return Linear(np.concatenate((weights[:width] * _VECTOR_UNITS, countable, np.zeros_like(countable))), offset)


def _log_odds(share: Values) -> Values:
    bounded = np.clip(share, 0.02, 0.98)
    return np.asarray(np.log(bounded / (1 - bounded)))


def _centres(vectors: NDArray[np.float32], seed: int) -> tuple[NDArray[np.float32], float]:
    """What the training prompts are about, and how near to it nearly all of them are."""
    found = KMeans(_CENTRES, n_init=1, random_state=seed).fit(vectors).cluster_centers_
    centres = (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)
    return centres, float(np.quantile((vectors @ centres.T).max(axis=1), _UNFAMILIAR_SHARE))


def _figures(pool: Pool, held_out: dict[str, Values], score: Values) -> Metrics:
    kinds, demand = np.array(pool.kinds), np.array(pool.demand)
    steps, difficulty, checkable = np.array(pool.steps), np.array(pool.difficulty), np.array(pool.checkable)
    written, exam, school, tagged = kinds == "demand", kinds == "exam", kinds == "steps", kinds == "tagged"
    return {
        "prompts": {kind: int((kinds == kind).sum()) for kind in np.unique(kinds)},
        "hard_against_others_auc": auc(score[written], demand[written] > 0),
        "difficulty_correlation": float(np.corrcoef(score[exam], difficulty[exam])[0, 1]),
        "steps_correlation": float(np.corrcoef(score[school], steps[school])[0, 1]),
        "checkable_auc": auc(held_out["checkable"][tagged], checkable[tagged]),
    }
