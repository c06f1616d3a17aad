"""What the conditions of rules say about each other, without a request at hand."""

from __future__ import annotations

import math

from router_extproc.config.when import Keywords, Probability, Range, When

DEFAULT_ROUTES = ("auto",)
_FLAGS = ("code", "tools", "images", "stream")
_RANGES = ("prompt_tokens", "turn", "complexity", "needs_strong", "injection")
_CHOICES = ("language", "semantic_route", "task", "risk")


def is_unconditional(when: When) -> bool:
    """Whether the rule takes every request of its routes."""
    return covers(when, When(route=when.route))


def covers(wide: When, narrow: When) -> bool:
    """Whether ``wide`` holds for every request for which ``narrow`` holds."""
    return (
        all(
            any(covers_text(pattern, name) for pattern in wide.route or DEFAULT_ROUTES)
            for name in narrow.route or DEFAULT_ROUTES
        )
        and all(name in narrow.headers and covers_text(pattern, narrow.headers[name]) for name, pattern in wide.headers.items())
        and (wide.path is None or (narrow.path is not None and covers_text(wide.path, narrow.path)))
        and all(_covers_range(getattr(wide, name), getattr(narrow, name)) for name in _RANGES)
        and all(_covers_choice(getattr(wide, name), getattr(narrow, name)) for name in _CHOICES)
        and _covers_keywords(wide.keywords, narrow.keywords)
        and all(getattr(wide, flag) in (None, getattr(narrow, flag)) for flag in _FLAGS)
    )


def covers_text(pattern: str, other: str) -> bool:
    """Whether all that ``other`` matches is matched by ``pattern``; both match by prefix when they end in ``*``."""
    if pattern.endswith("*"):
        return other.removesuffix("*").startswith(pattern[:-1])
    return pattern == other


def _covers_range(wide: Range | Probability | None, narrow: Range | Probability | None) -> bool:
    """A range that is written asks for more than its bounds: what is not known is in no range."""
    if wide is None or narrow is None:
        return wide is None
    low, high = _bounds(wide)
    narrow_low, narrow_high = _bounds(narrow)
    return low <= narrow_low and narrow_high <= high


def _bounds(bounds: Range | Probability) -> tuple[float, float]:
    return bounds.at_least or 0, math.inf if bounds.at_most is None else bounds.at_most


def _covers_choice(wide: tuple[str, ...], narrow: tuple[str, ...]) -> bool:
    return not wide or (bool(narrow) and set(narrow) <= set(wide))


def _covers_keywords(wide: Keywords | None, narrow: Keywords | None) -> bool:
    if wide is None or narrow is None:
        return wide is None
    return _covers_choice(wide.any, narrow.any) and set(wide.all) <= set(narrow.all) and set(wide.none) <= set(narrow.none)
