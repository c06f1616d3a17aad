"""Trains the task head: independent logistic regressions, calibrated on what cross-validation held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from router_extproc.analysis.encoders.static import StaticEncoder
from router_extproc.analysis.tasks import FILE, TASKS
from router_extproc.training.examples import FOLDS, Example
from router_extproc.training.linear_fit import Features, Penalty, Values, calibration, fit_independent, read_features
from router_extproc.training.metrics import auc
from router_extproc.training.pipeline import Context, Metrics
from router_extproc.training.task_texts import NARROW, REAL, task_examples

PENALTY = Penalty(dense=0.2, ngrams=0.2, steps=60)
# What real prompts, narrow sources and all the rest count together when probabilities are fitted.
_SHARES = {"real": 0.5, "narrow": 0.2, "rest": 0.3}


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What every text got from a head that had not seen it: logits and truth, [n, 13] each.

    ``judged`` is 0 where a text neither teaches nor judges a kind of work.
    """

    examples: Sequence[Example]
    logits: Values
    labels: Values
    judged: Values

    @property
    def sources(self) -> NDArray[np.str_]:
        """Where each text comes from."""
        return np.array([example.source for example in self.examples])

    @property
    def is_real(self) -> NDArray[np.bool_]:
        """Which texts are prompts of real users."""
        return np.isin(self.sources, REAL)


def train(context: Context) -> Metrics:
    """Writes ``tasks.npz``; the figures are of cross-validation, the head itself learns from everything."""
    encoder = StaticEncoder.load(context.out)
    examples = task_examples(context)
    features = read_features([example.text for example in examples], encoder)
    held_out = cross_validated(examples, features, context)
    labels, judged = _targets(examples)
    weights = fit_independent(features, labels, judged * _counts(examples), PENALTY)
    slope, offset = calibrations(held_out)
    np.savez_compressed(context.out / FILE, **weights.arrays(TASKS), slope=slope, offset=offset)  # type: ignore[arg-type]
    return {"texts": len(examples), **_figures(held_out, slope, offset)}


def cross_validated(examples: Sequence[Example], features: Features, context: Context) -> HeldOut:
    """Each fold read by a head that was trained on the others; texts of one template or prompt share a fold."""
    labels, judged = _targets(examples)
    counts = judged * _counts(examples)
    folds = np.array([example.fold for example in examples])
    logits = np.zeros_like(labels)
    with context.progress.counting("tasks: cross-validation", FOLDS) as advance:
        for fold in range(FOLDS):
            inside, outside = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
            weights = fit_independent(features.rows(inside), labels[inside], counts[inside], PENALTY)
            logits[outside] = weights.logits(features.rows(outside))
            advance(1)
    return HeldOut(examples, logits, labels, judged)


def calibrations(held_out: HeldOut) -> tuple[Values, Values]:
    """A slope and an offset for each kind of work."""
    kinds = np.where(held_out.is_real, "real", np.where(held_out.sources == NARROW, "narrow", "rest"))
    counts = np.zeros(len(kinds), np.float32)
    for kind, share in _SHARES.items():
        counts[kinds == kind] = share * len(kinds) / max(1, int((kinds == kind).sum()))
    pairs = [
        calibration(held_out.logits[:, place], held_out.labels[:, place], counts * held_out.judged[:, place])
        for place in range(len(TASKS))
    ]
    slope, offset = np.array(pairs, np.float32).T
    return slope, offset


def _targets(examples: Sequence[Example]) -> tuple[Values, Values]:
    labels = np.array([[name in example.labels for name in TASKS] for example in examples], np.float32)
    judged = np.array([[name not in example.ignored for name in TASKS] for example in examples], np.float32)
    return labels, judged


def _counts(examples: Sequence[Example]) -> Values:
    return np.array([[example.weight] for example in examples], np.float32)


def _figures(held_out: HeldOut, slope: Values, offset: Values) -> dict[str, object]:
    """For the model card; the report says more."""
    best = (held_out.logits * slope + offset).argmax(axis=1)
    right = held_out.labels[np.arange(len(best)), best] > 0
    narrow, real = held_out.sources == NARROW, held_out.is_real
    figures: dict[str, object] = {"accuracy_narrow": float(right[narrow].mean()), "accuracy_real": float(right[real].mean())}
    for name in ("code", "creative_writing"):
        place = TASKS.index(name)
        figures[f"auc_real_{name}"] = auc(held_out.logits[real, place], held_out.labels[real, place])
    return figures
