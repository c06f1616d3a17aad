"""Training of the task head: what is held out, and how logits become probabilities."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from router_extproc.analysis.tasks import TASKS
from router_extproc.training import task_report
from router_extproc.training.examples import Example
from router_extproc.training.linear_fit import Features
from router_extproc.training.pipeline import Context
from router_extproc.training.task_texts import NARROW
from router_extproc.training.tasks import HeldOut, calibrations, cross_validated


def _examples(count: int, source: str) -> list[Example]:
    names = [TASKS[number % len(TASKS)] for number in range(count)]
    return [Example(f"{source} {number}", (name,), source, f"{source} {number}") for number, name in enumerate(names)]


def _held_out(random: np.random.Generator, signal: float) -> HeldOut:
    examples = [*_examples(520, "justeval"), *_examples(520, NARROW), *_examples(520, "template:qa")]
    labels = np.array([[name in example.labels for name in TASKS] for example in examples], np.float32)
    logits = (signal * (labels - 0.5) + random.normal(size=labels.shape)).astype(np.float32)
    return HeldOut(examples, logits, labels, np.ones_like(labels))


def test_a_fold_is_read_by_a_head_that_has_not_seen_it(tmp_path: Path) -> None:
    """Texts that can only be known by heart get no better than chance."""
    examples = _examples(390, "justeval")
    random = np.random.default_rng(0)
    own = csr_matrix(np.eye(390, 512, dtype=np.float32))
    features = Features(random.normal(size=(390, 2)).astype(np.float32) * 0.01, own)
    held_out = cross_validated(examples, features, Context(data=tmp_path, work=tmp_path, out=tmp_path))
    right = held_out.labels[np.arange(390), held_out.logits.argmax(axis=1)].mean()
    assert right < 0.25


def test_calibrated_probabilities_are_as_frequent_as_they_say() -> None:
    """On fresh texts of the same kind, what is called one in five happens one time in five."""
    slope, offset = calibrations(_held_out(np.random.default_rng(1), 4.0))
    fresh = _held_out(np.random.default_rng(2), 4.0)
    probabilities = 1 / (1 + np.exp(-(fresh.logits * slope + offset)))
    assert abs(probabilities.mean() - fresh.labels.mean()) < 0.02
    likely = probabilities > 0.5
    assert abs(probabilities[likely].mean() - fresh.labels[likely].mean()) < 0.05


def test_the_report_says_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With perfect probabilities every figure is perfect, under the names that targets are set on."""
    held_out = _held_out(np.random.default_rng(3), 4.0)
    perfect = np.where(held_out.labels > 0, 0.999, 0.001).astype(np.float32)
    monkeypatch.setattr(task_report, "measure", lambda *_: task_report.Measured(held_out, perfect))
    section = task_report.report(Context(data=tmp_path, work=tmp_path, out=tmp_path), tmp_path)
    for name in ("tasks.heldout.accuracy", "tasks.real.code.auc", "tasks.real.creative_writing.auc", "tasks.real.macro_f1"):
        assert section.figures[name] == 1.0
    assert section.figures["tasks.real.calibration_error"] < 0.01
    assert "| code |" in section.markdown()


def test_a_wrong_head_is_reported_as_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Probabilities that are always of the next kind give an accuracy of nothing."""
    held_out = _held_out(np.random.default_rng(4), 4.0)
    wrong = np.roll(held_out.labels, 1, axis=1) * np.float32(0.9)
    monkeypatch.setattr(task_report, "measure", lambda *_: task_report.Measured(held_out, wrong))
    section = task_report.report(Context(data=tmp_path, work=tmp_path, out=tmp_path), tmp_path)
    assert section.figures["tasks.heldout.accuracy"] == 0.0
    assert section.figures["tasks.real.calibration_error"] > 0.1
