"""Trains the risk head: one softmax over subjects and kinds of source, its domains calibrated and given thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from router_extproc.analysis.encoders.static import StaticEncoder
from router_extproc.analysis.risk import FILE, NONE, RISKS, log_odds
from router_extproc.training.examples import FOLDS, Example
from router_extproc.training.linear_fit import Features, Penalty, Values, calibration, fit_exclusive, read_features
from router_extproc.training.pipeline import Context, Metrics
from router_extproc.training.risk_texts import BARE, EXAM, domain_of, risk_examples

# Buckets of n-grams: there are five times as many classes as tasks, and words matter more than their order.
BITS = 13
PENALTY = Penalty(dense=0.1, ngrams=0.3, steps=60)
# A missed risk is worse than a strong model asked in vain, so thresholds lie low: this share of harmless held-out texts may
# be named a domain, of exam questions or of everything else, whichever allows more; but no lower than finds the wanted share
# of the domain's own, and never above an even chance.
FALSE_ALARMS_EXAM, FALSE_ALARMS_PEOPLE, WANTED_RECALL, _HIGHEST = 0.06, 0.015, 0.92, 0.5
# Domains without exam questions are found by literal marks too, so fewer false alarms are put up with.
FALSE_ALARMS_MARKED = 0.006


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What every text got from a head that had not seen it: the log-odds of the five domains, [n, 5]."""

    examples: Sequence[Example]
    evidence: Values

    @property
    def domains(self) -> NDArray[np.str_]:
        """The domain of each text, or ``none``."""
        return np.array([domain_of(example) for example in self.examples])

    @property
    def sources(self) -> NDArray[np.str_]:
        """Where each text comes from."""
        return np.array([example.source for example in self.examples])


@dataclass(frozen=True, slots=True)
class Decision:
    """How log-odds become probabilities and names, [5] each."""

    slope: Values
    offset: Values
    thresholds: Values

    def probabilities(self, evidence: Values) -> Values:
        """[n, 5]."""
        return np.asarray(1 / (1 + np.exp(-(evidence * self.slope + self.offset))), np.float32)

    def names(self, evidence: Values) -> NDArray[np.str_]:
        """The domain that ``RiskHead`` would name, or ``none``."""
        excess = self.probabilities(evidence) / self.thresholds
        return np.where(excess.max(axis=1) >= 1, np.array(RISKS)[excess.argmax(axis=1)], NONE)


def train(context: Context) -> Metrics:
    """Writes ``risk.npz``; the figures are of cross-validation, the head itself learns from everything."""
    encoder = StaticEncoder.load(context.out)
    examples = risk_examples(context)
    features = read_features([example.text for example in examples], encoder, bits=BITS, with_wording=False)
    held_out = cross_validated(examples, features, context)
    decision = decide(held_out)
    classes, numbers = _classes(examples)
    weights = fit_exclusive(features, numbers, _counts(examples), PENALTY)
    np.savez_compressed(
        context.out / FILE,
        **weights.arrays(classes),  # type: ignore[arg-type]
        slope=decision.slope,
        offset=decision.offset,
        thresholds=decision.thresholds,
    )
    exam = held_out.sources == EXAM
    names = decision.names(held_out.evidence)
    figures: dict[str, object] = {"texts": len(examples), "accuracy_exam": float((names == held_out.domains)[exam].mean())}
    for risk in RISKS:
        of = held_out.domains == risk
        if (of & exam).any():
            figures[f"recall_exam_{risk}"] = float((names == risk)[of & exam].mean())
        figures[f"recall_people_{risk}"] = float((names == risk)[of & ~_from_exam(held_out)].mean())
    real = (held_out.sources == "real") & (held_out.domains == NONE)
    everyday = held_out.sources == "template:none"
    return {
        **figures,
        "false_alarms_real": float((names != NONE)[real].mean()),
        "false_alarms_everyday": float((names != NONE)[everyday].mean()),
    }


def cross_validated(examples: Sequence[Example], features: Features, context: Context) -> HeldOut:
    """Each fold read by a head that was trained on the others; every subject has a part in each fold."""
    classes, numbers = _classes(examples)
    counts = _counts(examples)
    folds = np.array([example.fold for example in examples])
    members = np.array([[name.partition(":")[0] == risk for risk in RISKS] for name in classes], np.float32)
    evidence = np.zeros((len(examples), len(RISKS)), np.float32)
    with context.progress.counting("risk: cross-validation", FOLDS) as advance:
        for fold in range(FOLDS):
            inside, outside = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
            weights = fit_exclusive(features.rows(inside), numbers[inside], counts[inside], PENALTY)
            evidence[outside] = log_odds(weights.logits(features.rows(outside)), members)
            advance(1)
    return HeldOut(examples, evidence)


def decide(held_out: HeldOut) -> Decision:
    """Calibrates each domain and sets its threshold, on held-out texts alone."""
    domains, exam = held_out.domains, held_out.sources == EXAM
    # Exam questions are many; they and all others count as much.
    counts = np.where(exam, 0.5 / exam.mean(), 0.5 / max(1e-9, 1 - exam.mean())).astype(np.float32)
    pairs, thresholds = [], []
    for place, risk in enumerate(RISKS):
        label = (domains == risk).astype(np.float32)
        slope, offset = calibration(held_out.evidence[:, place], label, counts)
        probability = 1 / (1 + np.exp(-(held_out.evidence[:, place] * slope + offset)))
        thresholds.append(_threshold(probability, label > 0, exam))
        pairs.append((slope, offset))
    slopes, offsets = np.array(pairs, np.float32).T
    return Decision(slopes, offsets, np.array(thresholds, np.float32))


def _threshold(probability: NDArray[np.floating], is_risky: NDArray[np.bool_], exam: NDArray[np.bool_]) -> float:
    bounds, needed = [], []
    in_exam = bool((exam & is_risky).any())
    for part, false_alarms in ((exam, FALSE_ALARMS_EXAM), (~exam, FALSE_ALARMS_PEOPLE if in_exam else FALSE_ALARMS_MARKED)):
        if (part & is_risky).any():
            bounds.append(np.quantile(probability[part & ~is_risky], 1 - false_alarms))
            needed.append(np.quantile(probability[part & is_risky], 1 - WANTED_RECALL))
    return float(min(_HIGHEST, max(min(bounds), min(needed)) if bounds else _HIGHEST))


def _classes(examples: Sequence[Example]) -> tuple[list[str], NDArray[np.intp]]:
    names, numbers = np.unique([example.labels[0] for example in examples], return_inverse=True)
    return [str(name) for name in names], numbers


def _counts(examples: Sequence[Example]) -> Values:
    return np.array([example.weight for example in examples], np.float32)


def _from_exam(held_out: HeldOut) -> NDArray[np.bool_]:
    return np.isin(held_out.sources, (EXAM, BARE))
