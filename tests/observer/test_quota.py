"""A quota that is used up is understood from the headers as providers write them, and nothing else is taken for one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_extproc.dialects.rate_limit_headers import HEADERS
from router_extproc.observer.quota import LONGEST_SECONDS, UsedUp, duration_of, remaining, seconds_until, used_up
from router_extproc.simulator.rate_limits import format_duration

NEW_YEAR = 1_767_225_600.0  # 2026-01-01T00:00:00Z


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("6ms", 0.006),
        ("1s", 1.0),
        ("1.5s", 1.5),
        ("6m0s", 360.0),
        ("2m59.56s", 179.56),
        ("1h2m3s", 3723.0),
        ("1h", 3600.0),
        ("0s", 0.0),
        ("1d", 86_400.0),
        ("999999h", LONGEST_SECONDS),
    ],
)
def test_durations_of_every_kind(value: str, seconds: float) -> None:
    """Days, hours, minutes, seconds and milliseconds, largest first, as the providers write them."""
    assert duration_of(value) == seconds


@pytest.mark.parametrize(
    "value",
    [
        None, "", "soon", "1", "-1s", "+1s", "1S", "1s ", "1 s", "s", "1s1h", "1s1s", "1e3s", "nans", "infs", ".5s", "1.s",
        "1.5m", "٣s", "1_0s", "0x1s", "2026-11-21T10:00:00Z", "1s\n", "1" * 30 + "s", "1s" * 1_000_000,
    ],
    ids=lambda value: repr(value)[:20],
)  # fmt: skip
def test_what_is_no_duration_is_none(value: str | None) -> None:
    """Numbers without a unit, dates, signs, other scripts' digits and nonsense are none."""
    assert duration_of(value) is None


@given(st.text() | st.from_regex(r"([0-9]{1,12}(\.[0-9]*)?(d|h|m|s|ms)){1,5}", fullmatch=True))
def test_a_duration_of_anything_is_bounded(value: str) -> None:
    """Whatever a provider writes, it is a number of seconds within a day, or nothing."""
    seconds = duration_of(value)
    assert seconds is None or 0 <= seconds <= LONGEST_SECONDS


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("6m0s", 360.0),
        ("8", 8.0),
        ("0", 0.0),
        ("33011.382867", 33_011.382867),
        ("90000000", LONGEST_SECONDS),
        ("1767225630", 30.0),
        ("1767225630.5", 30.5),
        ("1767225630500", 30.5),
        ("2026-01-01T00:00:30Z", 30.0),
        ("2026-01-01t00:00:30.250z", 30.25),
        ("2026-01-01T01:00:30+01:00", 30.0),
        ("2025-12-31 19:00:30-0500", 30.0),
        ("2026-03-01T00:00:00Z", LONGEST_SECONDS),
    ],
)
def test_a_reset_may_be_a_time_or_a_moment(value: str, seconds: float) -> None:
    """As OpenAI, Azure (seconds without a unit), Cerebras and others write it; a moment is told from the answer's own."""
    assert seconds_until(value, NEW_YEAR) == seconds


@pytest.mark.parametrize(
    "value",
    [
        None, "", "soon", "-8", "+8", "8.", ".5", "8e3", "1_0", "٣", " 8", "8\n", "1767225599", "1767225600", "1" * 14,
        "2025-12-31T23:59:59Z", "2026-01-01T00:00:30", "2026-13-01T00:00:30Z", "2026-01-01T25:00:30Z", "2026-01-02",
        "0000-01-01T00:00:00Z", "Thu, 01 Jan 2026 00:00:30 GMT", "nan", "inf",
    ],
    ids=lambda value: repr(value)[:28],
)  # fmt: skip
def test_a_reset_that_is_over_or_cannot_be_read_says_nothing(value: str | None) -> None:
    """Who says that a quota is used up and was reset before has another clock; a date without a zone may be any moment."""
    assert seconds_until(value, NEW_YEAR) is None


@given(st.text() | st.from_regex(r"[0-9]{1,4}-[0-9]{2}-[0-9]{2}T[0-9:.]{1,12}[Z0-9:+-]{1,6}", fullmatch=True))
def test_a_reset_of_anything_is_bounded(value: str) -> None:
    """Whatever a provider writes, it is a number of seconds within a day, or nothing."""
    seconds = seconds_until(value, NEW_YEAR)
    assert seconds is None or 0 <= seconds <= LONGEST_SECONDS


@given(st.integers(0, 3_600_000))
def test_a_duration_is_read_as_it_was_written(milliseconds: int) -> None:
    """What the simulator writes for any time up to an hour is read as that time, to the six digits that it writes."""
    assert duration_of(format_duration(milliseconds / 1_000)) == pytest.approx(milliseconds / 1_000, abs=0.001)


def headers(**values: str) -> dict[str, str]:
    return {f"x-ratelimit-{name.replace('_', '-')}": value for name, value in values.items()}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({}, None),
        (headers(remaining_requests="0", reset_requests="6m0s"), UsedUp(360.0, "requests")),
        (headers(remaining_tokens="0", reset_tokens="6ms"), UsedUp(0.006, "tokens")),
        (headers(remaining_requests="0", remaining_tokens="0", reset_requests="1s", reset_tokens="3s"), UsedUp(3.0, "tokens")),
        (
            headers(remaining_requests="0", remaining_tokens="0", reset_requests="4s", reset_tokens="3s"),
            UsedUp(4.0, "requests"),
        ),
        (
            headers(remaining_requests="0", remaining_tokens="7", reset_requests="1s", reset_tokens="3s"),
            UsedUp(1.0, "requests"),
        ),
        (headers(remaining_requests="7", remaining_tokens="0", reset_requests="1s", reset_tokens="3s"), UsedUp(3.0, "tokens")),
        (headers(remaining_requests="1", remaining_tokens="7", reset_requests="1s", reset_tokens="3s"), None),
        (
            headers(remaining_requests="0", remaining_tokens="0", reset_requests="soon", reset_tokens="3s"),
            UsedUp(3.0, "tokens"),
        ),
        (headers(remaining_requests="0", reset_requests="soon"), None),
        (headers(remaining_requests="0", reset_tokens="3s"), None),
        (headers(remaining_requests="0"), None),
        (headers(remaining_requests="0.5", reset_requests="1s"), None),
        (headers(remaining_requests="-1", reset_requests="1s"), None),
        (headers(remaining_requests="", reset_requests="1s"), None),
        (headers(remaining_requests="none", reset_requests="1s"), None),
        (headers(reset_requests="1s", reset_tokens="1s"), None),
    ],
)
def test_only_what_is_used_up_counts(found: dict[str, str], expected: UsedUp | None) -> None:
    """Nothing left of one quota, and its own reset time; of two the longer, and of what it is."""
    assert used_up(found, NEW_YEAR) == expected


@pytest.mark.parametrize(
    ("provider", "found", "expected", "left"),
    [
        # As live answers had them.
        (
            "cerebras",
            {
                "x-ratelimit-limit-requests-day": "14400",
                "x-ratelimit-remaining-requests-day": "13693",
                "x-ratelimit-reset-requests-day": "11726.2840924263",
                "x-ratelimit-limit-tokens-minute": "60000",
                "x-ratelimit-remaining-tokens-minute": "0",
                "x-ratelimit-reset-tokens-minute": "26.28409242630005",
            },
            UsedUp(26.28409242630005, "tokens"),
            (13_693, 0),
        ),
        (
            "cerebras, the day",
            headers(
                remaining_requests_minute="0",
                reset_requests_minute="12.5",
                remaining_requests_hour="900",
                reset_requests_hour="900",
                remaining_requests_day="0",
                reset_requests_day="3600",
                remaining_tokens_day="1000",
                reset_tokens_day="3600",
            ),
            UsedUp(3_600.0, "requests"),
            (0, 1_000),
        ),
        (
            "sambanova",
            headers(
                remaining_requests="11",
                reset_requests=f"{NEW_YEAR + 60:.0f}",
                remaining_requests_day="0",
                reset_requests_day=f"{NEW_YEAR + 7_200:.0f}",
            ),
            UsedUp(7_200.0, "requests"),
            (0, None),
        ),
        (
            "openrouter",
            headers(limit="20", remaining="0", reset=f"{NEW_YEAR * 1_000 + 45_000:.0f}"),
            UsedUp(45.0, "requests"),
            (0, None),
        ),
        ("moonshot", headers(limit="200", remaining="0", reset="1"), UsedUp(1.0, "requests"), (0, None)),
        (
            "together",
            headers(limit="10", remaining="9", reset="1") | {"x-tokenlimit-limit": "3000", "x-tokenlimit-remaining": "0"},
            UsedUp(1.0, "tokens"),
            (9, 0),
        ),
        (
            "mistral, silent",
            headers(remaining_req_minute="0", remaining_tokens_minute="4999911", tokens_query_cost="52"),
            None,
            (0, 4_999_911),
        ),
        ("mistral", headers(remaining_req_minute="0", reset_req_minute="17"), UsedUp(17.0, "requests"), (0, None)),
        (
            "digitalocean",
            headers(remaining_requests="108", reset_requests="0", remaining_tokens_per_day="0")
            | {"x-ratelimit-reset-tokens-per-day": f"{NEW_YEAR + 600:.0f}"},
            UsedUp(600.0, "tokens"),
            (108, 0),
        ),
        (
            "a project at openai",
            headers(remaining_tokens="20000", remaining_project_tokens="0", reset_project_tokens="45s"),
            UsedUp(45.0, "tokens"),
            (None, 0),
        ),
        (
            "anthropic",
            {
                "anthropic-ratelimit-requests-remaining": "999",
                "anthropic-ratelimit-requests-reset": "2025-12-31T23:59:59Z",
                "anthropic-ratelimit-input-tokens-remaining": "80000",
                "anthropic-ratelimit-output-tokens-remaining": "0",
                "anthropic-ratelimit-output-tokens-reset": "2026-01-01T00:00:09Z",
            },
            UsedUp(9.0, "tokens"),
            (999, 0),
        ),
        ("azure, without a limit", headers(remaining_tokens="-1", reset_tokens="0"), None, (None, None)),
        ("fireworks", headers(remaining_tokens_prompt="0", remaining_tokens_generated="0"), None, (None, None)),
        (
            "a gateway",
            {"ratelimit-limit": "100", "ratelimit-remaining": "0", "ratelimit-reset": "50"},
            UsedUp(50.0, "requests"),
            (0, None),
        ),
    ],
)
def test_quotas_are_read_by_the_names_of_every_provider(
    provider: str, found: dict[str, str], expected: UsedUp | None, left: tuple[int | None, int | None]
) -> None:
    """Of a minute, an hour or a day, of a project or of half the tokens: the one that resets last holds."""
    del provider  # the name of the case
    assert used_up(found, NEW_YEAR) == expected
    assert (remaining(found, "requests"), remaining(found, "tokens")) == left


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(HEADERS, st.text() | st.sampled_from(["0", "1", "6m0s", "6ms"]))))
def test_no_header_breaks_the_reading(found: dict[str, str]) -> None:
    """Any text under these names gives a bounded time or none."""
    told = used_up(found, NEW_YEAR)
    assert told is None or (0 <= told.seconds <= LONGEST_SECONDS and told.unit in ("requests", "tokens"))
    assert all((left := remaining(found, unit)) is None or left >= 0 for unit in ("requests", "tokens"))
