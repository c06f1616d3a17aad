"""The teacher and what it is asked about."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("safetensors")

from router_extproc.analysis.wordpiece import Vocabulary
from router_extproc.training.bert_graph import bert_graph
from router_extproc.training.pipeline import Context
from router_extproc.training.teacher import Teacher, teaching_texts
from tests.training import tiny_bert
from tests.training.workshop import write_data, write_rows

_VOCABULARY = Vocabulary(["[PAD]", "[UNK]", "wa", "wb", "wc", "##d"])


@pytest.fixture
def teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Teacher:
    """A tiny one, whose special tokens fit its thirty pieces."""
    monkeypatch.setattr("router_extproc.training.teacher._BEGIN", 28)
    monkeypatch.setattr("router_extproc.training.teacher._END", 29)
    monkeypatch.setattr("router_extproc.training.teacher._PIECES", tiny_bert.PLACES)
    path = tmp_path / "tiny.onnx"
    path.write_bytes(bert_graph(tiny_bert.weights(), heads=tiny_bert.HEADS).SerializeToString())
    return Teacher(path, _VOCABULARY)


def test_each_text_keeps_its_place_whatever_its_length(teacher: Teacher) -> None:
    """Texts are computed by length, and come back in the order given."""
    texts = ["wa wb wc wa wb", "wc", "wb wa"]
    rows = teacher.encode(texts)
    for text, row in zip(texts, rows, strict=True):
        ids = [28, *_VOCABULARY.ids(text), 29]
        np.testing.assert_allclose(row, tiny_bert.vector(tiny_bert.weights(), ids), atol=2e-5)


def test_a_long_text_is_read_as_far_as_the_teacher_can(teacher: Teacher) -> None:
    """Beyond its limit the rest is left out, and nothing fails."""
    long, cut = teacher.encode(["wa " * 50, "wa " * (tiny_bert.PLACES - 2)])
    np.testing.assert_allclose(long, cut, atol=1e-6)


def test_what_routes_are_measured_on_is_not_taught(tmp_path: Path) -> None:
    """Held-out intents and texts of evaluations are not among the teaching texts; sources and single words are."""
    data = write_data(tmp_path)
    write_rows(
        data,
        "clinc150",
        [
            {"text": "book a table", "intent": "restaurant", "split": "train"},
            {"text": "a table for two", "intent": "restaurant", "split": "val"},
            {"text": "who am i", "intent": "oos", "split": "oos_train"},
        ],
    )
    texts = teaching_texts(Context(data=data, work=tmp_path, out=tmp_path), _VOCABULARY)
    assert set(texts) == {"one", "two", "book a table", "wa", "wb", "wc"}
