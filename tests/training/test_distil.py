"""Distillation of the static table, on a world of a few words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("scipy")
pytest.importorskip("safetensors")
pytest.importorskip("onnx")

from router_extproc.analysis.encoders.static import VOCABULARY_FILE, StaticEncoder
from router_extproc.analysis.wordpiece import Vocabulary
from router_extproc.training import distil
from router_extproc.training.progress import SilentProgress

_WORDS = ["[UNK]", *(f"w{chr(97 + number)}" for number in range(20))]


def _world(count: int = 600) -> tuple[distil.Bags, np.ndarray[tuple[int, int], np.dtype[np.float16]]]:
    """Texts of three words, whose teacher is the sum of hidden word vectors."""
    random = np.random.default_rng(5)
    hidden = random.normal(size=(len(_WORDS), 6))
    texts = [" ".join(_WORDS[place] for place in random.integers(1, len(_WORDS), 3)) for _ in range(count)]
    bags = distil.Bags(texts, Vocabulary(_WORDS))
    sums = np.stack([hidden[part].sum(axis=0) for part in bags.parts])
    return bags, (sums / np.linalg.norm(sums, axis=1, keepdims=True)).astype(np.float16)


def _trained(epochs: int, seed: int = 0) -> distil.Table:
    bags, teacher = _world()
    start = np.random.default_rng(9).normal(size=(len(_WORDS), 6)).astype(np.float32)
    random = np.random.default_rng(seed)
    return distil.distilled(start, bags, teacher, random=random, progress=SilentProgress(), epochs=epochs)


@pytest.fixture(autouse=True)
def _small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches and steps that suit a small world."""
    monkeypatch.setattr(distil, "BATCH", 100)
    monkeypatch.setattr(distil, "LEARNING_RATE", 0.03)


def _nearness(table: distil.Table) -> float:
    bags, teacher = _world()
    sums = np.stack([table[part].sum(axis=0) for part in bags.parts])
    return float(((sums / np.linalg.norm(sums, axis=1, keepdims=True)) * teacher).sum(axis=1).mean())


def test_training_brings_the_sums_to_the_teacher() -> None:
    """Where the teacher is a sum of word vectors, the table comes to agree with it."""
    assert _nearness(_trained(0)) < 0.3
    assert _nearness(_trained(50)) > 0.95


def test_equal_seeds_make_equal_tables() -> None:
    """Training is repeatable bit for bit; another order of the texts makes another table."""
    assert np.array_equal(_trained(2), _trained(2))
    assert not np.array_equal(_trained(2), _trained(2, seed=1))


def test_the_gradient_is_that_of_both_losses() -> None:
    """Differences of the loss over a small step agree with the gradient in every direction tried."""
    random = np.random.default_rng(3)
    sums, teacher = random.normal(size=(5, 4)), random.normal(size=(5, 4))
    teacher /= np.linalg.norm(teacher, axis=1, keepdims=True)

    def loss(values: distil.Table) -> float:
        vectors = values / np.linalg.norm(values, axis=1, keepdims=True)
        logits = vectors @ teacher.T / distil.TEMPERATURE
        wanted = np.exp(teacher @ teacher.T / distil.TEMPERATURE)
        wanted /= wanted.sum(axis=1, keepdims=True)
        entropy = np.log(np.exp(logits).sum(axis=1)) - (wanted * logits).sum(axis=1)
        # The softmax's loss is scaled by the temperature, so that both have gradients of like size.
        return float((distil.CONTRAST * distil.TEMPERATURE * entropy - (vectors * teacher).sum(axis=1)).sum())

    gradient = distil._gradient(sums, teacher)
    for _ in range(10):
        direction = random.normal(size=sums.shape)
        slope = (loss(sums + 1e-6 * direction) - loss(sums - 1e-6 * direction)) / 2e-6
        assert slope == pytest.approx(float((gradient * direction).sum()), rel=1e-4, abs=1e-5)


def test_texts_without_pieces_are_left_aside() -> None:
    """An empty text has no sum and no place in a batch."""
    bags = distil.Bags(["wa wb", "", "wc"], Vocabulary(_WORDS))
    assert bags.filled.tolist() == [0, 2]


def test_a_batch_counts_its_pieces() -> None:
    """Rows are texts, columns the pieces they hold; a piece that comes twice counts twice."""
    counts, pieces = distil.Bags(["wa wb wa", "wc"], Vocabulary(_WORDS)).batch(np.array([0, 1]))
    assert pieces.tolist() == [1, 2, 3]
    assert counts.toarray().tolist() == [[2, 1, 0], [0, 0, 1]]


def test_frequent_pieces_start_light() -> None:
    """Before training the commonest word weighs less than a rare one, and rows are of length 1 on average."""
    bags = distil.Bags(["wa wa wa wb"] * 50, Vocabulary(_WORDS))
    pieces = np.random.default_rng(1).normal(size=(len(_WORDS), 6)).astype(np.float32)
    table = distil.weighted(pieces, bags)
    lengths = np.linalg.norm(table, axis=1) / np.linalg.norm(pieces, axis=1)
    assert lengths[1] < lengths[2] < lengths[5]
    assert np.linalg.norm(table, axis=1).mean() == pytest.approx(1.0, rel=1e-5)


def test_eight_bits_lose_next_to_nothing(tmp_path: Path) -> None:
    """What is written and read again encodes as the table did, to a thousandth."""
    table = _trained(3)
    (tmp_path / VOCABULARY_FILE).write_text("\n".join(_WORDS) + "\n")
    distil.write_table(table, tmp_path)
    encoder = StaticEncoder.load(tmp_path)
    whole = table[[1, 2, 3]].sum(axis=0)
    assert float(encoder.encode(["wa wb wc"])[0] @ whole) / np.linalg.norm(whole) > 0.999
