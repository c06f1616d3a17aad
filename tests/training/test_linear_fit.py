"""Fitting linear heads and calibrating them."""

from __future__ import annotations

import os

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from router_extproc.analysis.encoders.static import StaticEncoder
from router_extproc.analysis.encoding import TextEncoding
from router_extproc.analysis.location import artefact_folder
from router_extproc.analysis.wording import read_wording
from router_extproc.training.linear_fit import (
    Features,
    Penalty,
    Values,
    calibration,
    fit_exclusive,
    fit_independent,
    read_features,
)

_TEXTS = ["Translate this to French", "sort a list in python", "hi"]


def _features(random: np.random.Generator, count: int) -> tuple[Features, Values]:
    """Two classes: the first is told by a dense feature, the second by an n-gram."""
    dense = random.normal(size=(count, 3)).astype(np.float32)
    ngram = random.random(count) < 0.5
    ngrams = csr_matrix(np.stack([ngram, ~ngram], axis=1).astype(np.float32))
    labels = np.stack([dense[:, 0] > 0, ngram], axis=1).astype(np.float32)
    return Features(dense, ngrams), labels


def test_independent_classes_are_learned_side_by_side() -> None:
    """A text may be of both, of one or of none; each is told right on new texts."""
    random = np.random.default_rng(1)
    features, labels = _features(random, 400)
    weights = fit_independent(features, labels, np.ones_like(labels), Penalty(0.1, 0.1, 60))
    new, truth = _features(random, 200)
    assert ((weights.logits(new) > 0) == (truth > 0)).mean() > 0.97


def test_what_counts_nothing_teaches_nothing() -> None:
    """Wrong labels with the count 0 leave the weights as they were."""
    features, labels = _features(np.random.default_rng(2), 300)
    counts = np.ones_like(labels)
    counts[:100] = 0
    wrong = labels.copy()
    wrong[:100] = 1 - wrong[:100]
    penalty = Penalty(0.1, 0.1, 40)
    one, other = fit_independent(features, labels, counts, penalty), fit_independent(features, wrong, counts, penalty)
    np.testing.assert_allclose(one.dense, other.dense, atol=1e-5)


def test_exclusive_classes_compete() -> None:
    """One softmax: the greatest logit is the class."""
    random = np.random.default_rng(3)
    features, labels = _features(random, 400)
    classes = (labels[:, 0] + 2 * labels[:, 1]).astype(np.intp)
    weights = fit_exclusive(features, classes, np.ones(400, np.float32), Penalty(0.1, 0.1, 80))
    new, truth = _features(random, 200)
    assert (weights.logits(new).argmax(axis=1) == truth[:, 0] + 2 * truth[:, 1]).mean() > 0.95


def test_eight_bits_lose_next_to_nothing() -> None:
    """The head that is shipped says what the head that was fitted says."""
    encoder = StaticEncoder.load(artefact_folder(os.environ))
    features = read_features(_TEXTS * 5, encoder)
    labels = np.array([[1, 0], [0, 1], [0, 0]] * 5, np.float32)
    weights = fit_independent(features, labels, np.ones_like(labels), Penalty(0.3, 0.2, 40))
    head = weights.head(["translation", "code"])
    for row, text in enumerate(_TEXTS):
        encoding = TextEncoding(text, encoder)
        shipped = head.logits(read_wording(encoding, has_documents=False), encoding.ngrams)
        np.testing.assert_allclose(shipped, weights.logits(features)[row], atol=0.03)


def test_features_are_those_of_analysis() -> None:
    """Training reads a text as the worker does, retrieved documents told from the task included."""
    encoder = StaticEncoder.load(artefact_folder(os.environ))
    text = "Translate this to French"
    features = read_features([text], encoder)
    encoding = TextEncoding(text, encoder)
    np.testing.assert_array_equal(features.dense[0], read_wording(encoding, has_documents=False))
    assert sorted(features.ngrams.indices.tolist()) == encoding.ngrams.tolist()
    folded = read_features([text], encoder, bits=4, with_wording=False)
    assert folded.ngrams.shape[1] == 16
    assert folded.dense.shape == (1, 384)


@pytest.mark.parametrize(("slope", "offset"), [(0.5, 0.0), (2.0, -1.0)])
def test_calibration_finds_the_probabilities_behind_logits(slope: float, offset: float) -> None:
    """Labels drawn with sigmoid(slope * logit + offset) give slope and offset back."""
    random = np.random.default_rng(4)
    logits = random.normal(scale=2, size=6000).astype(np.float32)
    labels = (random.random(6000) < 1 / (1 + np.exp(-(slope * logits + offset)))).astype(np.float32)
    found = calibration(logits, labels, np.ones(6000, np.float32))
    assert found == pytest.approx((slope, offset), abs=0.12)


def test_calibration_of_a_class_that_never_occurs_stays_finite() -> None:
    """No positive at all must not end in infinity."""
    found = calibration(np.zeros(50, np.float32), np.zeros(50, np.float32), np.ones(50, np.float32))
    assert np.isfinite(found).all()
