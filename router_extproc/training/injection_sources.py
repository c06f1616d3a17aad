"""Trains without one source of attacks at a time, and scores that source: what a new collection would do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from router_extproc.analysis.injection import evidence_of
from router_extproc.analysis.injection_rules import InjectionRules
from router_extproc.analysis.injection_windows import MAX_BYTES
from router_extproc.analysis.ngrams import Powers
from router_extproc.training.injection_examples import (
    FOLDS,
    HARMLESS,
    INDIRECT,
    OWN_MULTILINGUAL,
    InjectionExample,
)
from router_extproc.training.injection_fit import Flags, Values, fit_weighing, fit_windows, readings
from router_extproc.training.injection_languages import evened, languages_of
from router_extproc.training.pipeline import Context


def unseen_sources(
    examples: Sequence[InjectionExample], rules: InjectionRules, context: Context, *, with_own: bool
) -> Iterator[tuple[str, Values, Flags]]:
    """For each source of attacks: its name, log-odds, and which texts are attacks (the others are held-out harmless ones).

    Of the harmless texts one fold is held out to be judged. The weighing is fitted on the training texts of another fold.
    """
    texts = readings([example.text for example in examples])
    attacks = np.array([example.attack for example in examples])
    weights = np.array([example.weight for example in examples])
    sources = np.array([example.source for example in examples])
    folds = np.array([example.fold for example in examples])
    languages = languages_of(examples)
    usable = np.array(
        [(with_own or not example.own or not example.attack) and example.family != INDIRECT for example in examples]
    )
    judged = np.isin(sources, (*HARMLESS, OWN_MULTILINGUAL)) & (folds == 0)
    powers = Powers(MAX_BYTES)
    for source in sorted({example.source for example in examples if example.attack and not example.own}):
        left = (sources == source) & attacks
        seen = usable & ~left & ((folds != 0) | attacks)
        fitted, weighed = seen & (folds != FOLDS - 1), seen & (folds == FOLDS - 1)
        even = evened(weights, attacks, languages, fitted)
        learned = np.flatnonzero(fitted & (even > 0))
        model = fit_windows(texts, attacks, even, learned, context.random(f"injection without {source}"))
        numbers = np.flatnonzero(weighed).tolist()
        evidence = [evidence_of(examples[number].text, model, rules, powers) for number in numbers]
        weighing = fit_weighing(evidence, rules.names, attacks[numbers], weights[numbers])
        chosen = np.flatnonzero(left | judged).tolist()
        odds = [weighing.log_odds(evidence_of(examples[number].text, model, rules, powers)) for number in chosen]
        yield source, np.array(odds), attacks[chosen]
