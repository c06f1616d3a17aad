"""Counts of classes of words."""

from __future__ import annotations

import numpy as np
import pytest

from router_extproc.analysis.word_classes import RARITY, WordClasses

ROWS = np.array([[0, 0], [1, 0], [1, 1]], np.float32)
WORDS = WordClasses(["proof", "law"], np.array([0, 1, 2, 0], np.int16), ROWS)


def test_words_count_in_each_of_their_classes() -> None:
    """A word of two classes counts in both, one of none in neither."""
    counts = np.expm1(WORDS.features([np.array([1, 2, 2, 3, 0], np.int32)])[0, :2])
    assert counts.tolist() == pytest.approx([3, 2])


def test_no_words_no_features() -> None:
    """A text without words is all zero."""
    assert not WORDS.features([np.array([], np.int32)]).any()


def test_they_survive_being_stored() -> None:
    """What is read back counts the same."""
    ids = np.array([1, 2, 3], np.int32)
    assert np.array_equal(WordClasses.from_arrays(WORDS.arrays()).features([ids]), WORDS.features([ids]))
    assert WORDS.names == ("proof", "law", *RARITY)


def test_classes_and_columns_must_agree() -> None:
    """A file with a column too many is refused."""
    with pytest.raises(ValueError, match="as many columns"):
        WordClasses(["proof"], np.zeros(1, np.int16), ROWS)
