"""How a budget is shown: its scope, its window and its amounts. Pure.

Rules of this file
- Money is decimal text with six digits; other units are whole numbers. Names end in ``_usd`` where it is money.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from router_extproc.account import Unit
from router_extproc.limits.counter_names import scope_of
from router_extproc.observer.money import show_usd
from router_extproc.registry.spending import Budget, Window

_STEPS = ((86_400, "d"), (3_600, "h"), (60, "m"))


def describe_budget(budget: Budget, tenant: str = "") -> dict[str, Any]:
    """A budget as it is defined, for a key of ``tenant`` that it was made with."""
    labels = {"tenant": tenant} if tenant else {}
    return {
        "name": budget.name,
        "scope": scope_of(budget, labels),
        "unit": budget.unit,
        "window": show_window(budget.window),
        "mode": budget.mode,
        **amounts(budget.unit, {"cap": budget.cap}),
    }


def show_window(window: Window) -> str:
    """``day``, ``month Europe/Berlin``, ``rolling 1h`` or ``forever``."""
    if window.rolling_seconds is not None:
        return f"rolling {_duration(window.rolling_seconds)}"
    if window.calendar is None:
        return "forever"
    return window.calendar if window.timezone == "UTC" else f"{window.calendar} {window.timezone}"


def amounts(unit: Unit, figures: Mapping[str, int]) -> dict[str, Any]:
    """Amounts by name, in the way of their unit."""
    if unit == "usd":
        return {f"{name}_usd": show_usd(amount) for name, amount in figures.items()}
    return dict(figures)


def _duration(seconds: int) -> str:
    for length, unit in _STEPS:
        if seconds % length == 0:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"
