import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_extproc.analysis.output_length import asked_length, expected_output_tokens


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Write an essay of 600 words about bees.", 800),
        ("Answer in one sentence: why is the sky blue?", 27),
        ("Explain recursion in two short paragraphs.", 260),
        ("Write a 500-word story, then a 100-word summary.", 667),
        ("Why is the sky blue?", None),
        ("I read 300 pages yesterday. What is a good next book?", None),
    ],
)
def test_a_length_that_is_asked_for(text: str, tokens: int | None) -> None:
    """A length counts when it is the answer's; the longest one does."""
    assert asked_length(text) == tokens


def test_the_kind_of_work_decides() -> None:
    """A label is short, a translation as long as its text, an essay longer than small talk."""

    def expected(task: str | None, prompt_tokens: int = 1_000) -> int:
        return expected_output_tokens("", task=task, prompt_tokens=prompt_tokens)

    assert expected("classification") < expected("chat") < expected("qa") < expected("creative_writing")
    assert expected("translation") == 1_100
    assert expected("summarization", 100_000) == 400
    assert expected("of my own") == expected(None)


def test_what_was_seen_replaces_what_is_assumed() -> None:
    """A measured mean counts more than the built-in figure, a length that is asked for more than both."""
    assert expected_output_tokens("", task="qa", prompt_tokens=10, usual={"qa": 40.0}) == 40
    assert expected_output_tokens("Answer in one sentence.", task="qa", prompt_tokens=10, usual={"qa": 40.0}) == 27


def test_the_callers_limit_holds_for_each_answer() -> None:
    """No answer is expected to be longer than allowed; several answers add up."""
    assert expected_output_tokens("", task="code", prompt_tokens=10, limit=100, choices=3) == 300


@given(
    st.text(),
    st.none() | st.sampled_from(["qa", "translation", "other"]),
    st.integers(0, 10**6),
    st.none() | st.integers(1, 10**5),
    st.integers(1, 8),
)
def test_always_a_sensible_number(text: str, task: str | None, prompt: int, limit: int | None, choices: int) -> None:
    """Whatever is asked, at least one token an answer is expected, and never more than the limit."""
    expected = expected_output_tokens(text, task=task, prompt_tokens=prompt, limit=limit, choices=choices)
    assert choices <= expected <= choices * (limit or 10**8)
