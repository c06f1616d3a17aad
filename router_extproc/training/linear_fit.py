"""Fits linear heads: dense features and hashed n-grams of many texts, L-BFGS, and a calibration on held-out texts.

Two losses: independent (a text may belong to several classes: a logistic regression each) and exclusive (one softmax).
The penalty is ridge, weaker on n-grams than on dense features; both were chosen by cross-validation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse import csr_matrix
from scipy.special import expit, log_softmax, softmax

from router_extproc.analysis.conversation import conversation_of
from router_extproc.analysis.encoders.static import StaticEncoder
from router_extproc.analysis.encoding import TextEncoding
from router_extproc.analysis.instruction import BITS
from router_extproc.analysis.linear_head import LinearHead
from router_extproc.analysis.wording import ngram_weight, read_wording

Values = NDArray[np.float32]
_LARGEST_INT8 = 127


@dataclass(frozen=True, slots=True)
class Features:
    """Of n texts: dense features [n, d], and n-grams [n, buckets], sparse."""

    dense: Values
    ngrams: csr_matrix

    def rows(self, chosen: NDArray[np.intp]) -> Features:
        """Some of the texts."""
        return Features(self.dense[chosen], self.ngrams[chosen])


@dataclass(frozen=True, slots=True)
class Weights:
    """Of c classes: for dense features [d, c], for n-grams [buckets, c], and the bias [c]."""

    dense: Values
    ngrams: Values
    bias: Values

    def logits(self, features: Features) -> Values:
        """[n, c]."""
        return np.asarray(features.dense @ self.dense + features.ngrams @ self.ngrams + self.bias, np.float32)

    def arrays(self, classes: Sequence[str]) -> dict[str, NDArray[np.generic]]:
        """As ``LinearHead`` stores them: n-grams in 8 bits."""
        scale = np.maximum(np.abs(self.ngrams).max(axis=0), 1e-9) / _LARGEST_INT8
        return {
            "classes": np.array(classes),
            "dense": self.dense.astype(np.float32),
            "table": np.round(self.ngrams / scale).astype(np.int8),
            "scale": scale.astype(np.float32),
            "bias": self.bias.astype(np.float32),
        }

    def head(self, classes: Sequence[str]) -> LinearHead:
        """The head as it will be shipped."""
        return LinearHead.from_arrays(self.arrays(classes))


def read_features(texts: Sequence[str], encoder: StaticEncoder, *, bits: int = BITS, with_wording: bool = True) -> Features:
    """The features of texts, each read as a request of one message.

    Args:
        texts: as users send them.
        encoder: of the artefact that is being built.
        bits: of the buckets, at most those of ``instruction``.
        with_wording: whether dense features are all of ``wording``, or the vector alone.
    """
    dense: list[Values] = []
    columns: list[NDArray[np.int64]] = []
    values: list[Values] = []
    for text in texts:
        conversation = conversation_of(text)
        encoding = TextEncoding(conversation.task, encoder)
        dense.append(read_wording(encoding, has_documents=conversation.has_context) if with_wording else encoding.vector)
        columns.append(encoding.ngrams & ((1 << bits) - 1))
        values.append(np.full(len(encoding.ngrams), ngram_weight(len(encoding.ngrams)), np.float32))
    bounds = np.cumsum([0, *map(len, columns)])
    ngrams = csr_matrix((np.concatenate(values), np.concatenate(columns), bounds), shape=(len(texts), 1 << bits))
    ngrams.sum_duplicates()
    return Features(np.array(dense, np.float32), ngrams)


@dataclass(frozen=True, slots=True)
class Penalty:
    """The ridge penalties and how many steps of L-BFGS are made: stopping early regularises too."""

    dense: float = 1.0
    ngrams: float = 0.3
    steps: int = 60


def fit_independent(features: Features, labels: Values, counts: Values, penalty: Penalty) -> Weights:
    """One logistic regression a class.

    Args:
        features: of n texts.
        labels: 0 or 1, [n, c].
        counts: what each text counts for each class, [n, c]; 0 where it neither teaches nor judges.
        penalty: of the weights.
    """

    def loss(logits: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        value = float(((np.logaddexp(0, logits) - labels * logits) * counts).sum())
        return value, (expit(logits) - labels) * counts

    return _minimised(features, labels.shape[1], loss, penalty)


def fit_exclusive(features: Features, classes: NDArray[np.intp], counts: Values, penalty: Penalty) -> Weights:
    """One softmax over all classes.

    Args:
        features: of n texts.
        classes: the number of each text's class, [n].
        counts: what each text counts, [n].
        penalty: of the weights.
    """
    places = np.arange(len(classes))
    truth = np.zeros((len(classes), int(classes.max()) + 1))
    truth[places, classes] = 1

    def loss(logits: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        value = float(-(log_softmax(logits, axis=1)[places, classes] * counts).sum())
        return value, (softmax(logits, axis=1) - truth) * counts[:, None]

    return _minimised(features, truth.shape[1], loss, penalty)


def _minimised(features: Features, classes: int, loss: object, penalty: Penalty) -> Weights:
    wide, buckets = features.dense.shape[1], features.ngrams.shape[1]
    transposed = features.ngrams.T.tocsr()
    ridge = np.concatenate((np.full(wide, penalty.dense), np.full(buckets, penalty.ngrams), [0.0]))[:, None]

    def split(flat: NDArray[np.float64]) -> Weights:
        table = flat.reshape(wide + buckets + 1, classes).astype(np.float32)
        return Weights(table[:wide], table[wide:-1], table[-1])

    def objective(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        value, slope = loss(split(flat).logits(features))  # type: ignore[operator]
        slope = slope.astype(np.float32)
        gradient = np.concatenate((features.dense.T @ slope, transposed @ slope, slope.sum(axis=0)[None]))
        table = flat.reshape(-1, classes)
        return value + 0.5 * float((ridge * table**2).sum()), (gradient + ridge * table).ravel()

    start = np.zeros((wide + buckets + 1) * classes)
    found = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": penalty.steps, "maxcor": 6})
    return split(found.x)


def calibration(logits: Values, labels: Values, counts: Values) -> tuple[float, float]:
    """Platt's slope and offset for one class, from held-out logits: sigmoid(slope * logit + offset) is a probability.

    A ridge towards slope 1 and offset 0, worth a few texts, keeps a class with few positives from extremes.
    """

    def objective(pair: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        shifted = pair[0] * logits + pair[1]
        error = (expit(shifted) - labels) * counts
        value = ((np.logaddexp(0, shifted) - labels * shifted) * counts).sum() + 0.5 * ((pair[0] - 1) ** 2 + pair[1] ** 2)
        return float(value), np.array([(error * logits).sum() + pair[0] - 1, error.sum() + pair[1]])

    slope, offset = minimize(objective, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B", bounds=[(0.05, 5.0), (-10, 10)]).x
    return float(slope), float(offset)
