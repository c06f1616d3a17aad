"""Request and token limits per minute, and the headers that tell a client about them."""

from __future__ import annotations

import math

import msgspec

# What a deployment without limits claims to allow.
UNLIMITED_REQUESTS = 10_000
UNLIMITED_TOKENS = 10_000_000


class RateLimitState(msgspec.Struct, frozen=True, kw_only=True):
    """One limit at one moment."""

    limit: int
    remaining: int
    reset_seconds: float
    """Until the limit is whole again."""
    wait_seconds: float = 0.0
    """Until what was asked for would fit; 0 where it did."""


class Bucket:
    """Holds ``per_minute`` at most and refills all the time, as OpenAI's limits do."""

    def __init__(self, per_minute: int, now: float) -> None:
        self._per_minute = per_minute
        self._level = float(per_minute)
        self._at = now

    def take(self, amount: int, now: float) -> RateLimitState:
        """Take ``amount`` where it fits; ``now`` is monotonic seconds."""
        per_second = self._per_minute / 60
        self._level = min(float(self._per_minute), self._level + (now - self._at) * per_second)
        self._at = now
        missing = min(amount, self._per_minute) - self._level
        if missing <= 0:
            self._level -= amount
        return RateLimitState(
            limit=self._per_minute,
            remaining=max(0, math.floor(self._level)),
            reset_seconds=(self._per_minute - self._level) / per_second,
            wait_seconds=max(0.0, missing / per_second),
        )


def rate_limit_headers(requests: RateLimitState, tokens: RateLimitState) -> dict[str, str]:
    """Return the headers OpenAI documents under "Rate limits in headers"."""
    return {
        "x-ratelimit-limit-requests": str(requests.limit),
        "x-ratelimit-limit-tokens": str(tokens.limit),
        "x-ratelimit-remaining-requests": str(requests.remaining),
        "x-ratelimit-remaining-tokens": str(tokens.remaining),
        "x-ratelimit-reset-requests": format_duration(requests.reset_seconds),
        "x-ratelimit-reset-tokens": format_duration(tokens.reset_seconds),
    }


def retry_after_headers(seconds: float) -> dict[str, str]:
    """Return ``retry-after`` in whole seconds, rounded up, and in milliseconds beside it."""
    return {"retry-after": str(math.ceil(seconds)), "retry-after-ms": str(math.ceil(seconds * 1000))}


def format_duration(seconds: float) -> str:
    """Write a duration the way these headers do: ``6m0s``, ``1.5s``, ``17ms``."""
    milliseconds = math.ceil(round(seconds * 1000, 3))
    if milliseconds < 1000:  # noqa: PLR2004 -- one second
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    text = f"{rest / 1000:g}s"
    return f"{minutes}m{text}" if minutes else text
