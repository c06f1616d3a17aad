"""Text is cut where the tokenizer cuts it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import regex

from router_extproc.analysis.pretokens import pretoken_starts
from router_extproc.analysis.slice_hashes import code_points
from router_extproc.analysis.token_table import token_table

CORPUS = json.loads((Path(__file__).parent / "corpora" / "tokens.json").read_text("utf-8"))

# The pattern of o200k_base as tiktoken publishes it (MIT).
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_ENDING = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
PATTERN = regex.compile(
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_ENDING}|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_ENDING}"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def cut(text: str) -> list[str]:
    points = code_points(text)
    starts = pretoken_starts(points, token_table().classes).tolist()
    return [text[start:end] for start, end in zip(starts, [*starts[1:], len(text)], strict=True)]


@pytest.mark.parametrize(
    "text",
    [
        "I don't know",
        "They'LL come",
        "foo(bar) == baz[0]",
        "getHTTPResponse()",
        "12345 and 1234567",
        "  two  spaces",
        "line\n\n    indented\n",
        "tab\t\t# comment",
        "a.b.c, (d)",
        "l'homme",
        "price: $1,234.56",
        "x = 3;\n\ny = 4;\n",
        "今天12点",
    ],
)
def test_cuts_are_those_of_the_pattern(text: str) -> None:
    """Words take one leading space or symbol, symbols the end of their line, digits go by threes."""
    assert cut(text) == PATTERN.findall(text)


def test_hardly_any_cut_of_the_corpus_is_elsewhere() -> None:
    """Of all boundaries in the corpus less than one in 200 is missing or too many."""
    wrong = total = 0
    for sample in CORPUS:
        exact = {match.start() for match in PATTERN.finditer(sample["text"])}
        found = set(np.asarray(pretoken_starts(code_points(sample["text"]), token_table().classes)).tolist())
        wrong, total = wrong + len(exact ^ found), total + len(exact)
    assert wrong / total < 0.005
