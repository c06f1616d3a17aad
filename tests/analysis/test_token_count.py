"""Counted tokens against o200k_base's own counts, taken once with tiktoken and written down beside each text."""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_extproc.analysis import token_count
from router_extproc.analysis.token_count import text_tokens, texts_tokens
from router_extproc.analysis.tokens import count_tokens

CORPUS = json.loads((Path(__file__).parent / "corpora" / "tokens.json").read_text("utf-8"))


@pytest.mark.parametrize("sample", CORPUS, ids=lambda sample: sample["kind"])
def test_a_count_is_within_a_tenth(sample: dict[str, str]) -> None:
    """Prose in thirty languages, code, JSON, logs, base64, URLs, numbers and emoji: each count within 10 % of the exact one."""
    assert text_tokens(sample["text"]) == pytest.approx(sample["tokens"], rel=0.10)


def test_the_corpus_as_a_whole_is_hardly_off() -> None:
    """Half of the texts are within 1 %, nine in ten within 4 %, and their sum within 1 %."""
    errors = sorted(abs(text_tokens(sample["text"]) / sample["tokens"] - 1) for sample in CORPUS)
    assert statistics.median(errors) < 0.01
    assert errors[len(errors) * 9 // 10] < 0.04
    counted, exact = (sum(values) for values in zip(*((text_tokens(s["text"]), s["tokens"]) for s in CORPUS), strict=True))
    assert counted == pytest.approx(exact, rel=0.01)


def test_a_long_mixture_is_counted_by_its_windows() -> None:
    """Texts far too long to be counted whole: the corpus in a row, again and again, is within 10 %."""
    text, exact = "\n\n".join(sample["text"] for sample in CORPUS), sum(sample["tokens"] for sample in CORPUS)
    for times in (1, 3, 10):
        assert text_tokens("\n\n".join([text] * times)) == pytest.approx(exact * times, rel=0.10)


def test_texts_do_not_run_into_each_other() -> None:
    """Several texts together take what each takes; thousands of short ones are counted by windows, within 10 %."""
    texts = [sample["text"] for sample in CORPUS if len(sample["text"]) < 300][:8]
    assert texts_tokens(texts) == pytest.approx(sum(map(text_tokens, texts)))
    assert texts_tokens(["ab", "cd", ""]) == text_tokens("ab") + text_tokens("cd")
    many = ["Hello there!", "Could you explain that again, please?", "Sure: the key is in the drawer."] * 1_000
    assert texts_tokens(many) == pytest.approx(sum(map(text_tokens, many)), rel=0.10)


def test_the_same_text_always_counts_the_same() -> None:
    """What was counted before changes nothing."""
    first = [text_tokens(sample["text"]) for sample in CORPUS]
    assert [text_tokens(sample["text"]) for sample in reversed(CORPUS)] == first[::-1]


@pytest.mark.parametrize(
    "text",
    ["a" * 10**6, "é" * 10**6, "😀" * 10**6, " " * 10**6, "a b " * 10**6, "漢字かな" * 10**5, "\x00\ud800" * 9, "a\uffffb"],
)
def test_the_work_is_bounded(text: str) -> None:
    """Megabytes take milliseconds."""
    text_tokens("warm")
    started = time.process_time()
    assert text_tokens(text) > 0
    assert texts_tokens([text[:50]] * 20_000) > 0
    assert time.process_time() - started < 0.1


@settings(max_examples=200)
@given(st.text())
def test_any_text_has_a_count(text: str) -> None:
    """Any text: no tokens only for an empty one, never more tokens than UTF-8 bytes by more than a little."""
    tokens = text_tokens(text)
    assert (tokens > 0) == bool(text)
    assert tokens <= 1.1 * len(text.encode("utf-8", "surrogatepass")) + 1


def test_a_learned_ratio_corrects_the_count() -> None:
    """A model that takes a fifth more tokens has its counts raised by a fifth; something is never nothing."""
    text = "Could you explain how a bicycle stays upright? " * 20
    assert count_tokens(text, 1.2) == pytest.approx(1.2 * count_tokens(text), rel=0.01)
    assert (count_tokens(""), count_tokens("a", 0.1)) == (0, 1)


def test_a_few_chunks_count_as_by_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain chunks are counted one by one when they are few: each takes what the arrays say."""
    monkeypatch.setattr(token_count, "_costs", {})
    monkeypatch.setattr(token_count, "_MOST_SPELT", token_count._LONGEST_REMEMBERED)
    chunks = {chunk for sample in CORPUS for chunk in token_count._CHUNK.findall(sample["text"]) if chunk.isascii()}
    short = sorted(chunk for chunk in chunks if len(chunk) <= token_count._LONGEST_REMEMBERED)
    assert len(short) > 1_000
    few = {chunk: token_count._count_few([chunk]) for chunk in short}
    differing = [chunk for chunk in short if few[chunk] != pytest.approx(token_count._count_chunks([chunk]))]
    # The arrays cut one of a thousand chunks elsewhere than the tokenizer does.
    assert len(differing) <= len(short) // 1_000, differing


@given(st.text(st.characters(codec="ascii"), min_size=1, max_size=64))
def test_any_few_chunks_have_a_count(text: str) -> None:
    """Whatever plain characters stand together: at least a token, and none of less than a character."""
    tokens = token_count._count_few(token_count._CHUNK.findall(text))
    assert tokens is not None
    assert 1 <= tokens <= 1.1 * len(text)


def test_a_second_look_takes_what_the_first_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of a long chunk are remembered: it costs the same again, and so does another one made of them."""
    monkeypatch.setattr(token_count, "_costs", {})
    first = [f" [{word}](docs/{word}.md)," for word in ("limits", "budgets")]
    counted = [text_tokens(chunk) for chunk in first]
    assert counted == [text_tokens(chunk) for chunk in first]
    monkeypatch.setattr(token_count, "_count_pretoken", None)
    assert min(counted) < text_tokens(" [limits](docs/budgets.md),") < max(counted)
