"""Trains the column that says whether a request is to be thought through: one logistic regression over its wording."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from router_extproc.analysis.encoders.static import StaticEncoder
from router_extproc.analysis.tasks import THOUGHT, THOUGHT_FILE
from router_extproc.policy.auto import LIKELY_REASONING
from router_extproc.training.examples import FOLDS, Example
from router_extproc.training.linear_fit import Features, Penalty, Values, calibration, fit_independent, read_features
from router_extproc.training.metrics import auc
from router_extproc.training.pipeline import Context, Metrics
from router_extproc.training.thought_texts import WRITTEN, thought_examples

# Chosen by cross-validation; stronger and weaker ones differed by less than 0.001 of AUC.
PENALTY = Penalty(dense=0.5, ngrams=0.5, steps=40)
# A hard request that is taken for easy costs an answer, an easy one that is taken for hard some cents: the threshold
# below which a request counts as plain lies where this share of the everyday requests that were held out is taken for hard.
FALSE_ALARMS = 0.06


def train(context: Context) -> Metrics:
    """Writes ``thought.npz``; the figures are of cross-validation, the head itself learns from everything."""
    encoder = StaticEncoder.load(context.out)
    examples = thought_examples(context)
    features = read_features([example.text for example in examples], encoder)
    labels, counts = _labels(examples), _counts(examples)
    held_out = _cross_validated(examples, features, labels, counts, context)
    written = np.array([example.source == WRITTEN for example in examples])
    slope, offset = _scale(held_out[written], labels[written])
    weights = fit_independent(features, labels[:, None], counts[:, None], PENALTY)
    np.savez_compressed(
        context.out / THOUGHT_FILE,
        **weights.arrays([THOUGHT]),  # type: ignore[arg-type]
        slope=np.array([slope], np.float32),
        offset=np.array([offset], np.float32),
    )
    found = 1 / (1 + np.exp(-(slope * held_out + offset))) >= LIKELY_REASONING
    hard = labels > 0
    return {
        "texts": len(examples),
        "auc_written": auc(held_out[written], labels[written]),
        "found_written": float(found[written & hard].mean()),
        "false_alarms_written": float(found[written & ~hard].mean()),
        "false_alarms_others": float(found[~written & ~hard].mean()),
    }


def _cross_validated(
    examples: Sequence[Example], features: Features, labels: Values, counts: Values, context: Context
) -> Values:
    """Each fold read by a head that was trained on the others."""
    folds = np.array([example.fold for example in examples])
    logits = np.zeros_like(labels)
    with context.progress.counting("thought: cross-validation", FOLDS) as advance:
        for fold in range(FOLDS):
            inside, outside = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
            weights = fit_independent(features.rows(inside), labels[inside, None], counts[inside, None], PENALTY)
            logits[outside] = weights.logits(features.rows(outside))[:, 0]
            advance(1)
    return logits


def _scale(logits: Values, labels: Values) -> tuple[float, float]:
    """A slope by calibration, and an offset by which ``FALSE_ALARMS`` of the easy texts are likely enough to be lifted.

    So the number is a probability where both kinds are as common as the cost of a mistake about them.
    """
    slope, _ = calibration(logits, labels, np.ones_like(labels))
    bound = float(np.quantile(logits[labels == 0], 1 - FALSE_ALARMS))
    return slope, float(np.log(LIKELY_REASONING / (1 - LIKELY_REASONING))) - slope * bound


def _labels(examples: Sequence[Example]) -> Values:
    return np.array([bool(example.labels) for example in examples], np.float32)


def _counts(examples: Sequence[Example]) -> Values:
    """What each text counts; hard ones, which are fewer, half made up for."""
    counts, hard = np.array([example.weight for example in examples], np.float32), _labels(examples) > 0
    return np.where(hard, counts * np.sqrt(counts[~hard].sum() / counts[hard].sum()), counts).astype(np.float32)
