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
from router_extproc.analysis.routing import PRODUCTS, ROUTING_FILE, RoutingFeatures
from router_extproc.analysis.surface import FEATURES, surface_features
from router_extproc.analysis.word_classes import RARITY, WordClasses
from router_extproc.analysis.wordpiece import Vocabulary
from router_extproc.training.calibration import fit_tiers
from router_extproc.training.metrics import auc
from router_extproc.training.pipeline import Context, Metrics
from router_extproc.training.routing_data import Pool, read_pool
from router_extproc.training.thought_texts import written_texts

SIGNS_FILE = "routing/signs.json"
WORD_CLASSES_FILE = "routing/word_classes.json"
# What each reading counts in the sum, in its own standard deviations.
BLEND = {"demand": 2.0, "steps": 1.0, "length": 3.0, "difficulty": 0.5, "form": 0.5, "checkable": 0.35}
# The kinds over whose prompts means and deviations are taken, each as much as the other.
_STATISTICS = ("options", "steps", "tagged", "demand", "arena", "category")
# Ridge penalties, chosen by cross-validation on the pool.
_DEMAND_RIDGE, _DIFFICULTY_RIDGE, _FORM_RIDGE, _LOGISTIC_C = 60.0, 10.0, 30.0, 1.0
# How much a vector (length 1) weighs beside countable features (a hundred of deviation 1) in one ridge.
_VECTOR_UNITS, _COUNTABLE_UNITS = 10.0, 0.5
_LOGISTIC_UNITS = 3.0
# Of exam questions and school problems so many are enough to tell what can be checked, and what is no document.
_SHARE_OF_EXAMS = 0.06
_LOGISTIC_WEIGHTS = {"tagged": 8.0, "category": 0.5, "document": 0.5}
# Probability that economy is not good enough for a typical document with a simple request.
_DOCUMENT_NEEDS_STRONG = 0.25
# The same for a short text with a word of experts in it.
_EXPERT_NEEDS_STRONG = 0.45
_FOLDS = 5
# The kinds whose difficulty is known, and the share of their prompts that lies below the ceiling of a feature.
_JUDGED, _CEILING = ("demand", "exam", "options", "steps"), 0.99
_LEAST_SCALE = 1e-6
_CENTRES = 64
# The share of training prompts that may count as unfamiliar.
_UNFAMILIAR_SHARE = 0.002
# The least probability that economy is not good enough for a text with each doubt.
FLOORS = {"foreign": 0.85, "gibberish": 0.42, "misspelt": 0.4, "unfamiliar": 0.4, "too_short": 0.35}

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Table:
    """The pool as numbers.

    Attributes:
        rows: as ``RoutingFeatures.row`` lays them out, [n, f].
        meaning: how many of the columns are the vector; then what is counted, products, and the squares.
        is_form: which of the counted columns are surface or rarity, 1 or 0.
        products: how many of these.
    """

    rows: Values
    meaning: int
    is_form: Values
    products: int

    @property
    def linear(self) -> int:
        """How many columns come before the squares."""
        return self.meaning + len(self.is_form) + self.products

    def of(self, chosen: NDArray[Any]) -> Table:
        """Some of the prompts."""
        return Table(self.rows[chosen], self.meaning, self.is_form, self.products)

    @property
    def units(self) -> Values:
        """What each column counts in one ridge over meaning and form, [f]; squares nothing."""
        units = np.zeros(self.rows.shape[1])
        units[: self.meaning], units[self.meaning : self.linear] = _VECTOR_UNITS, _COUNTABLE_UNITS
        return units

    @property
    def form(self) -> Values:
        """1 for surface and rarity with their squares, which carry over to other subjects better than words; else 0, [f]."""
        return np.concatenate((np.zeros(self.meaning), self.is_form, np.zeros(self.products), self.is_form))

    @property
    def vector(self) -> Values:
        """1 for meaning, 0 for what is counted, [f]."""
        return np.asarray(np.arange(self.rows.shape[1]) < self.meaning, float)


@dataclass(frozen=True)
class Linear:
    """Weights over ``Table.rows`` and an offset."""

    weights: Values
    offset: float

    def of(self, table: Table) -> Values:
        """The value for each prompt."""
        return np.asarray(table.rows @ self.weights + self.offset)

    def times(self, factor: float, plus: float) -> Linear:
        """In other units."""
        return Linear(self.weights * factor, self.offset * factor + plus)


def train(context: Context) -> Metrics:
    """Writes ``routing.npz``; returns cross-validated figures."""
    encoder = StaticEncoder.load(context.out)
    words = read_word_classes(context, encoder.vocabulary)
    pool = read_pool(context)
    vectors, countable = read_countable(pool.texts, encoder, words, context)
    judged = countable[np.isin(pool.kinds, _JUDGED)]
    ceiling = np.quantile(judged, _CEILING, axis=0).astype(np.float32)
    bounded = np.minimum(countable, ceiling)
    mean, scale = bounded.mean(axis=0), bounded.std(axis=0) + np.float32(_LEAST_SCALE)
    features = RoutingFeatures(words, ceiling, mean, scale)
    is_form = np.array([name in FEATURES or name in RARITY for name in features.names], float)
    table = Table(features.row(vectors, countable).astype(float), vectors.shape[1], is_form, len(PRODUCTS))
    held_out = _held_out_readings(pool, table, context.random("folds"))
    centre, deviation = _statistics(pool, held_out)
    readings = fit_readings(pool, table, np.ones(len(pool.texts), bool))
    demand = blended(readings, centre, deviation)
    score = np.asarray(sum(BLEND[name] * (held_out[name] - centre[name]) / deviation[name] for name in BLEND))
    enough, kinds = np.array(pool.enough), np.array(pool.kinds)
    tiers = fit_tiers(score, enough, kinds)
    by_kind = fit_tiers(held_out["demand"], np.where((kinds == "exam")[:, None], np.nan, enough), kinds)
    factor, plus = by_kind.slope[0] / tiers.slope[0], (tiers.offset[0] - by_kind.offset[0]) / tiers.slope[0]
    kind, kind_held_out = readings["demand"].times(factor, plus), held_out["demand"] * factor + plus
    everything = np.ones(len(pool.texts), bool)
    document = fit_document(pool, table, everything)
    outputs = (demand, kind, readings["checkable"], document)
    typical = float(np.median(np.maximum(score, kind_held_out)[kinds == "document"]))
    centres, familiar = _centres(vectors, context.seed)
    centres = np.concatenate((centres, _centres_of_short_texts(context, encoder)))
    np.savez_compressed(
        context.out / ROUTING_FILE,
        allow_pickle=False,
        **words.arrays(),
        ceiling=ceiling,
        mean=mean,
        scale=scale,
        weights=np.stack([output.weights for output in outputs], axis=1).astype(np.float32),
        bias=np.array([output.offset for output in outputs], np.float32),
        tier_offset=tiers.offset.astype(np.float32),
        tier_slope=tiers.slope.astype(np.float32),
        document_discount=np.float32(max(0.0, typical - tiers.demand_at(_DOCUMENT_NEEDS_STRONG))),
        **_signs(context),
        expert_demand=np.float32(tiers.demand_at(_EXPERT_NEEDS_STRONG)),
        centres=centres,
        familiar=np.float32(familiar),
        floors=np.array([tiers.demand_at(FLOORS[doubt]) for doubt in DOUBTS], np.float32),
    )
    return _figures(pool, held_out, score)


def _signs(context: Context) -> dict[str, NDArray[np.str_]]:
    """The single words that say much, and those of the shortest written prompts, which are no riddle."""
    signs = msgspec.json.decode(context.own(SIGNS_FILE).read_bytes())
    return {name: np.array(signs[name]) for name in ("expert", "cited", "english", "foreign", "short_talk", "names")}


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
    demand, difficulty, steps = np.array(pool.demand), np.array(pool.difficulty), np.array(pool.steps)
    length = np.zeros(table.rows.shape[1])
    length[table.meaning + FEATURES.index("characters")] = 1

    def ridge(labels: Values, units: Values, penalty: float) -> Linear:
        told = chosen & ~np.isnan(labels)
        fitted = Ridge(alpha=penalty).fit(table.rows[told] * units, labels[told])
        return Linear(fitted.coef_ * units, float(fitted.intercept_))

    return {
        "demand": ridge(demand, table.units, _DEMAND_RIDGE),
        "difficulty": ridge(_log_odds(difficulty), table.vector, _DIFFICULTY_RIDGE),
        "form": ridge(difficulty, table.form, _FORM_RIDGE),
        "steps": ridge(steps, table.form, _FORM_RIDGE),
        "checkable": _fit_logistic(pool, table, np.array(pool.checkable), chosen),
        "length": Linear(length, 0.0),
    }


def fit_document(pool: Pool, table: Table, chosen: NDArray[np.bool_]) -> Linear:
    """Log-odds that a text is a document with a simple request about it."""
    is_document = np.array([float(kind == "document") for kind in pool.kinds])
    return _fit_logistic(pool, table, is_document, chosen)


def _fit_logistic(pool: Pool, table: Table, labels: Values, chosen: NDArray[np.bool_]) -> Linear:
    counts = np.array([_LOGISTIC_WEIGHTS.get(kind, 1.0) for kind in pool.kinds])
    exams = np.isin(pool.kinds, ("exam", "options", "steps"))
    every = round(1 / _SHARE_OF_EXAMS)
    told = chosen & ~np.isnan(labels) & (~exams | (np.arange(len(labels)) % every == 0))
    units = table.units / _LOGISTIC_UNITS
    fitted = LogisticRegression(C=_LOGISTIC_C, max_iter=300).fit(table.rows[told] * units, labels[told], counts[told])
    return Linear(fitted.coef_[0] * units, float(fitted.intercept_[0]))


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
            held_out[name][part] = reading.of(table.of(part))
    return held_out


def _statistics(pool: Pool, readings: dict[str, Values]) -> tuple[dict[str, float], dict[str, float]]:
    kinds = np.array(pool.kinds)
    parts = [kinds == kind for kind in _STATISTICS]
    centre = {name: float(np.mean([values[part].mean() for part in parts])) for name, values in readings.items()}
    deviation = {name: float(np.mean([values[part].std() for part in parts])) for name, values in readings.items()}
    return centre, deviation


def _log_odds(share: Values) -> Values:
    bounded = np.clip(share, 0.02, 0.98)
    return np.asarray(np.log(bounded / (1 - bounded)))


def _centres(vectors: NDArray[np.float32], seed: int) -> tuple[NDArray[np.float32], float]:
    """What the training prompts are about, and how near to it nearly all of them are."""
    found = KMeans(_CENTRES, n_init=1, random_state=seed).fit(vectors).cluster_centers_
    centres = (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)
    return centres, float(np.quantile((vectors @ centres.T).max(axis=1), _UNFAMILIAR_SHARE))


def _centres_of_short_texts(context: Context, encoder: StaticEncoder) -> NDArray[np.float32]:
    """What short requests are about, which the judged prompts hold few of: whoever reads them apart has learned from these."""
    vectors = np.array([TextEncoding(text, encoder).vector for text in written_texts(context)], np.float32)
    return _centres(vectors, context.seed)[0]


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
