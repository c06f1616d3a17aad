"""Unpacking what a provider compressed."""

from __future__ import annotations

import gzip
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_extproc.extproc.compression import GzipReader, UnreadableError


@given(st.binary(max_size=4_000), st.lists(st.integers(0, 4_000), max_size=8))
def test_however_it_is_cut_all_of_it_is_read(plain: bytes, cuts: list[int]) -> None:
    """The pieces of a gzip stream add up to what was compressed."""
    compressed = gzip.compress(plain)
    edges = [0, *sorted(min(cut, len(compressed)) for cut in cuts), len(compressed)]
    reader = GzipReader()
    assert b"".join(reader.read(compressed[first:last]) for first, last in itertools.pairwise(edges)) == plain


@given(st.binary(max_size=200))
def test_foreign_bytes_are_read_or_refused(piece: bytes) -> None:
    """Whatever comes, nothing else is raised."""
    try:
        assert len(GzipReader(100).read(piece)) <= 100
    except UnreadableError:
        return


def test_little_that_stands_for_very_much_is_refused() -> None:
    """A bomb is not expanded beyond the bound; what just fits is read."""
    bomb = gzip.compress(bytes(1 << 20))
    assert len(GzipReader(1 << 20).read(bomb)) == 1 << 20
    with pytest.raises(UnreadableError):
        GzipReader((1 << 20) - 1).read(bomb)
