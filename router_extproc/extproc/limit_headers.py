"""What answers say about limits: headers and texts in the forms that OpenAI's clients know."""

from __future__ import annotations

import math

from router_extproc.errors import AuthenticationError, LimitReachedError, RequestError
from router_extproc.limits.ladder import Figure, Figures

_MICRO = 1_000_000
_MINUTE, _HOUR = 60, 3_600


def usd(micro_dollars: int) -> str:
    """Micro-dollars as a decimal string in USD with six digits; what is overspent is nothing left."""
    left = max(0, micro_dollars)
    return f"{left // _MICRO}.{left % _MICRO:06d}"


def ratelimit_headers(figures: Figures) -> dict[str, str]:
    """``x-ratelimit-limit-requests`` and its five sisters, as far as limits apply."""
    headers: dict[str, str] = {}
    for unit, figure in (("requests", figures.requests), ("tokens", figures.tokens)):
        if figure is not None:
            headers |= _headers(unit, figure)
    return headers


def refusal_headers(error: RequestError, figures: Figures) -> dict[str, str]:
    """What a client that was turned away is told beside the error itself; to come back at once is of no use.

    Of a provider's quota its own word is passed on, as with an answer: that nothing is left, and when it resets.
    """
    headers = ratelimit_headers(figures)
    if figures.remaining_micro_usd is not None:
        headers["x-router-budget-remaining"] = usd(figures.remaining_micro_usd)
    if error.quota_resets_in is not None:
        headers |= {
            f"x-ratelimit-remaining-{error.type}": "0",
            f"x-ratelimit-reset-{error.type}": _span(math.ceil(error.quota_resets_in)),
        }
    if error.retry_after is not None:
        headers["retry-after"] = str(error.retry_after)
    if isinstance(error, LimitReachedError):
        headers["x-should-retry"] = "false"
    if isinstance(error, AuthenticationError):
        # RFC 9110, section 11.6.1: a 401 says how to do better.
        headers["www-authenticate"] = "Bearer"
    return headers


def _headers(unit: str, figure: Figure) -> dict[str, str]:
    return {
        f"x-ratelimit-limit-{unit}": str(figure.limit),
        f"x-ratelimit-remaining-{unit}": str(max(0, figure.remaining)),
        f"x-ratelimit-reset-{unit}": _span(math.ceil(figure.reset_seconds)),
    }


def _span(seconds: int) -> str:
    """``6m0s``: hours and minutes as far as there are any."""
    hours, rest = divmod(max(0, seconds), _HOUR)
    minutes, seconds = divmod(rest, _MINUTE)
    if hours:
        return f"{hours}h{minutes}m{seconds}s"
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"
