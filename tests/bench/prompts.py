"""Prompts to measure with: short ones of everyday requests, long ones of the prose of this repository's own documents.

Sentences are shuffled and put together up to the wanted length, the same in every run.
"""

from __future__ import annotations

import itertools
import json
import random
import re
from pathlib import Path

from router_extproc.analysis.tokens import text_tokens

_ROOT = Path(__file__).parents[2]
_NOT_PROSE = re.compile(r"```[\s\S]*?```|^[|#].*$", re.MULTILINE)
_SEED = 20260101
LONGEST_REQUEST = 64
"""In tokens: longer prompts have documents in them."""


def requests() -> list[str]:
    """What people ask, written for this purpose; each of about 10 to 35 tokens."""
    return (Path(__file__).parent / "data" / "requests.txt").read_text(encoding="utf-8").splitlines()


def sentences() -> list[str]:
    """Every sentence of prose in the documents, in the order of their files."""
    found = []
    for path in sorted((_ROOT / "docs").rglob("*.md")):
        text = _NOT_PROSE.sub("", path.read_text(encoding="utf-8"))
        found += [" ".join(one.split()) for one in re.split(r"(?<=[.!?])\s+|\n\n+", text) if len(one.split()) > 3]
    return found


def prompts(tokens: int, count: int) -> list[str]:
    """``count`` different prompts of about ``tokens`` tokens each; the same in every run."""
    chance = random.Random(_SEED + tokens)  # noqa: S311 - guards nothing
    chosen = requests() if tokens <= LONGEST_REQUEST else requests() + sentences()
    known = [(sentence, text_tokens(sentence + " ")) for sentence in chosen]
    return [_prompt(chance, known, tokens) for _ in range(count)]


def _prompt(chance: random.Random, known: list[tuple[str, float]], tokens: int) -> str:
    chosen, length = [], 0.0
    for sentence, size in itertools.chain.from_iterable(chance.sample(known, len(known)) for _ in itertools.count()):
        words = sentence.split() if length + size > tokens else None
        if words is not None:
            chosen.append(" ".join(words[: max(1, round(len(words) * (tokens - length) / size))]))
            return " ".join(chosen)
        chosen.append(sentence)
        length += size
    raise AssertionError("there are sentences without end")


def body(prompt: str, model: str = "auto") -> bytes:
    """A chat completion with this prompt."""
    return json.dumps({"model": model, "messages": [{"role": "user", "content": prompt}]}).encode()
