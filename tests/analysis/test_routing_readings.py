"""The routing score reads several wordings of a text at once: what it says is what reading one after the other says."""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import exp
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from router_extproc.analysis.doubts import FOREIGN, Doubts
from router_extproc.analysis.encoders.static import StaticEncoder
from router_extproc.analysis.encoding import TextEncoding
from router_extproc.analysis.language import detect_language
from router_extproc.analysis.location import artefact_folder
from router_extproc.analysis.routing import ROUTING_FILE, RoutingFeatures, RoutingHead, _asks_for_a_proof
from router_extproc.analysis.surface import surface_features
from router_extproc.analysis.word_classes import WordClasses

CORPORA = Path(__file__).parent / "corpora"
LETTERS = "abcdefghijklmnopqrstuvwxyz"
SEED = 20261121
QUALITIES = [step / 20 for step in range(1, 20)]


def strings(document: Any) -> Iterator[str]:
    """Every text in a JSON document."""
    if isinstance(document, str):
        yield document
    elif isinstance(document, dict | list):
        for part in document.values() if isinstance(document, dict) else document:
            yield from strings(part)


def misspelt(text: str, chance: random.Random) -> str:
    """The text with a letter lost, doubled, swapped or wrong for every 25."""
    for _ in range(1 + len(text) // 25):
        place = chance.randrange(len(text) - 1)
        head, one, two, tail = text[:place], text[place], text[place + 1], text[place + 2 :]
        text = head + chance.choice([two + one, one, one + one + two, chance.choice(LETTERS) + two]) + tail
    return text


def prompts() -> list[str]:
    """Those written for these tests, alone, put together, and misspelt; and oddities."""
    written = sorted(
        {
            text
            for name in ("routing", "tasks", "risks")
            for text in strings(json.loads((CORPORA / f"{name}.json").read_text("utf-8")))
        }
    )
    written = [text for text in written if 4 < len(text) < 600]
    chance = random.Random(SEED)  # noqa: S311 - guards nothing
    together = [
        chance.choice([" ", "\n", "\n\n"]).join(chance.sample(written, count)) for count in (2, 3, 4) for _ in range(60)
    ]
    odd = [
        "",
        "\n",
        "\n\nhi",
        "a. b",
        ". . .",
        "Prove it. \n\n",
        "1.5. 2.5",
        "Hi.\x1fThere",
        "See §12 of the code. Also section 4.",
    ]
    mistakes = [misspelt(text, chance) for text in chance.sample(written, 150) + chance.sample(together, 60)]
    return [*written[::2], *together, *mistakes, *odd]


class OneByOne:
    """The same score, each reading by itself, word by word as ``routing`` describes it."""

    def __init__(self, folder: Path) -> None:
        with np.load(folder / ROUTING_FILE) as stored:
            self.arrays = {name: stored[name] for name in stored.files}
        self.encoder = StaticEncoder.load(folder)
        self.words = WordClasses.from_arrays(self.arrays)
        self.features = RoutingFeatures(self.words, *(self.arrays[name] for name in ("ceiling", "mean", "scale")))
        self.doubts = Doubts(self.arrays)
        self.expert, self.cited = (set(self.arrays[name].tolist()) for name in ("expert", "cited"))

    def adequacy(self, text: str) -> Sequence[float]:
        """Of economy, standard and premium."""
        encoding = TextEncoding(text, self.encoder)
        language = detect_language(text).code
        wordings = [encoding.text]
        if len(encoding.words) <= 60 and not surface_features(encoding.text).named("options"):
            ends = [found.start() for found in re.finditer(r"(?<=[.!?])\s+(?=\S)|\n+(?=\S)", encoding.text)]
            wordings += [encoding.text[:end] for end in ends[-3:]]
        demand = max(self.demand(wording, language, is_beginning=number > 0) for number, wording in enumerate(wordings))
        enough = 1 / (1 + np.exp(self.arrays["tier_slope"] * demand - self.arrays["tier_offset"]))
        return [float(enough[: tier + 1].max()) for tier in range(3)]

    def demand(self, wording: str, language: str | None, *, is_beginning: bool) -> float:
        encoding, surface = TextEncoding(wording, self.encoder), surface_features(wording)
        doubt = self.doubts.of(encoding, surface, language, is_beginning=is_beginning)
        demand = self.reading(wording)
        if FOREIGN not in doubt.reasons and len(encoding.words) <= 40:
            ranks = self.encoder.vocabulary.ranks
            doubtful = [
                word
                for word in encoding.pieced
                if (len(encoding.words) <= 16 or word in wording)
                and word.isalpha()
                and not any(
                    word.endswith(ending) and word.removesuffix(ending) in ranks
                    for ending in ("s", "es", "d", "ed", "r", "er", "ing", "ly")
                )
            ]
            meant = wording
            able = [word for word in dict.fromkeys(doubtful) if 3 <= len(word) <= 12 and word.isascii()]
            for word in able[:3]:
                near = [other for other in near_words(word) if other in ranks]
                if near:
                    other = min(near, key=ranks.__getitem__)
                    meant = meant.replace(word, other).replace(word.capitalize(), other.capitalize())
            if meant != wording:
                demand = max(demand, self.reading(meant))
            demand += 0.3 * min(len(doubtful), 3)
        return max(demand, doubt.demand)

    def reading(self, wording: str) -> float:
        encoding, surface = TextEncoding(wording, self.encoder), surface_features(wording)
        row = self.features.row(encoding.vector, RoutingFeatures.countable(self.words, encoding, surface))
        demand: float
        demand, kind, _, document = (row @ self.arrays["weights"] + self.arrays["bias"]).tolist()
        demand = max(demand, kind)
        words = encoding.words
        is_proof = False
        if not surface.named("options"):
            demand -= float(self.arrays["document_discount"]) / (1 + exp(-document))
            is_proof = _asks_for_a_proof(words)
        cites = any(one in self.cited and two.isdigit() for one, two in pairwise(words))
        return max(demand, float(self.arrays["expert_demand"])) if is_proof or cites or self.expert & set(words) else demand


def near_words(word: str) -> set[str]:
    """All strings of one swap; of words of five letters and more also one loss, replacement and insertion."""
    cuts = [(word[:place], word[place:]) for place in range(len(word) + 1)]
    near = {head + tail[1] + tail[0] + tail[2:] for head, tail in cuts[:-2]}
    if len(word) >= 5:
        near |= {head + tail[1:] for head, tail in cuts}
        near |= {head + letter + tail[1:] for head, tail in cuts[:-1] for letter in LETTERS}
        near |= {head + letter + tail for head, tail in cuts for letter in LETTERS}
    return near


@pytest.fixture(scope="module")
def one_by_one() -> OneByOne:
    """Loaded once."""
    return OneByOne(artefact_folder(os.environ))


def test_reading_together_says_what_reading_one_by_one_says(one_by_one: OneByOne) -> None:
    """For some 800 prompts probabilities are equal to one in a million, and so is the tier at any quality."""
    head, unequal = RoutingHead.load(artefact_folder(os.environ)), []
    texts = prompts()
    assert len(texts) > 500
    for text in texts:
        encoding = TextEncoding(text, one_by_one.encoder)
        score = head.score(encoding, surface_features(encoding.text), detect_language(text).code)
        expected = one_by_one.adequacy(text)
        tiers = [[sum(enough < quality for enough in both) for quality in QUALITIES] for both in (score.adequacy, expected)]
        if tiers[0] != tiers[1] or score.adequacy != pytest.approx(expected, abs=1e-6):
            unequal.append((text, score.adequacy, expected))
    assert unequal == []
