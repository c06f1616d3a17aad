"""How likely a task is to be thought through: a puzzle, a conclusion, mathematics beyond a sum.

Such tasks are often short and in everyday words, and judged prompts hold few of them: the routing score takes them for easy.
What gives them away is how they are worded, the kind of work they are, words that stand together in known puzzles, and
formulas.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files

from router_extproc.analysis.encoding import TextEncoding

# "What is 12% of 80?" is mathematics as well; below this the routing score is sure enough that it is no more than a sum.
PLAIN = 0.15
# A puzzle is stated in a few sentences. In a long text the words of one may stand by chance.
_MOST_WORDS = 120
_CERTAIN, _IMPOSSIBLE = 1.0, 0.0
# Powers, derivatives, factorials in a formula or before another word, signs of analysis and of sets, numbers that may be prime.
_formula = re.compile(
    r"\w\^[\w({-]|\)\^|[a-z]''|\bd[a-z]/d[a-z]\b|\d!(?: [a-z]|[ )]*[-+*/=])|[∫∑∏√∂∇∞≡∈∉⊂∀∃]|\blim\b"
    r"|\d (?:a )?prime\b|\b(?:[enx]|pi|\d+) to the (?:[enx]|pi|power)\b"
).search
_PREMISES = frozenset({"all", "some", "no", "every", "if", "either"})
_STOPS = frozenset({".", ";"})
# So often a text compares before an order is to be found in it.
_COMPARISONS = 2


def read_reasoning(encoding: TextEncoding, scores: Mapping[str, float], thought: float, needs_strong: float) -> float:
    """The likelihood, 0 to 1.

    Args:
        encoding: of the task.
        scores: the probability of each kind of work.
        thought: the probability by the wording alone, which short requests have taught.
        needs_strong: the routing score.
    """
    if has_known_form(encoding.text, encoding.words):
        return _CERTAIN
    if encoding.pieced and len(encoding.words) <= _MOST_WORDS and has_known_form(encoding.text, _as_meant(encoding)):
        return _CERTAIN
    by_wording = thought if len(encoding.words) <= _MOST_WORDS else _IMPOSSIBLE
    by_kind = scores.get("reasoning", 0.0) + scores.get("math", 0.0) if needs_strong >= PLAIN else _IMPOSSIBLE
    return min(_CERTAIN, max(by_wording, by_kind))


def has_known_form(text: str, words: Sequence[str]) -> bool:
    """Whether the words (lower case, in order, signs among them) are those of a puzzle or deduction, or a formula is there."""
    return len(words) <= _MOST_WORDS and (_is_puzzle(words) or _is_deduction(words) or _formula(text) is not None)


def _as_meant(encoding: TextEncoding) -> list[str]:
    """The words without their spelling mistakes: a puzzle that is misspelt is as hard."""
    speller = encoding.vocabulary.speller
    meant = speller.corrections([word for word in encoding.pieced if speller.may_be_mistake(word)])
    return [meant.get(word, word) for word in encoding.words]


def _is_puzzle(words: Sequence[str]) -> bool:
    puzzles = _puzzles()
    return any(
        all(not group.isdisjoint(words) for group in groups) for word in puzzles.keys() & words for groups in puzzles[word]
    )


def _is_deduction(words: Sequence[str]) -> bool:
    """Comparisons to put in order, or premises in sentences of their own and then a question.

    "If it rains, it is wet. It is wet. Did it rain?", "Ann is taller than Bob. Bob is taller than Cem. Who is in the middle?"
    """
    if words.count("than") >= _COMPARISONS:
        return True
    return bool(words) and words[0] in _PREMISES and words[-1] == "?" and not _STOPS.isdisjoint(words)


@cache
def _puzzles() -> Mapping[str, list[tuple[frozenset[str], ...]]]:
    """By each word of its first group, what else a puzzle must have."""
    found: dict[str, list[tuple[frozenset[str], ...]]] = {}
    written = json.loads(files("router_extproc.analysis").joinpath("data/puzzles.json").read_text(encoding="utf-8"))
    for first, *others in written["puzzles"]:
        for word in first:
            found.setdefault(word, []).append(tuple(map(frozenset, others)))
    return found
