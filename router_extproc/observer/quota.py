"""What a provider's rate limit headers say about a quota that is used up. Pure, and no text, however odd, raises."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from router_extproc.dialects.rate_limit_headers import QUOTAS

# Longer waits are cut to this: within a day a quota of a month may be raised, or paid for.
LONGEST_SECONDS = 86_400.0
_LONGEST_TEXT = 40
_DURATION = re.compile(
    r"(?:([0-9]{1,6})d)?(?:([0-9]{1,6})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,9}(?:\.[0-9]{1,9})?)s)?(?:([0-9]{1,9}(?:\.[0-9]{1,9})?)ms)?"
)
_SECONDS = (86_400.0, 3_600.0, 60.0, 1.0, 0.001)
# Cerebras writes all digits that a float has.
_NUMBER = re.compile(r"[0-9]{1,13}(?:\.[0-9]{1,20})?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?(?:[Zz]|[+-][0-9]{2}:?[0-9]{2})")
# A number as large as this is no time to wait, which is three years, but a moment: in seconds, and in milliseconds, since 1970.
_FIRST_MOMENT, _FIRST_MOMENT_IN_MILLISECONDS = 1e8, 1e11
_COUNT = re.compile(r"([0-9]{1,12})(?:\.[0-9]{1,12})?")
_ZERO = re.compile(r"0{1,12}(?:\.0{1,12})?")


class UsedUp(NamedTuple):
    """A quota of which nothing is left: the seconds until it is there again, and of what, ``requests`` or ``tokens``."""

    seconds: float
    unit: str


def used_up(headers: Mapping[str, str], now: float) -> UsedUp | None:
    """The quota that is used up, of several the one that resets last; None when none is, or nobody said when. ``now`` is when
    the headers came, in epoch seconds.
    """
    found = []
    for quota in QUOTAS:
        if _ZERO.fullmatch(headers.get(quota.remaining, "")):
            reset = next((headers[name] for name in quota.resets if name in headers), None)
            if (seconds := seconds_until(reset, now)) is not None:
                found.append(UsedUp(seconds, quota.unit))
    return max(found, default=None)


def remaining(headers: Mapping[str, str], unit: str) -> int | None:
    """How many of ``unit``, ``requests`` or ``tokens``, are left of the quota that has fewest; None: nobody said."""
    told = (_COUNT.fullmatch(headers.get(quota.remaining, "")) for quota in QUOTAS if quota.unit == unit)
    return min((int(match[1]) for match in told if match is not None), default=None)


def seconds_until(value: str | None, now: float) -> float | None:
    """Seconds from ``now`` (epoch seconds) to a reset, at most a day: a duration, as of OpenAI; a bare number of seconds, as of
    Azure; or a moment to come, in RFC 3339 or since 1970. None for anything else.
    """
    if not value or len(value) > _LONGEST_TEXT:
        return None
    if _NUMBER.fullmatch(value):
        number = float(value)
        if number < _FIRST_MOMENT:
            return min(number, LONGEST_SECONDS)
        return _from_now(number / 1_000 if number >= _FIRST_MOMENT_IN_MILLISECONDS else number, now)
    if _DATE.fullmatch(value):
        try:
            return _from_now(datetime.fromisoformat(value.upper()).timestamp(), now)
        except (ValueError, OverflowError):
            return None
    return duration_of(value)


def _from_now(moment: float, now: float) -> float | None:
    """None for what is over: whoever says that, while nothing is left, has another clock."""
    return round(min(moment - now, LONGEST_SECONDS), 6) if moment > now else None


def duration_of(value: str | None) -> float | None:
    """Seconds of a duration such as ``6ms``, ``1.5s``, ``6m0s`` or ``1h2m3s``, at most a day; None for anything else."""
    if not value or len(value) > _LONGEST_TEXT:
        return None
    match = _DURATION.fullmatch(value)
    if match is None:
        return None
    seconds = sum(float(amount) * unit for amount, unit in zip(match.groups(), _SECONDS, strict=True) if amount is not None)
    return round(min(seconds, LONGEST_SECONDS), 6)
