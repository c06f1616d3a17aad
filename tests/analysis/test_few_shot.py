"""Classes from a handful of examples."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from router_extproc.analysis.few_shot import FewShotClassifier

Vectors = NDArray[np.float32]


def _cloud(random: np.random.Generator, centre: Vectors, count: int, spread: float = 0.6) -> Vectors:
    rows = centre + spread * random.normal(size=(count, len(centre))).astype(np.float32) / np.sqrt(len(centre))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def _centres(random: np.random.Generator, count: int, dimensions: int = 48) -> Vectors:
    return _cloud(random, np.zeros(dimensions, np.float32), count, 1.0)


def test_examples_of_each_class_are_told_apart() -> None:
    """New vectors around each class's centre are of that class, by preference."""
    random = np.random.default_rng(1)
    centres = _centres(random, 6)
    classifier = FewShotClassifier([_cloud(random, centre, 5) for centre in centres])
    chosen = [int(classifier.preferences(row).argmax()) for centre in centres for row in _cloud(random, centre, 20)]
    right = [place for place in range(6) for _ in range(20)]
    assert np.mean(np.array(chosen) == right) > 0.95


def test_sharpened_weights_beat_means_on_classes_that_lie_close() -> None:
    """Where classes differ in a few directions among many shared ones, preferences choose better than similarities."""
    random = np.random.default_rng(2)
    shared = _centres(random, 1, 64)[0]
    centres = [shared + 0.5 * centre for centre in _centres(random, 12, 64)]
    classifier = FewShotClassifier([_cloud(random, centre, 5, 0.8) for centre in centres])
    tests = [(place, row) for place, centre in enumerate(centres) for row in _cloud(random, centre, 60, 0.8)]
    by_weights = np.mean([int(classifier.preferences(row).argmax()) == place for place, row in tests])
    by_similarity = np.mean([int(classifier.similarities(row).argmax()) == place for place, row in tests])
    assert by_weights > by_similarity


def test_the_fitted_threshold_lets_pass_kin_and_stops_strangers() -> None:
    """Most of a class's own pass; of vectors about anything nearly none does."""
    random = np.random.default_rng(3)
    centre, background = _centres(random, 1)[0], _centres(random, 1000)
    classifier = FewShotClassifier([_cloud(random, centre, 8)], background)
    kin = [classifier.similarities(row)[0] for row in _cloud(random, centre, 200)]
    strangers = [classifier.similarities(row)[0] for row in _centres(random, 2000)]
    assert np.mean(np.array(kin) >= classifier.thresholds[0]) > 0.8
    assert np.mean(np.array(strangers) >= classifier.thresholds[0]) < 0.02


def test_one_class_of_one_example_works() -> None:
    """A route of one description is the smallest case: similar to itself, and the only choice."""
    row = _centres(np.random.default_rng(4), 1)
    classifier = FewShotClassifier([row])
    assert classifier.similarities(row[0])[0] == pytest.approx(1.0)
    assert classifier.preferences(row[0]).shape == (1,)


@pytest.mark.parametrize("examples", [[], [np.zeros((0, 4), np.float32)]])
def test_a_class_without_examples_is_refused(examples: list[Vectors]) -> None:
    """No class can be learned from nothing."""
    with pytest.raises(ValueError, match="at least one example"):
        FewShotClassifier(examples)
