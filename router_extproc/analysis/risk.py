"""Whether a request touches a domain where a wrong answer harms: a floor on the model's tier, however short the request.

Two readers, of which the more worried one counts. A linear head names the domain: it knows many classes (the subjects of
an exam, everyday requests, the domains as people ask about them) and adds up those of a domain, because "cell biology"
and "clinical knowledge" are told apart better than "medical" and "not medical". Credentials, marks of secrecy and words of
self-harm are found literally; the first two in documents beside the task too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import ahocorasick
import msgspec
import numpy as np
from numpy.typing import NDArray

from router_extproc.analysis.conversation import ASSISTANT, SYSTEM, Conversation
from router_extproc.analysis.encoding import TextEncoding
from router_extproc.analysis.linear_head import LinearHead, read_arrays
from router_extproc.analysis.window import head_and_tail

FILE = "risk.npz"
RISKS = ("medical", "legal", "financial", "confidential", "self_harm")
NONE = "none"
# Kinds of marks: of secrecy, of harming oneself, and what stands in every credential.
_SECRECY, _SELF_HARM, _HINT = "secrecy", "self_harm", "hint"
# How sure a literal mark makes: a key may be an example, a document may be marked out of habit.
_MARKED = 0.9
# Characters of each of the newest pieces that are searched for literal marks: marks stand at the beginning or the end.
_PIECES, _HEAD, _TAIL = 6, 3_000, 500
_MARKS_FILE = Path(__file__).parent / "data" / "risk_marks.json"


@dataclass(frozen=True, slots=True)
class RiskScore:
    """The domain, ``none`` where no probability reaches its threshold, and the calibrated probability of each."""

    name: str
    scores: Mapping[str, float]


class _Marks(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The data file: phrases in lower case; hints without which no pattern can match; patterns of credentials."""

    source: str
    date: str
    secrecy: tuple[str, ...]
    self_harm: tuple[str, ...]
    hints: tuple[str, ...]
    credentials: tuple[str, ...]


class RiskMarks:
    """What is searched for literally: all phrases and hints in one pass over a text, patterns only where a hint was found."""

    def __init__(self, marks: _Marks) -> None:
        self.credentials = re.compile("|".join(marks.credentials))
        self._phrases = ahocorasick.Automaton()
        for kind, phrases in ((_SECRECY, marks.secrecy), (_SELF_HARM, marks.self_harm), (_HINT, marks.hints)):
            for phrase in phrases:
                self._phrases.add_word(phrase, kind)
        self._phrases.make_automaton()

    def found_in(self, encoding: TextEncoding, others: Iterable[str]) -> tuple[bool, bool]:
        """Whether a task, or what stands beside it, is confidential; and whether the task speaks of harming oneself."""
        kinds, ends = self._kinds(encoding.lower), head_and_tail(encoding.text, _HEAD, _TAIL)
        is_confidential = self.is_confidential(ends.text) if ends.truncated else self._has_secrets(encoding.text, kinds)
        return is_confidential or any(map(self.is_confidential, others)), _SELF_HARM in kinds

    def is_confidential(self, text: str) -> bool:
        """Whether the text is marked as secret or holds a credential."""
        return self._has_secrets(text, self._kinds(text.lower()))

    def _kinds(self, lower: str) -> set[str]:
        return {kind for _, kind in self._phrases.iter(lower)}

    def _has_secrets(self, text: str, kinds: set[str]) -> bool:
        return _SECRECY in kinds or (_HINT in kinds and self.credentials.search(text) is not None)


@cache
def risk_marks() -> RiskMarks:
    """The shipped marks, read once."""
    return RiskMarks(msgspec.json.decode(_MARKS_FILE.read_bytes(), type=_Marks))


class RiskHead:
    """The trained head."""

    def __init__(
        self,
        head: LinearHead,
        slope: NDArray[np.float32],
        offset: NDArray[np.float32],
        thresholds: NDArray[np.float32],
        marks: RiskMarks,
    ) -> None:
        """A head over classes such as ``medical:virology``, with one calibration and threshold a risk, in order of RISKS."""
        self._head, self._marks = head, marks
        self._slope, self._offset, self._thresholds = slope, offset, thresholds
        self._members = np.array([[name.partition(":")[0] == risk for risk in RISKS] for name in head.classes], np.float32)

    @classmethod
    def load(cls, folder: Path) -> RiskHead:
        """The head whose file lies in a folder.

        Raises:
            OSError: the file cannot be read.
            ValueError: its arrays do not fit together.
        """
        arrays = read_arrays(folder / FILE)
        head = LinearHead.from_arrays(arrays)
        return cls(head, arrays["slope"], arrays["offset"], arrays["thresholds"], risk_marks())

    def score(
        self,
        encoding: TextEncoding,
        surface: Any,  # noqa: ARG002 - what every reader of texts is given
        conversation: Conversation,
    ) -> RiskScore:
        """The domain of the task in progress; ``surface`` is not used."""
        probabilities = 1 / (1 + np.exp(-(self.evidence(encoding) * self._slope + self._offset)))
        is_confidential, is_self_harm = self._marks.found_in(encoding, _beside(encoding, conversation))
        if is_confidential:
            _raise_to(_MARKED, "confidential", probabilities)
        if is_self_harm:
            _raise_to(_MARKED, "self_harm", probabilities)
        # The domain that exceeds its threshold by most, in odds: thresholds differ, for errors do not cost the same.
        excess = probabilities / self._thresholds
        best = int(excess.argmax())
        name = RISKS[best] if excess[best] >= 1 else NONE
        return RiskScore(name, dict(zip(RISKS, probabilities.tolist(), strict=True)))

    def evidence(self, encoding: TextEncoding) -> NDArray[np.float32]:
        """The log-odds of each risk before calibration: its classes' share of the softmax, float32 [5]."""
        odds: NDArray[np.float32] = log_odds(self._head.logits(encoding.vector, encoding.ngrams)[None], self._members)[0]
        return odds


def log_odds(logits: NDArray[np.float32], members: NDArray[np.float32]) -> NDArray[np.float32]:
    """The log-odds of groups of classes.

    Args:
        logits: [n, classes].
        members: which classes belong to each group, 0 or 1, [classes, groups].
    """
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    inside = np.clip(shares @ members, 1e-6, 1 - 1e-6)
    odds: NDArray[np.float32] = np.log(inside / (1 - inside))
    return odds


def _raise_to(least: float, risk: str, probabilities: NDArray[np.float32]) -> None:
    place = RISKS.index(risk)
    probabilities[place] = max(float(probabilities[place]), least)


def _beside(encoding: TextEncoding, conversation: Conversation) -> Iterator[str]:
    """Head and tail of each of the newest pieces beside the task that the user is answerable for."""
    for text, source in conversation.pieces[-_PIECES:]:
        if source not in {SYSTEM, ASSISTANT} and text != encoding.text:
            yield head_and_tail(text, _HEAD, _TAIL).text
