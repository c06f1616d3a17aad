"""The two public sets of intents that semantic routes are measured on, and which of their texts no training may see.

CLINC150 (Larson et al. 2019) has 150 intents and texts outside of all of them; banking77 (Casanueva et al. 2020) has 77 that
lie close together. Held out are CLINC150's validation part with all texts out of scope, and a fifth of banking77 by the
hash of the text: the static encoder is distilled without them, so that what is measured on them is what new texts get.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from router_extproc.training.pipeline import Context

_HELD_OUT_OF = 5


@dataclass(frozen=True, slots=True)
class Intents:
    """One set: for each intent the texts to learn from and to be asked about, and texts of no intent."""

    name: str
    examples: dict[str, list[str]]
    asked: dict[str, list[str]]
    out_of_scope: list[str]

    def draw(self, shots: int, random: np.random.Generator) -> dict[str, list[str]]:
        """So many examples of each intent."""
        return {intent: [texts[place] for place in _some(len(texts), shots, random)] for intent, texts in self.examples.items()}


def clinc150(context: Context) -> Intents:
    """CLINC150; texts of its training part are examples, of its validation part asked."""
    intents = Intents("CLINC150", {}, {}, [])
    for row in context.rows("clinc150"):
        if row["split"].startswith("oos"):
            intents.out_of_scope.append(row["text"])
        else:
            (intents.examples if row["split"] == "train" else intents.asked).setdefault(row["intent"], []).append(row["text"])
    return intents


def banking77(context: Context) -> Intents:
    """banking77; one text in five is asked, the others are examples."""
    intents = Intents("banking77", {}, {}, [])
    for row in context.rows("banking77"):
        (intents.asked if _is_fifth(row["text"]) else intents.examples).setdefault(row["category"], []).append(row["text"])
    return intents


def held_out(name: str, row: dict[str, str]) -> bool:
    """Whether a row of a data file is kept from training for the sake of these measurements."""
    if name == "clinc150":
        return row["split"] != "train"
    return name == "banking77" and _is_fifth(row["text"])


def _is_fifth(text: str) -> bool:
    return int.from_bytes(hashlib.sha1(text.encode(), usedforsecurity=False).digest()[-4:], "big") % _HELD_OUT_OF == 0


def _some(count: int, wanted: int, random: np.random.Generator) -> NDArray[np.intp]:
    return random.permutation(count)[:wanted]
