"""Limits as OpenAI's clients read them."""

from __future__ import annotations

import pytest

from router_extproc.errors import (
    AuthenticationError,
    LimitReachedError,
    RequestError,
    RequestLimitError,
    TokenLimitError,
    UnavailableError,
)
from router_extproc.extproc.limit_headers import ratelimit_headers, refusal_headers, usd
from router_extproc.limits.ladder import Figure, Figures


@pytest.mark.parametrize(
    ("micro", "text"),
    [(0, "0.000000"), (1, "0.000001"), (1_500_000, "1.500000"), (-3, "0.000000"), (10**15, "1000000000.000000")],
)
def test_usd_has_six_digits_and_never_less_than_nothing(micro: int, text: str) -> None:
    """A decimal string, exact."""
    assert usd(micro) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (0.2, "1s"), (59.5, "1m0s"), (60, "1m0s"), (3_725, "1h2m5s"), (-4, "0s")]
)
def test_when_a_limit_resets_is_rounded_up(seconds: float, text: str) -> None:
    """Who comes back then does not come too early."""
    headers = ratelimit_headers(Figures(requests=Figure(10, 3, seconds)))
    assert headers == {
        "x-ratelimit-limit-requests": "10",
        "x-ratelimit-remaining-requests": "3",
        "x-ratelimit-reset-requests": text,
    }


def test_no_limit_no_header() -> None:
    """And what is overdrawn has nothing left."""
    assert ratelimit_headers(Figures()) == {}
    assert ratelimit_headers(Figures(tokens=Figure(10, -3)))["x-ratelimit-remaining-tokens"] == "0"


def test_who_reached_a_limit_is_told_not_to_try_again_at_once() -> None:
    """When to come back, and that the SDK's own quick retries are of no use; other errors may be retried."""
    error = RequestLimitError("Too many.", retry_after=7)
    assert refusal_headers(error, Figures(requests=Figure(5, 0, 7))) == {
        "retry-after": "7",
        "x-should-retry": "false",
        "x-ratelimit-limit-requests": "5",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "7s",
    }
    assert refusal_headers(LimitReachedError("Spent."), Figures()) == {"x-should-retry": "false"}
    left = Figures(remaining_micro_usd=80)
    assert refusal_headers(LimitReachedError("Spent."), left)["x-router-budget-remaining"] == "0.000080"
    assert refusal_headers(UnavailableError("Wait.", retry_after=1), Figures()) == {"retry-after": "1"}


@pytest.mark.parametrize(("kind", "unit"), [(RequestLimitError, "requests"), (TokenLimitError, "tokens")])
def test_a_provider_s_own_word_is_passed_on(kind: type[RequestError], unit: str) -> None:
    """That nothing is left, and when it resets, in place of what the caller's own limits say; its limit is not known."""
    error = kind("Used up.", retry_after=3, quota_resets_in=62.5)
    told = {f"x-ratelimit-remaining-{unit}": "0", f"x-ratelimit-reset-{unit}": "1m3s"}
    assert refusal_headers(error, Figures()) == told | {"retry-after": "3", "x-should-retry": "false"}


def test_who_proved_nothing_is_told_how() -> None:
    """As HTTP asks of every 401."""
    assert refusal_headers(AuthenticationError("No key."), Figures()) == {"www-authenticate": "Bearer"}
