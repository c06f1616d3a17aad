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

from router_extproc.analysis.injection import (
    ASKED,
    FILE,
    FOUND,
    Evidence,
    PieceModel,
    Weighing,
    arrays_of,
    evidence_of,
    probability,
)
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
from router_extproc.training.injection_languages import evened, languages_of
from router_extproc.training.metrics import auc, recall_at
from router_extproc.training.pipeline import Context, Metrics

FALSE_POSITIVES = 0.01
# Our own examples belong to fold -1; nothing belongs to this one.
_NO_FOLD = -2


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Texts with the log-odds from a head that had seen neither them nor, of attacks, their family."""

    examples: Sequence[InjectionExample]
    log_odds: Values
    folds: NDArray[np.int64]
    models: Sequence[WindowModel]  # by fold
    weighing: Weighing

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
    held_out = cross_validated(examples, rules, context, with_own_of_family=True)
    asked = trained(examples, held_out.weighing, context)
    context.progress.note("injection: what documents hold")
    documents = document_examples(context, examples)
    found = trained(documents, cross_validated(documents, rules, context, with_own_of_family=True).weighing, context)
    arrays: dict[str, Any] = {**arrays_of(ASKED, asked), **arrays_of(FOUND, found)}
    np.savez_compressed(context.out / FILE, **arrays)
    judged = held_out.judged()
    scores, attacks = held_out.log_odds[judged], held_out.attacks[judged]
    return {"families.auc": auc(scores, attacks), "families.recall": recall_at(scores, attacks, FALSE_POSITIVES)}


def trained(examples: Sequence[InjectionExample], weighing: Weighing, context: Context) -> PieceModel:
    """The model of all examples, weighed as held-out evidence was found to deserve."""
    folds = folds_of(examples)
    seen = seen_in(_NO_FOLD, examples, folds, with_own_of_family=True)
    attacks, weights = _labels(examples)
    weights = evened(weights, attacks, languages_of(examples), seen)
    texts = readings([example.text for example in examples])
    learned = np.flatnonzero(seen & (weights > 0))
    return PieceModel(fit_windows(texts, attacks, weights, learned, context.random("injection, all")), weighing)


def cross_validated(
    examples: Sequence[InjectionExample], rules: InjectionRules, context: Context, *, with_own_of_family: bool
) -> HeldOut:
    """Scores every text by a model that has seen neither it nor, of attacks, its family.

    Args:
        examples: what to learn from.
        rules: to be weighed along.
        context: for random numbers.
        with_own_of_family: whether attacks written for this project stay in training when their family is held out.
    """
    texts = readings([example.text for example in examples])
    attacks, weights = _labels(examples)
    folds, languages = folds_of(examples), languages_of(examples)
    evidence: dict[int, Evidence] = {}
    powers = Powers(MAX_BYTES)
    models: list[WindowModel] = []
    for fold in range(FOLDS):
        chosen = seen_in(fold, examples, folds, with_own_of_family=with_own_of_family)
        even = evened(weights, attacks, languages, chosen)
        learned = np.flatnonzero(chosen & (even > 0))
        models.append(fit_windows(texts, attacks, even, learned, context.random(f"injection {fold}")))
        for number in np.flatnonzero(folds == fold).tolist():
            evidence[number] = evidence_of(examples[number].text, models[fold], rules, powers)
    known = sorted(evidence)
    # Of BIPIA's prompts the whole is judged, but not learned from.
    counted = np.array([examples[number].family != INDIRECT for number in known])
    weighing = fit_weighing([evidence[number] for number in known], rules.names, attacks[known], weights[known] * counted)
    return HeldOut(
        [examples[number] for number in known],
        np.array([weighing.log_odds(evidence[number]) for number in known]),
        folds[known],
        models,
        weighing,
    )


def _labels(examples: Sequence[InjectionExample]) -> tuple[Flags, Values]:
    return np.array([example.attack for example in examples]), np.array([example.weight for example in examples])


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
