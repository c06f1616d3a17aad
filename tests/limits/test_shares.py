"""Shares of amounts: whole numbers, as exact as fractions."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from router_extproc.limits.shares import portion, reaches

shares = st.floats(0.0, 1.0) | st.integers(0, 1_000).map(lambda tenths: tenths / 1_000)
amounts = st.integers(0, 2**53)


@given(share=shares, amount=amounts, used=amounts)
def test_a_share_is_the_decimal_it_is_written_as(share: float, amount: int, used: int) -> None:
    """Portions are rounded down and comparisons are exact, as they are with fractions of the written decimal."""
    exact = Fraction(str(share)) * amount
    assert portion(share, amount) == int(exact)
    assert reaches(used, share, amount) == (used >= exact)


def test_a_tenth_is_a_tenth() -> None:
    """What no binary float can hold is held exactly: 0.1 of thirty is three, and 0.9 of ten is reached by nine."""
    assert portion(0.1, 30) == 3
    assert reaches(9, 0.9, 10)
    assert not reaches(8, 0.9, 10)
