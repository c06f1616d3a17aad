"""Reading along what a provider compressed."""

from __future__ import annotations

import gzip
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_extproc.extproc.compression import UnreadableError, reader_of


@given(st.binary(max_size=4_000), st.lists(st.integers(0, 4_000), max_size=8))
def test_however_it_is_cut_all_of_it_is_read(plain: bytes, cuts: list[int]) -> None:
    """The pieces of a gzip stream add up to what was compressed."""
    compressed = gzip.compress(plain)
    edges = [0, *sorted(min(cut, len(compressed)) for cut in cuts), len(compressed)]
    reader = reader_of("gzip", 1 << 20)
    assert reader is not None
    assert b"".join(reader.read(compressed[first:last]) for first, last in itertools.pairwise(edges)) == plain


@given(st.binary(max_size=200))
def test_foreign_bytes_are_read_or_refused(piece: bytes) -> None:
    """Whatever comes, nothing else is raised."""
    reader = reader_of("gzip", 100)
    assert reader is not None
    try:
        assert len(reader.read(piece)) <= 100
    except UnreadableError:
        return


def test_little_that_stands_for_very_much_is_not_expanded() -> None:
    """A bomb of 64 MiB in 64 KiB costs no more memory than the bound."""
    reader = reader_of("gzip", 1_000)
    assert reader is not None
    bomb = gzip.compress(bytes(64 << 20))
    assert sum(len(reader.read(bomb[place : place + 4_096])) for place in range(0, len(bomb), 4_096)) == 1_000


@pytest.mark.parametrize(
    ("encoding", "known"), [("", True), ("Identity", True), ("x-gzip", True), ("br", False), ("zstd", False)]
)
def test_only_what_can_be_read_has_a_reader(encoding: str, *, known: bool) -> None:
    """Other encodings are left alone."""
    assert (reader_of(encoding, 10) is not None) is known


def test_what_is_not_compressed_is_read_as_it_is() -> None:
    """Identity costs nothing."""
    reader = reader_of("", 1)
    assert reader is not None
    assert reader.read(b"as it is") == b"as it is"
