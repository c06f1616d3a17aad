"""What the conditions of rules say about each other, without a request at hand."""

from __future__ import annotations

import math

from router_extproc.config.schema import Range, When

DEFAULT_ROUTES = ("auto",)
_FLAGS = ("code", "tools", "images", "stream")


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
        and _covers_range(wide.prompt_tokens, narrow.prompt_tokens)
        and all(getattr(wide, flag) in (None, getattr(narrow, flag)) for flag in _FLAGS)
    )


def covers_text(pattern: str, other: str) -> bool:
    """Whether all that ``other`` matches is matched by ``pattern``; both match by prefix when they end in ``*``."""
    if pattern.endswith("*"):
        return other.removesuffix("*").startswith(pattern[:-1])
    return pattern == other


def _covers_range(wide: Range | None, narrow: Range | None) -> bool:
    low, high = _bounds(wide)
    narrow_low, narrow_high = _bounds(narrow)
    return low <= narrow_low and narrow_high <= high


def _bounds(bounds: Range | None) -> tuple[float, float]:
    if bounds is None:
        return 0, math.inf
    return bounds.at_least or 0, math.inf if bounds.at_most is None else bounds.at_most
