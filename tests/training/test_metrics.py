"""The figures: each by its definition, on cases small enough to check by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_extproc.training import metrics


def test_a_perfect_score_recovers_the_gap_with_the_calls_it_takes() -> None:
    """Half of the prompts need the strong model; sending just these recovers all, so the area is 0.75."""
    curve = metrics.cost_quality([4, 3, 2, 1], strong=[1, 1, 1, 1], weak=[0, 0, 1, 1])
    assert curve.recovered.tolist() == [0, 0.5, 1, 1, 1]
    assert curve.apgr == pytest.approx(0.75)
    assert curve.calls_for(0.5) == 0.25
    assert curve.calls_for(0.8) == 0.5


def test_a_score_that_tells_nothing_is_worth_one_half() -> None:
    """Equal scores share their mean: whatever the order of the rows, a constant is the diagonal."""
    curve = metrics.cost_quality([1, 1, 1, 1], strong=[1, 1, 1, 1], weak=[0, 0, 1, 1])
    assert curve.apgr == pytest.approx(0.5)
    assert curve.recovered == pytest.approx(curve.calls)


def test_where_the_strong_model_is_no_better_there_is_no_gap() -> None:
    """A division by nothing is refused, not reported."""
    with pytest.raises(ValueError, match="not better"):
        metrics.cost_quality([1, 2], strong=[0, 1], weak=[1, 0])


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40))
def test_auc_counts_pairs(rows: list[tuple[int, bool]]) -> None:
    """The area is the share of pairs put in the right order, ties counting half."""
    positives = [score for score, label in rows if label]
    negatives = [score for score, label in rows if not label]
    value = metrics.auc([score for score, _ in rows], [label for _, label in rows])
    if not positives or not negatives:
        assert math.isnan(value)
        return
    pairs = [(high > low) + (high == low) / 2 for high in positives for low in negatives]
    assert value == pytest.approx(sum(pairs) / len(pairs))


@given(st.lists(st.integers(0, 9), min_size=1, max_size=200), st.sampled_from([0.0, 0.01, 0.05, 0.5]))
def test_a_threshold_never_raises_more_false_alarms_than_allowed(negatives: list[int], allowed: float) -> None:
    """With ties too: the promise is "at most", never "about"."""
    threshold = metrics.threshold_at(negatives, allowed)
    assert (np.array(negatives) >= threshold).mean() <= allowed


def test_recall_at_a_rate_of_false_alarms() -> None:
    """Of 100 negatives one may score above the threshold, so the positives above the second highest are found."""
    scores = [*range(100), 98.5, 99.5, 50]
    assert metrics.recall_at(scores, [0] * 100 + [1, 1, 1], 0.01) == pytest.approx(2 / 3)


def test_calibration_error_is_the_mean_distance() -> None:
    """Probabilities that are ten points too high everywhere have an error of 0.1."""
    labels = [1] * 40 + [0] * 60
    result = metrics.reliability([0.5] * 100, labels, bins=1)
    assert result.error == pytest.approx(0.1)
    assert (result.predicted[0], result.observed[0]) == (0.5, 0.4)


def test_macro_f1_weighs_every_name_alike() -> None:
    """A rare name that is always missed costs as much as a frequent one; a name that never occurs costs nothing."""
    matrix = metrics.confusion(["a"] * 10, ["a"] * 9 + ["b"], ["a", "b", "c"])
    assert matrix.tolist() == [[9, 0, 0], [1, 0, 0], [0, 0, 0]]
    assert metrics.macro_f1(matrix) == pytest.approx((18 / 19 + 0) / 2)


def test_a_bootstrap_interval_holds_the_mean_of_a_coin() -> None:
    """400 fair coins: the interval is about ten points wide, contains the observed share, and repeats with its seed."""
    coins = np.arange(400) % 2
    interval = metrics.bootstrap(lambda rows: float(coins[rows].mean()), 400, seed=1)
    assert interval.low < interval.value == 0.5 < interval.high
    assert 0.08 < interval.high - interval.low < 0.12
    assert metrics.bootstrap(lambda rows: float(coins[rows].mean()), 400, seed=1) == interval


def test_a_stratified_bootstrap_keeps_the_groups_shares() -> None:
    """Where the figure depends on the group alone, resampling within groups leaves it as it is."""
    groups = np.array(["a", "b", "b", "b"])
    interval = metrics.bootstrap(lambda rows: float((groups[rows] == "a").mean()), 4, groups=groups)
    assert interval == (0.25, 0.25, 0.25)
