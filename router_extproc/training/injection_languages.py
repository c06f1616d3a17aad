"""Evens what attacks and harmless texts count in each language, so that no language looks like an attack by itself.

The collected attacks are translated into some languages often and into others never, while the collected harmless texts are
English. Left as they are, letters that only attacks are written in would be evidence: Hindi alone raised most false alarms.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from router_extproc.analysis.language import detect_language
from router_extproc.training.injection_examples import MULTILINGUAL, OWN_MULTILINGUAL, TRANSLATED, InjectionExample
from router_extproc.training.injection_fit import Flags, Values

# The language of every text that no other is named for, and of one that cannot be told.
ENGLISH, UNTOLD = "en", ""

Languages = NDArray[np.str_]


def languages_of(examples: Sequence[InjectionExample]) -> Languages:
    """The language of each text: as its section says, as it is read where attacks were translated, else English."""
    return np.array([_language(example) for example in examples])


def _language(example: InjectionExample) -> str:
    if example.source == OWN_MULTILINGUAL:
        return example.family
    if example.source == TRANSLATED or example.family == MULTILINGUAL:
        return detect_language(example.text).code or UNTOLD
    return ENGLISH


def evened(weights: Values, attacks: Flags, languages: Languages, chosen: Flags) -> Values:
    """Weights with which the chosen attacks of a language count no more, beside its harmless texts, than in all languages.

    Attacks in a language of which no harmless text is chosen count nothing: they could teach nothing but the language.
    """
    result = weights.copy()
    attacking, harmless = chosen & attacks, chosen & ~attacks
    share = weights[attacking].sum() / weights[harmless].sum()
    for language in sorted(set(languages[attacking].tolist()) - {ENGLISH, UNTOLD}):
        theirs = attacking & (languages == language)
        allowed = share * weights[harmless & (languages == language)].sum()
        result[theirs] *= min(1.0, allowed / weights[theirs].sum())
    return np.asarray(result)
