"""Micro-dollars as people and JSON read them: decimal strings of USD. No float is ever involved."""

from __future__ import annotations

_MICRO = 1_000_000


def show_usd(micro_usd: int) -> str:
    """USD with six digits after the point: every micro-dollar shows, and the text sorts by its digits."""
    sign, whole = ("-" if micro_usd < 0 else ""), abs(micro_usd)
    return f"{sign}{whole // _MICRO}.{whole % _MICRO:06d}"
