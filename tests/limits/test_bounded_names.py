"""Names of strangers: bounded, printable, and still told apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_extproc.limits.bounded_names import bounded


@pytest.mark.parametrize("name", ["ann", "münchen, 株", "a" * 128, ""])
def test_what_can_be_read_stays_as_it_is(name: str) -> None:
    """Letters of any language, up to the length."""
    assert bounded(f" {name}\n", 128) == name


@given(st.text(max_size=300), st.text(max_size=300))
def test_two_names_stay_two(one: str, other: str) -> None:
    """However long or strange they are, they come out short, printable and different."""
    found = bounded(one, 128), bounded(other, 128)
    assert all(len(each) <= 128 and each.isprintable() for each in found)
    assert (found[0] == found[1]) == (one.strip() == other.strip())
