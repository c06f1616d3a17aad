"""What a provider's rate limit headers say about a quota that is used up. Pure, and no text, however odd, raises."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

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


class UsedUp(NamedTuple):
    """A quota of which nothing is left: the seconds until it is there again, and of what, ``requests`` or ``tokens``."""

    seconds: float
    unit: str


def used_up(headers: Mapping[str, str]) -> UsedUp | None:
    """The quota that is used up, of two the one that resets later; None when none is, or nobody said when."""
    quotas = ((REMAINING_REQUESTS, RESET_REQUESTS, "requests"), (REMAINING_TOKENS, RESET_TOKENS, "tokens"))
    told = ((duration_of(headers.get(reset)), unit) for left, reset, unit in quotas if _ZERO.fullmatch(headers.get(left, "")))
    return max((UsedUp(seconds, unit) for seconds, unit in told if seconds is not None), default=None)


def duration_of(value: str | None) -> float | None:
    """Seconds of a duration such as ``6ms``, ``1.5s``, ``6m0s`` or ``1h2m3s``, at most a day; None for anything else."""
    if not value or len(value) > _LONGEST_TEXT:
        return None
    match = _DURATION.fullmatch(value)
    if match is None:
        return None
    seconds = sum(float(amount) * unit for amount, unit in zip(match.groups(), _SECONDS, strict=True) if amount is not None)
    return round(min(seconds, LONGEST_SECONDS), 6)
