import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_extproc.analysis.structure import Structure, read_structure


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Structure(0, 0, 0)),
        ("What is the capital of France?", Structure(0, 0, 1)),
        ("1. Read the file\n2. Count the words\n3) Print the result", Structure(3, 0, 0)),
        ("- apples\n* pears\n\u2022 plums", Structure(3, 0, 0)),
        ("Clean the data, then plot it, and finally export the chart.", Structure(2, 0, 0)),
        ("Write at most 100 words, in JSON, without adjectives.", Structure(0, 4, 0)),
        ("You must not use loops. Don't import anything; only builtins.", Structure(0, 3, 0)),
        ("Who? When?? Why???", Structure(0, 0, 3)),
        ("3.14 is a number, and so is 2.71", Structure(0, 0, 0)),
        ("The thenar muscle and mustard are nouns.", Structure(0, 0, 0)),
    ],
)
def test_counts(text: str, expected: Structure) -> None:
    """List items and words of sequence are steps, binding words are constraints, question marks in a row one question."""
    assert read_structure(text) == expected


@pytest.mark.parametrize("is_multi", [("First, sum them. Then, divide.", True), ("Sum them.", False), ("Why? And how?", True)])
def test_several_things_at_once(is_multi: tuple[str, bool]) -> None:
    """Two steps or two questions make a task of several."""
    assert read_structure(is_multi[0]).is_multi_step is is_multi[1]


@given(st.text(), st.sampled_from(["4. Sort them.", "Then, sort them.", "It must fit in 10 lines.", "Why is that?"]))
def test_adding_never_lowers(text: str, more: str) -> None:
    """Whatever was asked before, asking one thing more lowers no count and raises one."""
    before, after = read_structure(text), read_structure(f"{text}\n{more}")
    assert all(new >= old for new, old in zip(after, before, strict=True))
    assert sum(after) > sum(before)
