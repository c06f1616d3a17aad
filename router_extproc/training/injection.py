"""Trains the injection head: a model of what users ask, one of what documents and tool results hold, each weighed.

The weighing is fitted on evidence from texts that the windows' model had not seen, nor any attack of their family: so it
learns how far words may be trusted when an attack is new.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from router_extproc.analysis.injection import ASKED, FILE, FOUND, Evidence, PieceModel, arrays_of, evidence_of, probability
from router_extproc.analysis.injection_rules import InjectionRules
from router_extproc.analysis.injection_windows import MAX_BYTES, WindowModel
from router_extproc.analysis.ngrams import Powers
from router_extproc.training.injection_documents import document_examples
from router_extproc.training.injection_examples import (
    FOLDS,
    HARMLESS,
    INDIRECT,
    INSERTED,
    MULTILINGUAL,
    OWN_MULTILINGUAL,
    InjectionExample,
    injection_examples,
)
from router_extproc.training.injection_fit import Flags, Values, fit_weighing, fit_windows, readings
from router_extproc.training.metrics import auc, recall_at
from router_extproc.training.pipeline import Context, Metrics

FALSE_POSITIVES = 0.01


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Texts with the log-odds from a head that had seen neither them nor, of attacks, their family."""

    examples: Sequence[InjectionExample]
    log_odds: Values
    folds: NDArray[np.int64]
    models: Sequence[PieceModel]  # by fold

    @property
    def attacks(self) -> Flags:
        """Which are attacks."""
        return np.array([example.attack for example in self.examples])

    @property
    def sources(self) -> NDArray[np.str_]:
        """Where each comes from."""
        return np.array([example.source for example in self.examples])

    @property
    def families(self) -> NDArray[np.str_]:
        """The technique of each attack, the source of each harmless text."""
        return np.array([example.family for example in self.examples])

    def judged(self, *, with_indirect: bool = False) -> Flags:
        """The texts that figures are computed on: collected attacks, the set's harmless texts, ours in other languages."""
        own = np.array([example.own for example in self.examples])
        harmless = np.isin(self.sources, (*HARMLESS, OWN_MULTILINGUAL))
        attacks = self.attacks & ~own
        return np.asarray(harmless | (attacks if with_indirect else attacks & (self.families != INDIRECT)))


def train(context: Context) -> Metrics:
    """Writes ``injection.npz``; returns the figures of cross-validation."""
    rules = InjectionRules.load()
    examples = injection_examples(context)
    context.progress.note("injection: what users ask")
    held_out, asked = train_piece_model(examples, rules, context, with_own_of_family=True)
    context.progress.note("injection: what documents hold")
    _, found = train_piece_model(document_examples(context, examples), rules, context, with_own_of_family=True)
    arrays: dict[str, Any] = {**arrays_of(ASKED, asked), **arrays_of(FOUND, found)}
    np.savez_compressed(context.out / FILE, **arrays)
    judged = held_out.judged()
    scores, attacks = held_out.log_odds[judged], held_out.attacks[judged]
    return {"families.auc": auc(scores, attacks), "families.recall": recall_at(scores, attacks, FALSE_POSITIVES)}


def train_piece_model(
    examples: Sequence[InjectionExample], rules: InjectionRules, context: Context, *, with_own_of_family: bool
) -> tuple[HeldOut, PieceModel]:
    """Cross-validates over families, fits the weighing on what that gave, and the windows on everything.

    Args:
        examples: what to learn from.
        rules: to be weighed along.
        context: for random numbers.
        with_own_of_family: whether attacks written for this project stay in training when their family is held out.
    """
    texts = readings([example.text for example in examples])
    attacks = np.array([example.attack for example in examples])
    weights = np.array([example.weight for example in examples])
    folds = folds_of(examples)
    evidence: list[Evidence | None] = [None] * len(examples)
    powers = Powers(MAX_BYTES)
    of_folds: list[WindowModel] = []
    for fold in range(FOLDS):
        chosen = seen_in(fold, examples, folds, with_own_of_family=with_own_of_family)
        model = fit_windows(texts, attacks, weights, np.flatnonzero(chosen), context.random(f"injection {fold}"))
        of_folds.append(model)
        for number in np.flatnonzero(folds == fold).tolist():
            evidence[number] = evidence_of(examples[number].text, model, rules, powers)
    known = [number for number, one in enumerate(evidence) if one is not None]
    seen = [one for one in evidence if one is not None]
    # Of BIPIA's prompts the whole is judged, but not learned from.
    counted = np.array([examples[number].family != INDIRECT for number in known])
    weighing = fit_weighing(seen, rules.names, attacks[known], weights[known] * counted)
    all_seen = seen_in(-2, examples, folds, with_own_of_family=True)
    windows = fit_windows(texts, attacks, weights, np.flatnonzero(all_seen), context.random("injection, all"))
    held_out = HeldOut(
        [examples[number] for number in known],
        np.array([weighing.log_odds(one) for one in seen]),
        folds[known],
        [PieceModel(model, weighing) for model in of_folds],
    )
    return held_out, PieceModel(windows, weighing)


def folds_of(examples: Sequence[InjectionExample]) -> NDArray[np.int64]:
    """The fold that holds out each text: an attack's by its family, a harmless one's by its group, -1 of our own: none."""
    counts = Counter(example.family for example in examples if example.attack and not example.own)
    # The largest families first, so that no fold gets two of them.
    families = sorted(counts, key=lambda family: (-counts[family], family))
    place = {family: number % FOLDS for number, family in enumerate(families)}
    return np.array([_fold(example, place) for example in examples])


def _fold(example: InjectionExample, place: dict[str, int]) -> int:
    if example.own:
        return -1
    return place[example.family] if example.attack else example.fold


def seen_in(
    fold: int, examples: Sequence[InjectionExample], folds: NDArray[np.int64], *, with_own_of_family: bool
) -> NDArray[np.bool_]:
    """Which texts may be learned from when a fold is held out: never its families, never the contexts it is judged on."""
    held = {example.family for example, own in zip(examples, folds, strict=True) if own == fold and example.attack}
    # BIPIA's insertions are ordinary requests: learned as attacks, they would make every question one.
    seen = np.array([own != fold and example.family != INDIRECT for example, own in zip(examples, folds, strict=True)])
    for number, example in enumerate(examples):
        if example.source.startswith("bipia") and example.fold == fold:
            seen[number] = False
        if not with_own_of_family and example.own and example.attack and _touches(example.family, held):
            seen[number] = False
    return np.asarray(seen)


def _touches(family: str, held: set[str]) -> bool:
    """Whether an own attack is of a family that is held out; translations are of several, so they always go."""
    return family in held or family == MULTILINGUAL or (family == INSERTED and INDIRECT in held)


def probabilities(log_odds: Values) -> Values:
    """As the head gives them."""
    return np.array([probability(odds) for odds in log_odds])
