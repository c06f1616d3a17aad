"""Hashes of slices: equal for equal text, wherever it stands, and different otherwise."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from router_extproc.analysis.slice_hashes import SliceHasher, code_points

HASHER = SliceHasher(200)


def hash_of(text: str, start: int, end: int) -> int:
    sums = HASHER.prefix_sums(code_points(text))
    return int(HASHER.hashes(sums, np.array([start]), np.array([end]))[0])


@given(st.text(max_size=60), st.text(min_size=1, max_size=20), st.text(max_size=60))
def test_a_slice_hashes_the_same_wherever_it_stands(before: str, text: str, after: str) -> None:
    """What stands before and after changes nothing."""
    whole = before + text + after
    assert hash_of(whole, len(before), len(before) + len(text)) == hash_of(text, 0, len(text))


def test_slices_that_differ_hash_differently() -> None:
    """Ten thousand short words, among them ones that differ by one letter or by order: no two alike."""
    words = [f"{a}{b}{c}{d}" for a in "abcdefghij" for b in "abcdefghij" for c in "abcdefghij" for d in "abcdefghij"]
    assert len({hash_of(word, 0, 4) >> 32 for word in words}) == len(words)
