"""The linear model over dense features and n-grams."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from router_extproc.analysis.linear_head import LinearHead, read_arrays
from router_extproc.analysis.wording import ngram_weight


def _arrays() -> dict[str, object]:
    random = np.random.default_rng(5)
    return {
        "classes": np.array(["a", "b"]),
        "dense": random.normal(size=(4, 2)).astype(np.float32),
        "table": random.integers(-127, 128, (8, 2)).astype(np.int8),
        "scale": np.array([0.5, 0.25], np.float32),
        "bias": np.array([1.0, -1.0], np.float32),
    }


def test_logits_are_the_sum_of_their_parts() -> None:
    """Dense features, the weights of each n-gram, and the bias; computed here one by one."""
    head = LinearHead.from_arrays(_arrays())
    dense, ngrams = np.array([1, 2, 3, 4], np.float32), np.array([1, 5])
    for place in range(2):
        steps = int(head.table[1, place]) + int(head.table[5, place])
        expected = dense @ head.dense[:, place] + steps * head.scale[place] * ngram_weight(2) + head.bias[place]
        assert head.logits(dense, ngrams)[place] == pytest.approx(expected, rel=1e-5)


def test_a_smaller_table_folds_the_buckets() -> None:
    """Bucket 9 of a table of eight is bucket 1."""
    head = LinearHead.from_arrays(_arrays())
    dense = np.zeros(4, np.float32)
    np.testing.assert_array_equal(head.logits(dense, np.array([9])), head.logits(dense, np.array([1])))


def test_many_extreme_ngrams_do_not_overflow() -> None:
    """Sums of eight-bit weights are not kept in eight bits."""
    arrays = _arrays() | {"table": np.full((8, 2), 127, np.int8)}
    head = LinearHead.from_arrays(arrays)
    steps = head.logits(np.zeros(4, np.float32), np.zeros(1000, np.int64)) - head.bias
    np.testing.assert_allclose(steps, 127_000 * head.scale * ngram_weight(1000), rtol=1e-5)


def test_a_text_without_ngrams_is_read_by_its_dense_features() -> None:
    """Nothing to look up is no error."""
    head = LinearHead.from_arrays(_arrays())
    np.testing.assert_allclose(head.logits(np.zeros(4, np.float32), np.zeros(0, np.int64)), head.bias)


@pytest.mark.parametrize(
    ("name", "value"),
    [("scale", np.ones(3, np.float32)), ("table", np.zeros((6, 2), np.int8)), ("dense", np.zeros((4, 1), np.float32))],
)
def test_arrays_that_do_not_fit_are_refused(name: str, value: object) -> None:
    """A damaged artefact is told at load, not by a wrong answer."""
    with pytest.raises(ValueError, match=r"found|power of two"):
        LinearHead.from_arrays(_arrays() | {name: value})


def test_arrays_are_read_as_written(tmp_path: Path) -> None:
    """A file and memory hold the same head."""
    np.savez(tmp_path / "head.npz", **_arrays())  # type: ignore[arg-type]
    read = LinearHead.from_arrays(read_arrays(tmp_path / "head.npz"))
    np.testing.assert_array_equal(read.table, LinearHead.from_arrays(_arrays()).table)
    assert read.classes == ("a", "b")


def test_a_head_beside_another_reads_as_both_do() -> None:
    """One product for both gives what each gives alone, in order."""
    one, other = LinearHead.from_arrays(_arrays()), LinearHead.from_arrays(_arrays() | {"classes": np.array(["c", "d"])})
    both, dense, ngrams = one.beside(other), np.array([1, 2, 3, 4], np.float32), np.array([1, 5])
    assert both.classes == ("a", "b", "c", "d")
    expected = np.append(one.logits(dense, ngrams), other.logits(dense, ngrams))
    np.testing.assert_allclose(both.logits(dense, ngrams), expected, rtol=1e-5)


def test_heads_of_other_features_do_not_stand_beside_each_other() -> None:
    """Files of two versions are told at load."""
    other = LinearHead.from_arrays(_arrays() | {"dense": np.zeros((3, 2), np.float32)})
    with pytest.raises(ValueError, match="dimension"):
        LinearHead.from_arrays(_arrays()).beside(other)
