"""How many tokens an answer will take: what was asked for, what such work usually takes, never more than is allowed.

The figures by kind of work are starting points chosen by hand, not measured; ``usual`` replaces them by what was seen.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

# Tokens, or where a pair stands: tokens for each token of the prompt, and the most that may come of it.
_FIXED = {
    "code": 450,
    "math": 350,
    "reasoning": 450,
    "classification": 8,
    "qa": 150,
    "rag_qa": 180,
    "creative_writing": 600,
    "chat": 80,
    "planning": 650,
    "tool_step": 90,
}
_IN_PROPORTION = {"translation": (1.1, 4_000), "summarization": (0.25, 400), "structured_extraction": (0.4, 1_000)}
_UNKNOWN = 300
_LEAST = 8

# English prose: 0.75 words a token (https://platform.openai.com/tokenizer).
_TOKENS_PER_UNIT = {"word": 4 / 3, "sentence": 27, "paragraph": 130, "line": 14, "bullet": 25, "page": 650}
_UNITS = "|".join(_TOKENS_PER_UNIT)
_asked = re.compile(rf"\b(\d{{1,5}}|an?|one|two|three|four|five|six|ten)[- ]+(?:short |brief |long |single )?({_UNITS})s?\b")
_NUMBERS = {"a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "ten": 10}
_speaks_of_answer = re.compile(
    r"\b(?:writ|answer|repl|respond|summari|explain|describ|essay|story|poem|in |about |at most |under )"
)
# A length counts when a word that speaks of the answer stands this close before it (characters).
_NEAR = 60


def asked_length(text: str) -> int | None:
    """The tokens of the longest answer that a text asks for in words, sentences, paragraphs …; None where it does not."""
    lower = text.lower()
    if not any(unit in lower for unit in _TOKENS_PER_UNIT):
        return None  # nearly always, and told in a tenth of the pattern's time
    lengths = [
        (int(number) if number.isdigit() else _NUMBERS[number]) * _TOKENS_PER_UNIT[unit]
        for match in _asked.finditer(lower)
        for number, unit in [match.groups()]
        if _speaks_of_answer.search(lower, max(0, match.start() - _NEAR), match.start())
    ]
    return round(max(lengths)) if lengths else None


def expected_output_tokens(
    text: str,
    *,
    task: str | None,
    prompt_tokens: int,
    limit: int | None = None,
    choices: int = 1,
    usual: Mapping[str, float] | None = None,
) -> int:
    """The expected tokens of all answers to one request together.

    Args:
        text: the task as it was written.
        task: the kind of work, None when unknown.
        prompt_tokens: those of the whole prompt.
        limit: the most tokens that the caller allows an answer.
        choices: how many answers are asked for.
        usual: mean tokens of an answer by kind of work, as they were seen; replaces the built-in figures.
    """
    expected = float(_UNKNOWN)
    if (asked := asked_length(text)) is not None:
        expected = asked
    elif usual is not None and task is not None and task in usual:
        expected = usual[task]
    elif task in _FIXED:
        expected = _FIXED[task]
    elif task in _IN_PROPORTION:
        share, most = _IN_PROPORTION[task]
        expected = min(share * prompt_tokens, most)
    expected = max(expected, _LEAST)
    return max(1, round(min(expected, limit) if limit is not None else expected)) * choices
