"""The window model: a window's score depends on the window alone, and the whole counts each n-gram once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_extproc.analysis.injection_windows import (
    BITS,
    KINDS,
    MAX_BYTES,
    SMALL,
    Reading,
    WindowModel,
    folded_part,
    read,
    segments,
    summary,
)
from router_extproc.analysis.ngrams import Powers

POWERS = Powers(MAX_BYTES)
MODEL = WindowModel(np.random.default_rng(3).normal(size=(KINDS, 1 << BITS)).astype(np.float32), -0.5)
PROSE = "The lamp stood by the window and nobody had lit it for years. "


def reading_of(text: str) -> Reading:
    return read(folded_part(text)[0], POWERS)


@given(st.integers(0, 5_000))
def test_windows_cover_every_byte(length: int) -> None:
    """Each byte of a text lies in a small and in a large window, and the first segment is the whole."""
    parts = segments(length)
    assert (parts.starts[0], parts.ends[0]) == (0, length)
    for windows in (parts.small, parts.large):
        covered = np.zeros(length, bool)
        for start, end in zip(parts.starts[windows], parts.ends[windows], strict=True):
            covered[start:end] = True
        assert covered.all()


def test_a_window_scores_as_its_own_text() -> None:
    """What stands outside a window changes nothing in it, but for the n-grams that reach over its end."""
    text = PROSE * 30
    reading, parts = reading_of(text), segments(len(text))
    scores = MODEL.scores(reading, parts)
    other = reading_of(text[:SMALL] + PROSE.upper()[::-1] * 40)
    assert scores[parts.small][0] == pytest.approx(
        MODEL.scores(other, segments(other.length))[segments(other.length).small][0], abs=0.6
    )


def test_repeating_a_text_does_not_change_the_score_of_the_whole() -> None:
    """Each n-gram of the whole counts once, so repetition cannot drown what is said."""
    once, often = (MODEL.scores(reading_of(PROSE * times), segments(len(PROSE) * times))[0] for times in (3, 30))
    assert once == pytest.approx(often, abs=1e-6)


@given(st.text(max_size=2_000))
def test_any_text_can_be_scored(text: str) -> None:
    """Foreign bytes give finite scores and a span inside the text."""
    reading = reading_of(text)
    found = summary(MODEL, reading)
    assert np.isfinite([found.whole, found.small, found.large]).all()
    assert 0 <= found.span[0] <= found.span[1] <= reading.length


def test_very_long_texts_keep_head_and_tail() -> None:
    """Of a text beyond the limit the first and last halves are read, and it is said."""
    data, truncated = folded_part("a" * MAX_BYTES + "z" * MAX_BYTES)
    assert truncated
    assert (len(data), chr(data[0]), chr(data[-1])) == (MAX_BYTES, "a", "z")
