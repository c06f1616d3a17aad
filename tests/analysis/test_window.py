"""Head and tail of a long text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from router_extproc.analysis.window import HEAD, TAIL, head_and_tail


def test_a_short_text_stays_whole() -> None:
    """Up to the limit nothing is cut, and it says so."""
    assert head_and_tail("x" * (HEAD + TAIL)) == ("x" * (HEAD + TAIL), False)


def test_of_a_long_text_the_beginning_and_the_end_are_looked_at() -> None:
    """What stands first and last is kept, what stands between is not, and it says so."""
    text = "Summarise this report. " + "filler words " * 5_000 + "In three bullet points, please."
    window = head_and_tail(text)
    assert window.truncated
    assert window.text.startswith("Summarise this report.")
    assert window.text.endswith("In three bullet points, please.")
    assert len(window.text) <= HEAD + TAIL + 2


def test_a_cut_leaves_words_whole() -> None:
    """Where a space is near, no word is cut in two."""
    window = head_and_tail("alpha bravo charlie delta echo", head=14, tail=8)
    assert window.text == "alpha bravo\n\necho"


@given(st.text(alphabet="ab \n", max_size=300), st.integers(1, 60), st.integers(1, 60))
def test_what_is_kept_is_never_longer_than_asked(text: str, head: int, tail: int) -> None:
    """Any text: at most head and tail and the blank line between, and both ends are the text's own."""
    window = head_and_tail(text, head, tail)
    assert len(window.text) <= head + tail + 2
    assert window.truncated == (len(text) > head + tail)
    if window.truncated:
        first, last = window.text[: window.text.index("\n\n")], window.text.rpartition("\n\n")[2]
        assert text.startswith(first)
        assert text.endswith(last)
