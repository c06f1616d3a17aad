"""The transformer at run time; tests that need its weights are skipped without them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from router_extproc.analysis.encoders.minilm import GRAPH_FILE, HEAD, TAIL, MinilmEncoder
from router_extproc.analysis.location import artefact_folder
from tests.minilm_graph import build_graph_or_skip

_FOLDER = artefact_folder(os.environ)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> MinilmEncoder:
    """Built from the weights, as `router-extproc train --minilm` does."""
    graph = build_graph_or_skip(tmp_path_factory.mktemp("minilm"))
    return MinilmEncoder.load(graph, _FOLDER)


def test_rows_are_unit_vectors(encoder: MinilmEncoder) -> None:
    """One row a text, of length 1, or of zeros where there are no words."""
    rows = encoder.encode(["hello there", "", "42 is the answer"])
    assert rows.shape == (3, encoder.dimensions)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), [1, 0, 1], atol=1e-5)


def test_meaning_counts_not_words(encoder: MinilmEncoder) -> None:
    """A rewording without a word in common is nearer than a sentence of the same words about something else."""
    asked, reworded, other = encoder.encode(
        [
            "Which film won the most awards?",
            "What movie received the largest number of prizes?",
            "Which award did most films win twice?",
        ]
    )
    unrelated = encoder.encode(["The river bank was flooded"])[0]
    assert asked @ reworded > 0.6
    assert asked @ reworded > asked @ unrelated + 0.4
    assert asked @ other < 0.95


def test_of_a_long_text_head_and_tail_are_read(encoder: MinilmEncoder) -> None:
    """A text of more pieces than are read equals its first and last ones, and says that it was cut."""
    words = ["alpha"] * HEAD + ["ignored"] * 100 + ["omega"] * TAIL
    # Both words are pieces of their own.
    assert len(encoder._vocabulary.ids("alpha omega ignored")) == 3
    long, short = " ".join(words), " ".join(["alpha"] * HEAD + ["omega"] * TAIL)
    np.testing.assert_allclose(*encoder.encode([long, short]), atol=1e-6)
    assert encoder.truncates(long)
    assert not encoder.truncates(short)


def test_a_text_has_one_vector_in_any_company(encoder: MinilmEncoder) -> None:
    """Quantisation looks at one text at a time: neighbours change nothing."""
    alone = encoder.encode(["refund my payment"])[0]
    together = encoder.encode(["a", "refund my payment", "long text " * 30])[1]
    np.testing.assert_array_equal(alone, together)


def test_a_graph_that_was_not_built_is_named(tmp_path: Path) -> None:
    """The error says which file is missing and how to make it."""
    with pytest.raises(FileNotFoundError, match=r"minilm_int8\.onnx is missing: .*train --minilm"):
        MinilmEncoder.load(tmp_path / GRAPH_FILE, _FOLDER)
