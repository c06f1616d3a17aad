import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_extproc.analysis.keywords import Keywords

LAW = Keywords.compile(["legal advice", "law", "GDPR"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I need legal advice.", {"legal advice"}),
        ("LEGAL\n  ADVICE, please", {"legal advice"}),
        ("Which law applies under the gdpr?", {"law", "GDPR"}),
        ("(law)", {"law"}),
        ("an outlaw at large, unlawful", set()),
        ("law_of_demeter and lawn", set()),
        ("legal and advice", set()),
        ("", set()),
    ],
)
def test_words_not_letters(text: str, expected: set[str]) -> None:
    """A phrase stands where its words do, in any case and spacing, and not within other words."""
    assert LAW.find(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("This is not legal advice.", set()),
        ("I don't want any kind of legal advice", set()),
        ("I don\N{RIGHT SINGLE QUOTATION MARK}t want legal advice", set()),
        ("not legal advice about Python's `law` module", set()),
        ("Explain without law, but with the GDPR in mind", {"GDPR"}),
        ("I have no time. I need legal advice.", {"legal advice"}),
        ("I need not only legal advice", {"legal advice"}),
        ("That is not what I wanted to hear from you about law", {"law"}),
        ("This is not legal advice. I want legal advice.", {"legal advice"}),
    ],
)
def test_what_is_denied_does_not_count(text: str, expected: set[str]) -> None:
    """A negation in the same clause, close by, takes a phrase back; one elsewhere does not."""
    assert LAW.find(text) == expected


def test_code_is_no_prose() -> None:
    """What stands between backticks or in a fence names things in a program, not what the request is about."""
    assert LAW.find("run `law` now") == set()
    assert LAW.find("```python\nlaw = 1\n```\nWhat does it do?") == set()
    assert LAW.find("```\nlaw") == set()
    assert LAW.find("`x` and the law") == {"law"}


def test_scripts_without_spaces_have_boundaries_everywhere() -> None:
    """Chinese, Japanese and Thai phrases are found within a run of characters."""
    keywords = Keywords.compile(["法律", "สัญญา"])
    assert keywords.find("我需要法律建议") == {"法律"}
    assert keywords.find("ต้องการสัญญาเช่า") == {"สัญญา"}


def test_spellings_of_one_phrase_are_all_told() -> None:
    """Two spellings of one phrase are both found, as they were written."""
    assert Keywords.compile(["GDPR", "gdpr", "Straße"]).find("gdpr STRASSE") == {"GDPR", "gdpr", "Straße"}


def test_an_empty_phrase_is_refused() -> None:
    """White space alone would match everywhere."""
    with pytest.raises(ValueError, match="empty"):
        Keywords.compile(["law", "  "])


def test_no_phrases_find_nothing() -> None:
    """Without phrases nothing is found."""
    assert Keywords.compile([]).find("law") == set()


@given(st.text(), st.lists(st.text(min_size=1).filter(lambda text: bool(text.strip())), max_size=4))
def test_any_text_can_be_searched(text: str, phrases: list[str]) -> None:
    """Whatever stands in text and phrases, what is found are phrases that were asked for."""
    try:
        keywords = Keywords.compile(phrases)
    except ValueError:
        return  # white space of some other alphabet
    assert keywords.find(text) <= set(phrases)


@given(st.sampled_from(["law", "legal advice", "GDPR"]), st.text(alphabet="xyz ", max_size=30))
def test_a_phrase_among_other_words_is_found(phrase: str, other: str) -> None:
    """Words around a phrase do not hide it."""
    assert phrase in LAW.find(f"{other} {phrase} {other}")


@pytest.mark.parametrize("hostile", ["law" * 60_000, "legal " * 60_000, "not " * 60_000 + "law", "`" * 200_000, "'" * 200_000])
def test_hostile_texts_cost_linear_time(hostile: str) -> None:
    """Ten times the text takes about ten times as long, not a hundred times."""
    short = min(_seconds(hostile[: len(hostile) // 10]) for _ in range(5))
    long = min(_seconds(hostile) for _ in range(3))
    assert long < 40 * short + 0.05


def _seconds(text: str) -> float:
    started = time.process_time()
    LAW.find(text)
    return time.process_time() - started
