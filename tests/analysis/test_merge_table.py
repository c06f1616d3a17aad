"""The merges of o200k_base, read from the shipped table."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from router_extproc.analysis.merge_table import EMPTY, MERGES_FILE, NO_MERGE, TOKEN_BITS, merge_table
from router_extproc.analysis.token_table import FOLDER

MASK = np.uint64((1 << TOKEN_BITS) - 1)
STORED = np.load(FOLDER / MERGES_FILE)
ENTRIES = STORED[np.uint64(EMPTY) != STORED]
LEFT, RIGHT, MERGED = ((ENTRIES >> np.uint64(shift) & MASK).astype(np.int64) for shift in (2 * TOKEN_BITS, TOKEN_BITS, 0))


def test_every_merge_is_found() -> None:
    """All 199,742 tokens of more than one byte are made of two, each pair at one of its places."""
    assert len(np.unique(MERGED)) == len(MERGED) == 199_742
    assert (merge_table().merged(LEFT, RIGHT) == MERGED).all()


def test_what_merges_ranks_above_both_parts() -> None:
    """Counting merges all places of a rank in one step, which rests on this."""
    assert (np.maximum(LEFT, RIGHT) < MERGED).all()


def test_each_byte_is_a_token() -> None:
    """Any text can be written in tokens, so none takes more of them than bytes."""
    assert sorted(merge_table().bytes_) == list(range(256))


@settings(max_examples=200)
@given(st.integers(0, NO_MERGE - 1), st.integers(0, NO_MERGE - 1))
def test_no_other_pair_merges(left: int, right: int) -> None:
    """A pair that is not in the vocabulary is not taken for one that is."""
    known = MERGED[(left == LEFT) & (right == RIGHT)].tolist() or [NO_MERGE]
    assert merge_table().merged(np.array([left]), np.array([right])).tolist() == known
