"""Shares of an amount, exact: a share is the decimal it is written as, and whole numbers are compared with whole numbers."""

from __future__ import annotations

import functools
from decimal import Decimal


def portion(share: float, amount: int) -> int:
    """The share of an amount, rounded down."""
    numerator, denominator = _ratio(share)
    return numerator * amount // denominator


def reaches(used: int, share: float, amount: int) -> bool:
    """Whether what is used is at least the share of an amount."""
    numerator, denominator = _ratio(share)
    return used * denominator >= numerator * amount


# Shares come from configurations, so there are few; to take them apart costs more than everything that is done with them.
@functools.lru_cache(maxsize=1_024)
def _ratio(share: float) -> tuple[int, int]:
    return Decimal(str(share)).as_integer_ratio()
