"""Bounds of tokens against o200k_base's own counts: never below, whoever wrote the text."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_extproc.analysis import most_tokens as module
from router_extproc.analysis.most_tokens import byte_length, most_tokens
from tests.crafted_texts import TEXTS, hidden_from_samples
from tests.exact_tokens import exact_tokens

CORPUS = json.loads((Path(__file__).parent / "corpora" / "tokens.json").read_text("utf-8"))
# Counted once with tiktoken 0.14.
EXACT = {
    "hidden from samples": 63_956,
    "rare script": 1_200,
    "hieroglyphs": 4_083,
    "burmese without blanks": 150,
    "emoji families": 660,
    "emoji of several skins": 390,
    "flags": 600,
    "combining marks": 481,
    "symbols with marks": 240,
    "any characters": 8_836,
    "base64": 2_710,
    "hexadecimal": 4_514,
    "genes": 776,
    "small letters": 946,
    "mixed case": 1_229,
    "punctuation": 1_004,
    "one letter": 750,
    "one letter and a blank": 3_001,
    "blanks": 13,
    "blanks and a word": 14,
    "line ends": 95,
    "lines of blanks": 500,
    "slashes after lines": 2_400,
    "apostrophes": 3_200,
    "strange blanks": 3_900,
    "controls": 3_100,
    "digits of the world": 2_700,
    "titles": 720,
}
# These hold what Unicode does not know here, or more that differs than is merged: bounded, not counted.
BOUNDED = {"hidden from samples", "rare script", "any characters", "punctuation"}


@pytest.mark.parametrize("name", TEXTS)
def test_crafted_texts_are_counted(name: str) -> None:
    """Texts that samples, fingerprints or rules of thumb take for less than they are: counted exactly, or above."""
    found = most_tokens([TEXTS[name]])
    assert exact_tokens(TEXTS[name]) == EXACT[name], "the reference itself is wrong"
    assert EXACT[name] <= found <= byte_length(TEXTS[name])
    if name not in BOUNDED:
        assert found == EXACT[name]


@pytest.mark.parametrize("sample", CORPUS, ids=lambda sample: sample["kind"])
def test_ordinary_texts_are_counted_exactly(sample: dict[str, str]) -> None:
    """Prose in thirty languages, code, JSON, logs, URLs, numbers and emoji: not one token more than tiktoken says."""
    assert most_tokens([sample["text"]]) == sample["tokens"] == exact_tokens(sample["text"])


pieces = (
    st.text(max_size=40)
    | st.text("aeiou stn'\n.", max_size=80)
    | st.text(st.characters(min_codepoint=0x1000, max_codepoint=0x1FFFF, exclude_categories=("Cs",)), max_size=20)
    | st.sampled_from(
        ["😀", "\u200d", "👩‍👩‍👧", "==", "  ", "\r\n", "\t", "AAAA", "aaaa", "中文字", "'ll", "0123", "Zz"]
    ).flatmap(lambda part: st.integers(1, 60).map(lambda times: part * times))
)


@settings(max_examples=300)
@given(st.lists(pieces, max_size=8).map("".join))
def test_no_text_is_more_tokens_than_its_bound(text: str) -> None:
    """Any characters in any order: at least what the tokenizer makes of it, at most its bytes."""
    assert exact_tokens(text) <= most_tokens([text]) <= byte_length(text)


@settings(max_examples=100)
@given(st.lists(pieces, min_size=1, max_size=6), st.integers(0, 60), st.integers(0, 200), st.integers(0, 60))
def test_no_long_text_is_more_tokens_than_its_bound(texts: list[str], cut: int, merged: int, looked_up: int) -> None:
    """Wherever cutting, merging and looking up words end, the rest is not counted too low."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MOST_CUT", cut)
        patch.setattr(module, "MOST_MERGED", merged)
        patch.setattr(module, "MOST_LOOKED_UP", looked_up)
        patch.setattr(module, "_MOST_STEPS", merged % 4)
        patch.setattr(module, "_remembered", {})
        spaced = [" ".join([one, *texts, one]) for one in texts]
        assert sum(map(exact_tokens, spaced)) <= most_tokens(spaced) <= sum(map(byte_length, spaced))


def test_a_long_document_is_bounded_well_below_its_bytes() -> None:
    """Of prose that is too long to be counted whole, the words that were seen before its end take what they took."""
    prose = next(sample for sample in CORPUS if sample["kind"] == "english long")
    text = "\n\n".join([prose["text"]] * (400_000 // len(prose["text"])))
    exact = prose["tokens"] * (400_000 // len(prose["text"]))
    assert exact <= most_tokens([text]) <= 0.75 * len(text)


def test_texts_are_counted_each_by_itself() -> None:
    """Several texts take what each takes; a lone surrogate counts as three bytes."""
    texts = ["Hello", " world", "", "don", "'t"]
    assert most_tokens(texts) == sum(most_tokens([one]) for one in texts) == sum(map(exact_tokens, texts))
    assert most_tokens(["\ud800"]) == 3


def test_what_was_counted_before_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same text has the same bound, however full the memory of words is."""
    monkeypatch.setattr(module, "_MOST_REMEMBERED", 50)
    first = [most_tokens([sample["text"]]) for sample in CORPUS]
    assert [most_tokens([sample["text"]]) for sample in reversed(CORPUS)] == first[::-1]


@pytest.mark.parametrize(
    "text",
    [
        "a" * 2**21, " " * 2**21, "\n" * 2**21, " \n" * 2**20, "a b " * 2**19, "'s" * 2**20, "漢字かな" * 2**18, "😀" * 2**19,
        "x1y2z3" * 2**18, "/\n" * 2**20, "\u0301" * 2**20, hidden_from_samples(2**19),
        "".join(map(chr, range(0x20, 0xD800))) * 9,
    ],
    ids=repr,
)  # fmt: skip
def test_the_work_is_bounded(text: str) -> None:
    """Megabytes of anything take some hundredths of a second of the processor; here with much room for a busy machine."""
    most_tokens(["warm"])
    started = time.process_time()
    assert most_tokens([text]) <= byte_length(text)
    assert time.process_time() - started < 0.5
