"""The dense features of a text."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_extproc.analysis.encoders.static import StaticEncoder
from router_extproc.analysis.encoding import TextEncoding
from router_extproc.analysis.location import artefact_folder
from router_extproc.analysis.wording import ENDS, MARKS, read_wording

_ENCODER = StaticEncoder.load(artefact_folder(os.environ))
_WIDTH = 3 * 384 + len(MARKS)


def _marks(text: str, *, has_documents: bool = False) -> dict[str, float]:
    read = read_wording(TextEncoding(text, _ENCODER), has_documents=has_documents)
    return dict(zip(MARKS, read[-len(MARKS) :].tolist(), strict=True))


@given(st.text(max_size=300))
def test_any_text_has_finite_features_of_fixed_shape(text: str) -> None:
    """Whatever bytes a client sends: nothing is missing, nothing infinite."""
    read = read_wording(TextEncoding(text, _ENCODER), has_documents=False)
    assert read.shape == (_WIDTH,)
    assert read.dtype == np.float32
    assert np.isfinite(read).all()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Why?", "ends_in_question"),
        ("Summarize this:", "ends_in_colon"),
        ("```\nx = 1\n```", "code_fence"),
        ("do this\n- one\n- two", "bullets"),
        ("do this\n1. one", "numbered"),
        ("def f():\n    return 1", "indented"),
        ("look at https://example.com", "address"),
        ("привет, как дела", "beyond_latin"),
        ("hello", "starts_small"),
        ("first\n\nsecond", "blank_line"),
    ],
)
def test_a_mark_is_seen_where_it_stands(text: str, name: str) -> None:
    """Each mark is 1 in a text that has it and 0 in one that has none of them."""
    assert _marks(text)[name] == 1
    assert _marks("Good day")[name] == 0


def test_accents_are_not_another_script() -> None:
    """French is Latin."""
    assert _marks("déjà vu à Noël — “oui”")["beyond_latin"] == 0


def test_documents_beside_the_task_are_told() -> None:
    """They stand in the conversation, so the text alone cannot tell."""
    assert _marks("Who wrote it?", has_documents=True)["documents"] == 1
    assert _marks("Who wrote it?")["documents"] == 0


def test_the_ends_of_a_long_text_have_their_own_meaning() -> None:
    """A long text's end weighs by itself; a short text's end is the whole."""
    long_text = "the weather was fine " * ENDS + "translate this to French"
    encoding = TextEncoding(long_text, _ENCODER)
    last = read_wording(encoding, has_documents=False)[2 * 384 : 3 * 384]
    np.testing.assert_allclose(last, 0.5 * encoding.vector_of(encoding.ids[-ENDS:]), rtol=1e-6)
    short = TextEncoding("translate this", _ENCODER)
    np.testing.assert_allclose(read_wording(short, has_documents=False)[384:768], 0.5 * short.vector, rtol=1e-6)
