"""The static encoder as shipped."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from router_extproc.analysis.encoders.static import SCALE_FILE, TABLE_FILE, VOCABULARY_FILE, StaticEncoder
from router_extproc.analysis.location import artefact_folder
from router_extproc.analysis.wordpiece import Vocabulary

_FOLDER = artefact_folder(os.environ)


@pytest.fixture(scope="module")
def encoder() -> StaticEncoder:
    return StaticEncoder.load(_FOLDER)


def test_rows_are_unit_vectors(encoder: StaticEncoder) -> None:
    """One row a text, of length 1, or of zeros where there are no words."""
    rows = encoder.encode(["hello there", "", "42 is the answer"])
    assert rows.shape == (3, encoder.dimensions)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), [1, 0, 1], atol=1e-5)


def test_paraphrases_are_nearer_than_strangers(encoder: StaticEncoder) -> None:
    """Each sentence's nearest of the second list is its own rewording."""
    asked = [
        "My card was declined at the shop",
        "Write a function that sorts a list",
        "What are the symptoms of the flu?",
        "Book me a flight to Berlin",
        "Who painted the Mona Lisa?",
    ]
    reworded = [
        "The store refused my credit card",
        "Code to order the items of an array",
        "How do I know whether I have influenza?",
        "I need a plane ticket to Germany",
        "Which artist made that famous portrait by da Vinci?",
    ]
    nearest = (encoder.encode(asked) @ encoder.encode(reworded).T).argmax(axis=1)
    assert nearest.tolist() == [0, 1, 2, 3, 4]


def test_the_table_is_mapped_not_read(encoder: StaticEncoder) -> None:
    """Workers share the pages of one file: the table is a memory map of at most 12 MB."""
    assert isinstance(encoder._table.base, np.memmap)
    assert encoder._table.nbytes <= 12_000_000
    assert encoder._table.dtype == np.int8


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    """A table of another vocabulary fails at load."""
    (tmp_path / VOCABULARY_FILE).write_text("[UNK]\na\nb\n")
    np.save(tmp_path / TABLE_FILE, np.zeros((2, 4), np.int8))
    np.save(tmp_path / SCALE_FILE, np.ones(2, np.float32))
    with pytest.raises(ValueError, match="3 word pieces"):
        StaticEncoder.load(tmp_path)


def test_a_vector_is_the_weighted_sum_of_its_rows() -> None:
    """Scale times row, added up, made one long: by hand for two pieces."""
    table = np.array([[0, 0], [3, 0], [0, 8]], np.int8)
    encoder = StaticEncoder(Vocabulary(["[UNK]", "a", "b"]), table, np.array([1, 1, 0.5], np.float32))
    np.testing.assert_allclose(encoder.encode(["a b"])[0], [0.6, 0.8], rtol=1e-6)


def test_beginnings_read_together_are_those_read_alone(encoder: StaticEncoder) -> None:
    """One product for several beginnings gives each its own vector, zeros where there are no words."""
    ids = np.array(encoder.vocabulary.ids("Is 42 the answer? Say why, please."), np.int32)
    lengths = [0, 1, 5, len(ids)]
    found = encoder.vectors_of_beginnings(ids, lengths)
    np.testing.assert_allclose(found, [encoder.vector(ids[:length]) for length in lengths], atol=1e-6)
