"""The figures by which a head is judged, each by its usual definition; plain numpy, no library's defaults.

Shapes: scores, labels and gains are one-dimensional and of equal length n.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Vector = NDArray[np.float64]


class Interval(NamedTuple):
    """A figure with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """As the tables show it."""
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


class CostQuality(NamedTuple):
    """What a routing score buys: ``recovered[k]`` is the share of the gap between weak and strong model that is recovered
    when the k of n prompts with the highest scores go to the strong model; ``calls[k]`` is k / n.
    """

    calls: Vector
    recovered: Vector

    @property
    def apgr(self) -> float:
        """Average performance gap recovered (RouteLLM, arXiv 2406.18665): the area under the curve; random gives 0.5."""
        return float(np.trapezoid(self.recovered, self.calls))

    def calls_for(self, share: float) -> float:
        """CPT(share): the least share of strong calls that recovers ``share`` of the gap; NaN where none does."""
        reached = np.flatnonzero(self.recovered >= share)
        return float(self.calls[reached[0]]) if len(reached) else float("nan")


def cost_quality(scores: ArrayLike, strong: ArrayLike, weak: ArrayLike) -> CostQuality:
    """The curve of a score, from what the strong and the weak model got right; prompts with equal scores share their mean.

    Raises:
        ValueError: the strong model is no better than the weak one, so there is no gap to recover.
    """
    score, gain = _vector(scores), _vector(strong) - _vector(weak)
    if gain.sum() <= 0:
        raise ValueError("the strong model is not better than the weak one on these prompts")
    # Equal scores cannot be told apart, so each of them is worth the mean of all of them.
    _, place, count = np.unique(score, return_inverse=True, return_counts=True)
    shared = np.bincount(place, weights=gain) / count
    ordered = shared[place][np.argsort(-score, kind="stable")]
    recovered = np.concatenate([[0.0], np.cumsum(ordered)]) / gain.sum()
    return CostQuality(np.linspace(0, 1, len(score) + 1), recovered)


def auc(scores: ArrayLike, labels: ArrayLike) -> float:
    """The probability that a positive scores higher than a negative, ties counting half; NaN where one kind is missing."""
    score, positive = _vector(scores), _vector(labels) > 0
    count = int(positive.sum())
    if count in (0, len(score)):
        return float("nan")
    _, place, counts = np.unique(score, return_inverse=True, return_counts=True)
    # The mean rank of each group of equal scores.
    rank = np.cumsum(counts) - (counts - 1) / 2
    return float((rank[place][positive].sum() - count * (count + 1) / 2) / (count * (len(score) - count)))


def threshold_at(negatives: ArrayLike, false_positives: float) -> float:
    """The lowest threshold at which at most this share of the negatives scores at or above it."""
    ordered = np.sort(_vector(negatives))[::-1]
    allowed = int(np.floor(false_positives * len(ordered)))
    return float(np.nextafter(ordered[min(allowed, len(ordered) - 1)], np.inf))


def recall_at(scores: ArrayLike, labels: ArrayLike, false_positives: float) -> float:
    """The share of positives found at a threshold that raises this share of false alarms on the negatives."""
    score, positive = _vector(scores), _vector(labels) > 0
    return float((score[positive] >= threshold_at(score[~positive], false_positives)).mean())


class Reliability(NamedTuple):
    """How probabilities compare with what happened, in bins of equal counts; ``error`` is the expected calibration error."""

    predicted: Vector
    observed: Vector
    sizes: Vector
    error: float


def reliability(probabilities: ArrayLike, labels: ArrayLike, bins: int = 10) -> Reliability:
    """The reliability diagram: mean probability and observed frequency of each of ``bins`` equally filled bins."""
    probability, label = _vector(probabilities), _vector(labels)
    parts = [part for part in np.array_split(np.argsort(probability, kind="stable"), bins) if len(part)]
    predicted = np.array([probability[part].mean() for part in parts])
    observed = np.array([label[part].mean() for part in parts])
    sizes = np.array([float(len(part)) for part in parts])
    return Reliability(predicted, observed, sizes, float((np.abs(predicted - observed) * sizes).sum() / sizes.sum()))


def confusion(predicted: list[str], true: list[str], names: list[str]) -> NDArray[np.int64]:
    """How often each name (row: the true one) was taken for each other (column)."""
    place = {name: number for number, name in enumerate(names)}
    matrix = np.zeros((len(names), len(names)), np.int64)
    for guess, truth in zip(predicted, true, strict=True):
        matrix[place[truth], place[guess]] += 1
    return matrix


def macro_f1(matrix: NDArray[np.int64]) -> float:
    """The mean F1 over all names that occur, as truth or as guess."""
    right, rows, columns = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    occurs = rows + columns > 0
    return float((2 * right[occurs] / (rows + columns)[occurs]).mean())


def bootstrap(
    figure: Callable[[NDArray[np.intp]], float], count: int, seed: int = 0, rounds: int = 1000, groups: ArrayLike | None = None
) -> Interval:
    """A figure of rows chosen by index, with its 95 % interval over resampled rows.

    Args:
        figure: what to measure, from the indices of the rows.
        count: how many rows there are.
        seed: of the resampling.
        rounds: how often to resample; rounds in which the figure does not exist (NaN, no gap) are left out.
        groups: one label a row; then each group is resampled within itself, so that shares stay as they are.
    """
    random = np.random.default_rng(seed)
    everything = np.arange(count)
    parts = [everything] if groups is None else [np.flatnonzero(np.asarray(groups) == name) for name in np.unique(groups)]
    values: list[float] = []
    for _ in range(rounds):
        chosen = np.concatenate([random.choice(part, len(part)) for part in parts])
        try:
            values.append(figure(chosen))
        except ValueError:
            continue
    low, high = np.nanpercentile(values, [2.5, 97.5]) if values else (float("nan"), float("nan"))
    return Interval(figure(everything), float(low), float(high))


def _vector(values: ArrayLike) -> Vector:
    return np.asarray(values, np.float64)
