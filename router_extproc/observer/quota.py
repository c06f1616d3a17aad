"""What a provider's rate limit headers say about a quota that is used up. Pure, and no text, however odd, raises."""

from __future__ import annotations

import re
from collections.abc import Mapping

# The names of OpenAI's documentation ("Rate limits in headers"), which other providers follow.
REMAINING_REQUESTS, REMAINING_TOKENS = "x-ratelimit-remaining-requests", "x-ratelimit-remaining-tokens"
RESET_REQUESTS, RESET_TOKENS = "x-ratelimit-reset-requests", "x-ratelimit-reset-tokens"

# Quotas of a day are the longest that are told so.
LONGEST_SECONDS = 86_400.0
_LONGEST_TEXT = 40
_DURATION = re.compile(
    r"(?:([0-9]{1,6})d)?(?:([0-9]{1,6})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,9}(?:\.[0-9]{1,9})?)s)?(?:([0-9]{1,9}(?:\.[0-9]{1,9})?)ms)?"
)
_SECONDS = (86_400.0, 3_600.0, 60.0, 1.0, 0.001)
_ZERO = re.compile(r"0{1,12}(?:\.0{1,12})?")


def reset_of(headers: Mapping[str, str]) -> float | None:
    """Seconds until a quota that is used up is there again, the longer of two; None when none is, or nobody said when."""
    pairs = ((REMAINING_REQUESTS, RESET_REQUESTS), (REMAINING_TOKENS, RESET_TOKENS))
    waits = [duration_of(headers.get(reset)) for remaining, reset in pairs if _ZERO.fullmatch(headers.get(remaining, ""))]
    return max((wait for wait in waits if wait is not None), default=None)


def duration_of(value: str | None) -> float | None:
    """Seconds of a duration such as ``6ms``, ``1.5s``, ``6m0s`` or ``1h2m3s``, at most a day; None for anything else."""
    if not value or len(value) > _LONGEST_TEXT:
        return None
    match = _DURATION.fullmatch(value)
    if match is None:
        return None
    seconds = sum(float(amount) * unit for amount, unit in zip(match.groups(), _SECONDS, strict=True) if amount is not None)
    return round(min(seconds, LONGEST_SECONDS), 6)
