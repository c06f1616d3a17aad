"""Does a piece of the conversation try to take the model over? Windows and whole text, rules with names, and provenance.

Rules of this file
- Only pieces that strangers can write are read: the user's, tools' and documents'. The operator's instructions and the
  model's own answers are not accused.
- What a user asks and what a document may contain differ: an ordinary request is out of place inside a tool result or a
  retrieved document. So they have a model each; but what attacks from a user attacks from anywhere, so documents and tool
  results are read by both.
- The newest pieces first, at most 64 KiB of them all; what was left out shows in ``truncated``.
- Evidence never counts negatively: every window, every rule and every other reading of a disguised text can only raise the
  score.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from router_extproc.analysis.conversation import DOCUMENT, TOOL, USER, Conversation, Piece
from router_extproc.analysis.injection_disguises import HIDDEN, disguises
from router_extproc.analysis.injection_rules import Hit, InjectionRules
from router_extproc.analysis.injection_windows import MAX_BYTES, Reading, WindowModel, folded_part, quantised, read, summary
from router_extproc.analysis.ngrams import Powers

FILE = "injection.npz"
# The models, and which sources each reads.
ASKED, FOUND = "asked", "found"
_READ_AS = {USER: (ASKED,), TOOL: (ASKED, FOUND), DOCUMENT: (ASKED, FOUND)}
# Log-odds outside this range say no more.
_CERTAIN = 12.0
# The least log-odds of a text with a message in characters that nobody sees: nineteen to one, whatever the message says.
_HIDDEN = math.log(19)


class InjectionScore(NamedTuple):
    """What the worst piece says.

    Attributes:
        probability: that the piece attacks, where one in ten pieces does; 0 where there was nothing to read.
        source: where the worst piece comes from: ``user``, ``tool`` or ``document``; empty where there was none.
        rule: the name of the rule it meets that counts most, if it meets any; of a disguised text else the disguise.
        span: the first and last byte of what looks worst, in the piece's lower-case UTF-8 text; none in a disguised text.
        truncated: whether something was too long to be read whole.
    """

    probability: float
    source: str
    rule: str | None
    span: tuple[int, int] | None
    truncated: bool


NOTHING = InjectionScore(0.0, "", None, None, truncated=False)


class Evidence(NamedTuple):
    """What is known of one piece before it is weighed: log-odds, in the order of ``Weighing.learned``, and rules."""

    learned: NDArray[np.float64]
    hits: tuple[Hit, ...]
    span: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Weighing:
    """How evidence becomes log-odds.

    Attributes:
        learned: weights of whole text, worst small window, worst large window (0 or more), and of the logarithm of the
            text's length in small windows (0 or less: a long text has more windows in which chance may strike).
        rules: the weight of each rule, 0 or more.
        bias: the log-odds without any evidence.
    """

    learned: NDArray[np.float64]
    rules: dict[str, float]
    bias: float

    def log_odds(self, evidence: Evidence) -> float:
        """The log-odds of an attack."""
        rules = sum(self.rules.get(hit.name, 0.0) for hit in evidence.hits)
        return float(self.learned @ evidence.learned) + rules + self.bias


@dataclass(frozen=True, slots=True)
class PieceModel:
    """Scores one piece of one kind of source."""

    windows: WindowModel
    weighing: Weighing


class InjectionHead:
    """The models and the rules; see the head of this file."""

    def __init__(self, models: dict[str, PieceModel], rules: InjectionRules) -> None:
        self._models = models
        self._rules = rules
        self._powers = Powers(MAX_BYTES)

    @classmethod
    def load(cls, folder: Path) -> InjectionHead:
        """The head of an artefact.

        Raises:
            OSError: the file is missing.
            KeyError: it lacks a part.
        """
        with np.load(folder / FILE) as arrays:
            models = {name: _model(name, arrays) for name in (ASKED, FOUND)}
        return cls(models, InjectionRules.load())

    def score(self, conversation: Conversation) -> InjectionScore:
        """The score of the worst piece."""
        worst, worst_odds = NOTHING, -math.inf
        left, truncated = MAX_BYTES, False
        for piece in reversed(conversation.pieces):
            readers = _READ_AS.get(piece.source)
            if readers is None or not piece.text:
                continue
            if left <= 0:
                truncated = True
                break
            left -= len(piece.text)
            score, odds, shortened = self._of_piece(piece, readers)
            truncated |= shortened
            if odds > worst_odds:
                worst, worst_odds = score, odds
        return worst._replace(truncated=truncated)

    def _of_piece(self, piece: Piece, readers: Sequence[str]) -> tuple[InjectionScore, float, bool]:
        """The score of one piece, its log-odds, and whether the piece had to be shortened."""
        data, shortened = folded_part(piece.text)
        evidence, weighing, met = self._read(data, readers)
        worst = weighing.log_odds(evidence)
        rule = _telling(evidence, weighing)
        span: tuple[int, int] | None = evidence.span
        text = piece.text if len(piece.text) <= MAX_BYTES else piece.text[: MAX_BYTES // 2] + piece.text[-MAX_BYTES // 2 :]
        for disguise in disguises(text, met):
            evidence, weighing, _ = self._read(folded_part(disguise.text)[0], readers)
            odds = weighing.log_odds(evidence)
            if disguise.name == HIDDEN:
                odds = max(odds, _HIDDEN)
            if odds > worst:
                worst, span = odds, None
                rule = _telling(evidence, weighing) or disguise.name
        return InjectionScore(probability(worst), piece.source, rule, span, truncated=False), worst, shortened

    def _read(self, data: NDArray[np.uint8], readers: Sequence[str]) -> tuple[Evidence, Weighing, frozenset[str]]:
        """The evidence of the reader that thinks worst of folded bytes, its weighing, and the rules that are met."""
        reading = read(data, self._powers)
        hits = tuple(self._rules.find(data, reading.words))
        models = [self._models[name] for name in readers]
        found = [(weigh_up(reading, hits, model.windows), model.weighing) for model in models]
        evidence, weighing = max(found, key=lambda one: one[1].log_odds(one[0]))
        return evidence, weighing, frozenset(hit.name for hit in hits)


def weigh_up(reading: Reading, hits: tuple[Hit, ...], model: WindowModel) -> Evidence:
    """The evidence in one piece, by one model."""
    found = summary(model, reading)
    learned = np.array([found.whole, found.small, found.large, math.log1p(found.windows - 1)])
    return Evidence(learned, hits, found.span)


def evidence_of(text: str, model: WindowModel, rules: InjectionRules, powers: Powers) -> Evidence:
    """Reads one text: n-grams, windows, rules."""
    data, _ = folded_part(text)
    reading = read(data, powers)
    return weigh_up(reading, tuple(rules.find(data, reading.words)), model)


def probability(log_odds: float) -> float:
    """The logistic function, kept away from 0 and 1."""
    return 1 / (1 + math.exp(-max(-_CERTAIN, min(_CERTAIN, log_odds))))


def _telling(evidence: Evidence, weighing: Weighing) -> str | None:
    """The rule that counts most among those met."""
    met = [(weighing.rules.get(hit.name, 0.0), hit.name) for hit in evidence.hits]
    return max(met)[1] if met else None


def arrays_of(name: str, model: PieceModel) -> dict[str, NDArray[np.generic]]:
    """How a model is stored: n-gram weights in 8 bits, the rest as it is."""
    rules = model.weighing.rules
    weights, scale = quantised(model.windows.weights)
    return {
        f"{name}.weights": weights,
        f"{name}.scale": scale,
        f"{name}.bias": np.array([model.windows.bias, model.weighing.bias]),
        f"{name}.learned": np.asarray(model.weighing.learned),
        f"{name}.rules": np.array(list(rules)),
        f"{name}.rule_weights": np.array(list(rules.values())),
    }


def _model(name: str, arrays: dict[str, NDArray[np.generic]]) -> PieceModel:
    windows_bias, bias = (float(value) for value in arrays[f"{name}.bias"].tolist())
    weights = np.asarray(arrays[f"{name}.weights"], np.float32) * np.asarray(arrays[f"{name}.scale"], np.float32)
    rules = dict(zip(arrays[f"{name}.rules"].tolist(), arrays[f"{name}.rule_weights"].tolist(), strict=True))
    learned = np.asarray(arrays[f"{name}.learned"], np.float64)
    return PieceModel(WindowModel(weights, windows_bias), Weighing(learned, rules, bias))
